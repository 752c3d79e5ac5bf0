//! The names that a person may have meant.

/// How many are shown.
const SHOWN_MAX: usize = 3;
/// Longer names are not compared: no package has one.
const NAME_MAX_CHARS: usize = 64;

/// The names that are near `name`, the nearest first.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    if name.chars().count() > NAME_MAX_CHARS {
        return Vec::new();
    }
    let allowed = name.chars().count().div_ceil(3);
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

    use std::collections::BTreeSet;

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
}
