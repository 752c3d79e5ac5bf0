//! Licenses as SPDX expressions, from Debian's machine-readable copyright file, from tags in the source, or from what the modules say of
//! themselves.

use std::collections::BTreeSet;

use deb822_fast::Deb822;

use super::control::first_line;
use super::tree::SourceTree;

/// The license of `Files: *` in a copyright file of Debian's machine-readable format, which names itself in its first line.
pub(super) fn from_copyright(text: &str) -> Option<String> {
    let text: Deb822 = text.parse().ok()?;
    let header = text.iter().next()?;
    if !first_line(header, "format").contains("copyright-format") {
        return None;
    }
    let of_all_files = text
        .iter()
        .filter(|p| first_line(p, "files").split_whitespace().any(|glob| glob == "*"))
        .map(|p| first_line(p, "license"))
        .find(|license| !license.is_empty());
    let name = of_all_files.unwrap_or_else(|| first_line(header, "license"));
    (!name.is_empty()).then(|| expression(name))
}

/// The `SPDX-License-Identifier` tags of all files, joined by AND; `None` where there are none.
pub(super) fn from_source(tree: &SourceTree) -> Option<String> {
    const TAG: &str = "SPDX-License-Identifier:";
    let mut found = BTreeSet::new();
    for (path, bytes) in tree.files() {
        if !path.ends_with(".c") && !path.ends_with(".h") {
            continue;
        }
        let head = String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]);
        for line in head.lines().take(10) {
            if let Some((_, rest)) = line.split_once(TAG) {
                let name = rest.trim().trim_end_matches("*/").trim();
                if !name.is_empty() && name.len() < 100 {
                    found.insert(expression(name));
                }
            }
        }
    }
    all_of(found)
}

/// What the `MODULE_LICENSE` of all files say, joined by AND; `None` where there are none. It is less exact than a tag: `GPL` says
/// nothing of later versions, and `BSD` not which one (Documentation/process/license-rules.rst).
pub(super) fn from_modules(tree: &SourceTree) -> Option<String> {
    let mut found = BTreeSet::new();
    for (_, bytes) in tree.files().filter(|(path, _)| path.ends_with(".c")) {
        found.extend(module_licenses(&String::from_utf8_lossy(bytes)));
    }
    all_of(found)
}

fn module_licenses(text: &str) -> impl Iterator<Item = String> {
    const MACRO: &str = "MODULE_LICENSE";
    text.match_indices(MACRO).filter_map(|(at, _)| {
        let line = text[..at].rsplit('\n').next().unwrap_or_default().trim_start();
        let is_comment = line.contains("//") || line.starts_with(['*', '#']) || line.contains("/*");
        let rest = text[at + MACRO.len()..].trim_start().strip_prefix('(')?;
        let (name, _) = rest.trim_start().strip_prefix('"')?.split_once('"')?;
        (!is_comment && name.len() < 100).then(|| of_module(name))
    })
}

/// A text that the kernel knows (include/linux/module.h), as an SPDX expression.
fn of_module(name: &str) -> String {
    let spdx = match name {
        "GPL" | "GPL v2" => "GPL-2.0-only",
        "Dual BSD/GPL" => "GPL-2.0-only OR LicenseRef-BSD",
        "Dual MIT/GPL" => "GPL-2.0-only OR MIT",
        "Dual MPL/GPL" => "GPL-2.0-only OR LicenseRef-MPL",
        other => return reference(other),
    };
    spdx.to_owned()
}

/// Licenses that all apply.
fn all_of(found: BTreeSet<String>) -> Option<String> {
    let all: Vec<String> = match found.len() {
        0 | 1 => found.into_iter().collect(),
        _ => found
            .into_iter()
            .map(|one| if one.contains(' ') { format!("({one})") } else { one })
            .collect(),
    };
    (!all.is_empty()).then(|| all.join(" AND "))
}

/// The license of an rpm package, in SPDX or in the short names that Fedora had before (`GPLv2+ and MIT`).
pub(super) fn from_words(words: &str) -> String {
    let newer = |word: &str| {
        let (open, name) = word.strip_prefix('(').map_or(("", word), |name| ("(", name));
        match name.split_once("GPLv") {
            Some((family @ ("" | "L" | "A"), number)) => format!("{open}{family}GPL-{number}"),
            _ => word.to_owned(),
        }
    };
    let words: Vec<String> = words.split_whitespace().map(newer).collect();
    expression(&words.join(" "))
}

/// Debian's short names, joined by `or` and `and`, as an SPDX expression.
fn expression(names: &str) -> String {
    let words: Vec<String> = names
        .split_whitespace()
        .map(|word| match word.to_ascii_lowercase().as_str() {
            "or" => "OR".to_owned(),
            "and" => "AND".to_owned(),
            "with" => "WITH".to_owned(),
            _ => identifier(word),
        })
        .collect();
    words.join(" ")
}

/// One Debian short name (`GPL-2+`) as an SPDX identifier (`GPL-2.0-or-later`).
fn identifier(word: &str) -> String {
    let open = word.starts_with('(');
    let name = word.trim_matches(|c| matches!(c, '(' | ')' | ','));
    let spdx = match name.to_ascii_lowercase().as_str() {
        "expat" | "mit" => "MIT".to_owned(),
        "bsd-2-clause" => "BSD-2-Clause".to_owned(),
        "bsd-3-clause" => "BSD-3-Clause".to_owned(),
        "apache-2.0" | "apache-2" => "Apache-2.0".to_owned(),
        "linux-syscall-note" => "Linux-syscall-note".to_owned(),
        lower => gnu(lower).unwrap_or_else(|| reference(name)),
    };
    match (open, word.ends_with(')')) {
        (true, _) => format!("({spdx}"),
        (_, true) => format!("{spdx})"),
        _ => spdx,
    }
}

/// `gpl-2`, `lgpl-2.1+`, `gpl-2.0-only`, … as SPDX writes them.
fn gnu(lower: &str) -> Option<String> {
    let (family, rest) = lower.split_once('-')?;
    if !matches!(family, "gpl" | "lgpl" | "agpl") {
        return None;
    }
    let (number, later) = match rest.strip_suffix('+').or_else(|| rest.strip_suffix("-or-later")) {
        Some(number) => (number, true),
        None => (rest.strip_suffix("-only").unwrap_or(rest), false),
    };
    let number = match number {
        "1" | "2" | "3" => format!("{number}.0"),
        "1.0" | "2.0" | "2.1" | "3.0" => number.to_owned(),
        _ => return None,
    };
    let kind = if later { "or-later" } else { "only" };
    Some(format!("{}-{number}-{kind}", family.to_ascii_uppercase()))
}

/// A license SPDX does not know by this name. Identifiers that already look like SPDX pass unchanged.
fn reference(name: &str) -> String {
    const KNOWN: [&str; 7] = ["ISC", "Zlib", "CDDL-1.0", "CDDL-1.1", "MPL-2.0", "0BSD", "CC0-1.0"];
    if KNOWN.contains(&name) {
        return name.to_owned();
    }
    let safe: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .collect();
    format!("LicenseRef-{safe}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_become_spdx() {
        fn check(names: &str, expected: &str) {
            assert_eq!(expression(names), expected, "{names}");
        }
        check("GPL-2+", "GPL-2.0-or-later");
        check("GPL-2.0+", "GPL-2.0-or-later");
        check("GPL-2", "GPL-2.0-only");
        check("GPL-2.0-only", "GPL-2.0-only");
        check("LGPL-2.1+", "LGPL-2.1-or-later");
        check("GPL-2 or BSD-3-clause", "GPL-2.0-only OR BSD-3-Clause");
        check("(GPL-2.0 OR MIT)", "(GPL-2.0-only OR MIT)");
        check("Expat", "MIT");
        assert_eq!(
            from_words("(GPLv2+ or LGPLv2) and MIT"),
            "(GPL-2.0-or-later OR LGPL-2.0-only) AND MIT"
        );
        check("my license/2", "LicenseRef-my LicenseRef-license-2");
    }

    #[test]
    fn what_modules_say_of_themselves() {
        fn check(text: &str, expected: &[&str]) {
            let found: Vec<String> = module_licenses(text).collect();
            assert_eq!(found, expected, "{text}");
        }
        check("MODULE_LICENSE(\"GPL\");\n", &["GPL-2.0-only"]);
        check(
            "MODULE_AUTHOR(\"x\"); MODULE_LICENSE (\n\t\"GPL v2\" );",
            &["GPL-2.0-only"],
        );
        check(
            "MODULE_LICENSE(\"Dual BSD/GPL\");\nMODULE_LICENSE(\"Dual MIT/GPL\");",
            &["GPL-2.0-only OR LicenseRef-BSD", "GPL-2.0-only OR MIT"],
        );
        check("MODULE_LICENSE(\"Proprietary\");", &["LicenseRef-Proprietary"]);
        check(
            "// MODULE_LICENSE(\"GPL\");\n * MODULE_LICENSE(\"GPL\")\nMODULE_LICENSE(LICENSE);",
            &[],
        );
        check("", &[]);
        let both = BTreeSet::from(["MIT".to_owned(), "GPL-2.0-only OR MIT".to_owned()]);
        assert_eq!(all_of(both).as_deref(), Some("(GPL-2.0-only OR MIT) AND MIT"));
    }

    #[test]
    fn only_machine_readable_files_are_read() {
        let dep5 = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: debian/*\nLicense: MIT\n\nFiles: *\nLicense: GPL-2+\n text\n";
        assert_eq!(from_copyright(dep5).as_deref(), Some("GPL-2.0-or-later"));
        assert_eq!(
            from_copyright("This package was debianized by somebody.\nLicense: GPL-2\n"),
            None
        );
    }
}
