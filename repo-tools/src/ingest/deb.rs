//! Debian binary packages: an ar archive of `debian-binary`, `control.tar.*` and `data.tar.*` (deb(5)).

use deb822_fast::{Deb822, Paragraph};

use super::archive;
use super::control::{first_line, without_epoch};
use super::error::Problem;
use super::license;
use super::origin::{Declared, Origin, outside};
use super::tree::{Entry, Limits, RawTree};

const AR_MAGIC: &[u8] = b"!<arch>\n";
const AR_HEADER: usize = 60;

/// Whether the bytes begin like an ar archive.
pub(super) fn is_ar(bytes: &[u8]) -> bool {
    bytes.starts_with(AR_MAGIC)
}

/// What a package says of itself, and all its files.
pub(super) fn read(bytes: &[u8], limits: Limits) -> Result<(Origin, RawTree), Problem> {
    let read = |stem| member(bytes, stem).and_then(|packed| archive::read(packed, limits.of_archive(packed.len())));
    let control = read("control.tar")?;
    let control = text_of(&control, "control").ok_or_else(|| malformed("the package has no control file"))?;
    let control: Deb822 = control
        .parse()
        .map_err(|_| malformed("the package's control file is not a list of fields"))?;
    let control = control
        .iter()
        .next()
        .ok_or_else(|| malformed("the package's control file is empty"))?;
    let data = read("data.tar")?;
    Ok((origin(control, &data), data))
}

fn origin(control: &Paragraph, data: &RawTree) -> Origin {
    let package = first_line(control, "package");
    let copyright = text_of(data, &format!("usr/share/doc/{package}/copyright"));
    Origin {
        version: control
            .get("version")
            .map(str::trim)
            .map(without_epoch)
            .map(str::to_owned),
        summary: first_line(control, "description").to_owned(),
        homepage: first_line(control, "homepage").to_owned(),
        license: copyright
            .as_deref()
            .and_then(license::from_copyright)
            .unwrap_or_default(),
        declared: modaliases(&control.get("modaliases").unwrap_or_default().replace('\n', " ")),
        outside: outside(data),
    }
}

/// `Modaliases: module(pattern, pattern), module2(…)`. A pattern may hold brackets of its own, so that a list ends
/// only at a `)` behind which another module begins, or nothing.
fn modaliases(mut text: &str) -> Vec<Declared> {
    let mut found = Vec::new();
    while let Some((module, rest)) = text.split_once('(') {
        let ends = |at: &usize| {
            let after = rest[at + 1..].trim_start();
            after.is_empty() || after.strip_prefix(',').is_some_and(begins_module)
        };
        let Some(end) = rest.match_indices(')').map(|(at, _)| at).find(ends) else {
            break;
        };
        found.push(Declared {
            module: module.trim_matches([',', ' ']).replace('-', "_"),
            patterns: rest[..end]
                .split(", ")
                .map(|p| p.trim().to_owned())
                .filter(|p| !p.is_empty())
                .collect(),
        });
        text = &rest[end + 1..];
    }
    found
}

/// Whether a module's name and an opening bracket come next. Looks no further than the name, for there may be a million of them.
fn begins_module(text: &str) -> bool {
    let text = text.trim_start();
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let end = text.bytes().position(|b| !is_name(b)).unwrap_or(text.len());
    end > 0 && text[end..].starts_with('(')
}

fn text_of(tree: &RawTree, path: &str) -> Option<String> {
    match tree.get(path) {
        Some(Entry::File { bytes, .. }) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    }
}

/// The content of the member whose name is `stem`, or `stem` and a suffix.
pub(crate) fn member<'a>(ar: &'a [u8], stem: &str) -> Result<&'a [u8], Problem> {
    let mut rest = ar
        .strip_prefix(AR_MAGIC)
        .ok_or_else(|| malformed("not an ar archive"))?;
    while let Some((header, after)) = rest.split_at_checked(AR_HEADER) {
        let field = |range: std::ops::Range<usize>| std::str::from_utf8(&header[range]).map(str::trim_end);
        let (Ok(name), Ok(size), b"`\n") = (field(0..16), field(48..58), &header[58..]) else {
            return Err(malformed("the ar archive has a damaged member header"));
        };
        let size: usize = size
            .parse()
            .map_err(|_| malformed("the ar archive has a member without a size"))?;
        let content = after
            .get(..size)
            .ok_or_else(|| malformed("the ar archive ends within a member"))?;
        let name = name.trim_end_matches('/');
        if name
            .strip_prefix(stem)
            .is_some_and(|suffix| suffix.is_empty() || suffix.starts_with('.'))
        {
            return Ok(content);
        }
        // Members begin at even offsets.
        rest = after.get(size + size % 2..).unwrap_or_default();
    }
    Err(malformed(&format!("the package has no {stem}")))
}

fn malformed(what: &str) -> Problem {
    Problem::Malformed(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modaliases_keep_patterns_whole() {
        fn check(text: &str, expected: &[(&str, &[&str])]) {
            let expected: Vec<Declared> = expected
                .iter()
                .map(|(module, patterns)| Declared {
                    module: (*module).to_owned(),
                    patterns: patterns.iter().map(|p| (*p).to_owned()).collect(),
                })
                .collect();
            assert_eq!(modaliases(text), expected, "{text}");
        }
        check("", &[]);
        check("wl(pci:v1d2*, pci:v3d4*)", &[("wl", &["pci:v1d2*", "pci:v3d4*"])]);
        check(
            "a-b(usb:v1*), c(of:N*T*Cx,y)",
            &[("a_b", &["usb:v1*"]), ("c", &["of:N*T*Cx,y"])],
        );
        check(
            "x(dmi:*pn(WI-FI):*, of:N*T(null)Cx*)",
            &[("x", &["dmi:*pn(WI-FI):*", "of:N*T(null)Cx*"])],
        );
        check("broken(pci:*", &[]);
        // Each `)` could be the end of the list; the whole rest must not be searched behind each of them.
        assert_eq!(modaliases(&format!("a({}", "),a".repeat(300_000))), []);
    }

    #[test]
    fn damaged_ar_archives_are_refused() {
        fn check(ar: &[u8], expected: &str) {
            assert_eq!(member(ar, "data.tar"), Err(malformed(expected)));
        }
        let header = |size: &str| format!("data.tar.xz     0           0     0     100644  {size:<10}`\n");
        check(b"!<arch>\n", "the package has no data.tar");
        check(
            &[AR_MAGIC, header("9").as_bytes(), b"short"].concat(),
            "the ar archive ends within a member",
        );
        check(
            &[AR_MAGIC, header("x").as_bytes()].concat(),
            "the ar archive has a member without a size",
        );
        check(
            &[AR_MAGIC, &[b'x'; 60]].concat(),
            "the ar archive has a damaged member header",
        );
        let good = [AR_MAGIC, header("4").as_bytes(), b"text"].concat();
        assert_eq!(member(&good, "data.tar"), Ok(b"text".as_slice()));
    }
}
