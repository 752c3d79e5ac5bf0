//! The names that a person may have meant.

use std::collections::BTreeSet;

use dkms_engine::tree::Tree;

use super::failure::Failure;
use super::packages;
use crate::state::StateError;
use crate::state::index::Index;
use crate::state::records::Records;

/// How many are shown.
const SHOWN_MAX: usize = 3;
/// Longer names are not compared: they are nobody's.
const NAME_MAX_CHARS: usize = 64;

/// The names of all packages that this machine knows: from its repositories, in its tree, held or quarantined.
///
/// # Errors
/// When the index or the records are damaged.
pub(super) fn known(index: &Index, tree: &Tree, records: &Records) -> Result<BTreeSet<String>, StateError> {
    let mut names = index.names()?;
    names.extend(tree.packages().into_iter().map(|package| package.module));
    names.extend(records.holds()?.into_iter().map(|hold| hold.package));
    names.extend(records.quarantined()?.into_iter().map(|entry| entry.package));
    Ok(names)
}

/// The name among `known` that `text` means: with or without a version, or as Debian calls its package.
///
/// # Errors
/// The names that are near where nobody has this one.
pub(super) fn resolve<'a>(text: &'a str, known: &BTreeSet<String>) -> Result<&'a str, Failure> {
    let name = packages::parse(text).0;
    let without_suffix = name.strip_suffix("-dkms").unwrap_or(name);
    [name, without_suffix]
        .into_iter()
        .find(|name| known.contains(*name))
        .ok_or_else(|| Failure::UnknownPackage {
            name: name.to_owned(),
            nearest: nearest(name, known),
        })
}

/// The names that are near `name`, the nearest first.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    if name.chars().count() > NAME_MAX_CHARS {
        return Vec::new();
    }
    let allowed = (name.chars().count() / 3).max(1);
    let mut found: Vec<(usize, &String)> = known
        .into_iter()
        .filter(|one| one.chars().count() <= NAME_MAX_CHARS)
        .map(|one| (distance(name, one), one))
        .filter(|(distance, one)| *distance <= allowed || (name.len() >= 3 && one.contains(name)))
        .collect();
    found.sort();
    found.into_iter().take(SHOWN_MAX).map(|(_, one)| one.clone()).collect()
}

/// How many characters must be added, removed or replaced (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn near_names_are_found() {
        let known = names(&["r8168", "r8169x", "rtl88x2bu", "nvidia-open", "ddcci"]);
        let check = |name: &str, expected: &[&str]| assert_eq!(nearest(name, &known), expected, "{name}");
        check("r8186", &["r8168"]);
        check("nvidia", &["nvidia-open"]);
        check("rtl88x2b", &["rtl88x2bu"]);
        check("wireguard", &[]);
        check(&"x".repeat(1000), &[]);
    }

    #[test]
    fn names_are_read_as_people_write_them() {
        let known = names(&["r8168", "foo-dkms"]);
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(resolve(text, &known).ok(), expected, "{text}");
        };
        check("r8168", Some("r8168"));
        check("r8168/8.051", Some("r8168"));
        check("r8168=8.051", Some("r8168"));
        check("r8168@8.051", Some("r8168"));
        check("r8168-dkms", Some("r8168"));
        check("foo-dkms", Some("foo-dkms"));
        check("foo", None);
    }
}
