//! Alias patterns as the package managers of distributions read them.
//!
//! Each of them has a syntax of its own around the patterns, with characters that a pattern may hold as well. A pattern that
//! has to be changed is made wider, never narrower: a package that is offered in vain is built for no device.

use std::collections::BTreeSet;

use dkms_index::document::manifest::{Manifest, Module};

/// The field `Modaliases` of a Debian package, as ubuntu-drivers reads it: `module(pattern, pattern), module(pattern)`.
///
/// Its reader (`_apt_cache_modalias_map` of ubuntu-drivers-common) splits at every `)`, `(` and `,`, files each pattern under
/// what is before its first `:`, and matches with Python's `fnmatch`, without regard to case. So brackets and commas become
/// `?`, `acpi*:` becomes `acpi:`, and what Python reads otherwise than glibc becomes `?` or `[!…]`.
pub(super) fn ubuntu(manifest: &Manifest) -> Option<String> {
    let modules = manifest.modules.iter().filter_map(|module| {
        let patterns: BTreeSet<String> = patterns(module).iter().map(|pattern| python(pattern)).collect();
        let patterns: Vec<String> = patterns.into_iter().collect();
        (!patterns.is_empty()).then(|| format!("{}({})", module.name, patterns.join(", ")))
    });
    let field = modules.collect::<Vec<_>>().join(", ");
    (!field.is_empty()).then_some(field)
}

/// The names `modalias(pattern)` of an rpm package, which libzypp takes as `Supplements`, and others look for in `Provides`.
///
/// libsolv takes what is before the first of two colons for the name of a package, so that later colons are written `%3A`.
/// libzypp decodes `%XX`, and rpm knows neither blanks nor commas in a name.
pub(super) fn rpm<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let names: BTreeSet<String> = patterns
        .into_iter()
        .map(|pattern| format!("modalias({})", encoded(pattern)))
        .collect();
    names.into_iter().collect()
}

/// The names `modalias(kernel-FLAVOR:pattern)` of a kernel module package of SUSE: it is for who has this kernel and such a device.
///
/// libsolv takes what is before the first colon for the package, so that those of the pattern stay. All else is encoded as the scripts of
/// SUSE's rpm do.
pub(super) fn suse<'a>(flavor: &str, patterns: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let encoded = |pattern: &str| {
        let byte = |byte: u8| match byte {
            b'*' | b':' | b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:X}"),
        };
        pattern.bytes().map(byte).collect::<String>()
    };
    let names: BTreeSet<String> = patterns
        .into_iter()
        .map(|pattern| format!("modalias(kernel-{flavor}:{})", encoded(pattern)))
        .collect();
    names.into_iter().collect()
}

/// The patterns that decide for a module, as [`Manifest::patterns`] has them.
fn patterns(module: &Module) -> &[String] {
    if module.aliases.is_empty() {
        &module.declared
    } else {
        &module.aliases
    }
}

/// A pattern of glibc's `fnmatch` for Python's.
fn python(pattern: &str) -> String {
    let (bus, rest) = pattern.split_once(':').unwrap_or((pattern, ""));
    let mut out = format!("{}:", bus.trim_end_matches('*'));
    let mut left = rest;
    while let Some(c) = left.chars().next() {
        left = &left[c.len_utf8()..];
        match c {
            '[' => {
                let (set, after) = bracket(left);
                out.push_str(&set);
                left = after;
            }
            // The character behind it stands for itself, and needs no quotes for Python unless it is special.
            '\\' => {
                out.push('?');
                left = left.chars().next().map_or(left, |quoted| &left[quoted.len_utf8()..]);
            }
            '(' | ')' | ',' | ']' => out.push('?'),
            c if c.is_whitespace() => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

/// A bracket expression, if Python reads it as glibc does; else `?`, which matches at least the same.
fn bracket(left: &str) -> (String, &str) {
    let Some((set, after)) = left.split_once(']') else {
        // Unclosed: a literal bracket for both.
        return ("?".to_owned(), left);
    };
    let (negated, members) = match set.strip_prefix(['!', '^']) {
        Some(members) => ("!", members),
        None => ("", set),
    };
    let plain = !members.is_empty() && members.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let ranges_rise = members.as_bytes().windows(3).all(|w| w[1] != b'-' || w[0] <= w[2]);
    if plain && ranges_rise && !members.starts_with('-') && !members.ends_with('-') {
        (format!("[{negated}{members}]"), after)
    } else {
        ("?".to_owned(), after)
    }
}

fn encoded(pattern: &str) -> String {
    let several_colons = pattern.matches(':').count() > 1;
    let mut out = String::with_capacity(pattern.len());
    for byte in pattern.bytes() {
        match byte {
            b':' if several_colons => out.push_str("%3A"),
            b'A'..=b'Z'
            | b'a'..=b'z'
            | b'0'..=b'9'
            | b':'
            | b'*'
            | b'?'
            | b'['
            | b']'
            | b'-'
            | b'_'
            | b'.'
            | b'!'
            | b'^' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_reads_what_glibc_reads_or_more() {
        fn check(pattern: &str, expected: &str) {
            assert_eq!(python(pattern), expected, "{pattern}");
        }
        check(
            "pci:v000010ECd00008168sv*sd*bc*sc*i*",
            "pci:v000010ECd00008168sv*sd*bc*sc*i*",
        );
        check("pci:v000015B3d0000A2D[236CF]sv*", "pci:v000015B3d0000A2D[236CF]sv*");
        check("acpi*:PNP0C09:*", "acpi:PNP0C09:*");
        check("of:N*T(null)Cvendor,chip", "of:N*T?null?Cvendor?chip");
        check("dmi:*:rnX(WI-FI):*", "dmi:*:rnX?WI-FI?:*");
        check("usb:v1234p[^0-4]*", "usb:v1234p[!0-4]*");
        check("usb:v1234p[z-a]*", "usb:v1234p?*");
        check("usb:v1234p[[]*", "usb:v1234p?*");
        check("dmi:a\\*b\\", "dmi:a?b?");
        check("dmi:[open", "dmi:?open");
    }

    #[test]
    fn rpm_names_are_one_word_that_libsolv_does_not_split() {
        fn check(pattern: &str, expected: &str) {
            assert_eq!(encoded(pattern), expected, "{pattern}");
        }
        check(
            "pci:v000010ECd00008168sv*sd*bc*sc*i*",
            "pci:v000010ECd00008168sv*sd*bc*sc*i*",
        );
        check("dmi:*:svnA B:*", "dmi%3A*%3AsvnA%20B%3A*");
        check("of:N*T(null)Cvendor,chip", "of:N*T%28null%29Cvendor%2Cchip");
        let names = suse("default", ["dmi:*:svnA-B:*", "pci:v1[0-9]*"]);
        let expected = [
            "modalias(kernel-default:dmi:*:svnA%2DB:*)",
            "modalias(kernel-default:pci:v1%5B0%2D9%5D*)",
        ];
        assert_eq!(names, expected);
    }
}
