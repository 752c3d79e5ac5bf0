//! Debian's control syntax (deb822): control files of packages and machine-readable copyright files.

use deb822_fast::Paragraph;

/// The first line of a field, empty where the field is missing.
pub(super) fn first_line<'a>(paragraph: &'a Paragraph, field: &str) -> &'a str {
    paragraph
        .get(field)
        .and_then(|value| value.lines().next())
        .unwrap_or_default()
        .trim()
}

/// `1:2.0-3` → `2.0-3`. The epoch orders versions within one distribution, is not part of file names there either,
/// and its colon cannot be written to every offline medium.
pub(super) fn without_epoch(version: &str) -> &str {
    match version.split_once(':') {
        Some((epoch, rest)) if epoch.bytes().all(|b| b.is_ascii_digit()) => rest,
        _ => version,
    }
}

#[cfg(test)]
mod tests {
    use deb822_fast::Deb822;

    use super::*;

    #[test]
    fn epochs_are_dropped() {
        fn check(version: &str, expected: &str) {
            assert_eq!(without_epoch(version), expected);
        }
        check("1:2.11-3", "2.11-3");
        check("0.4.5-1~bpo12+1", "0.4.5-1~bpo12+1");
        check("a:b", "a:b");
    }

    #[test]
    fn a_field_is_shown_by_its_first_line() {
        let text = "Package: x-dkms\nDescription: short \n long line\n .\n# a comment\nVersion: 1\n\nPackage: other\n";
        let text: Deb822 = text.parse().unwrap();
        let package = text.iter().next().unwrap();
        assert_eq!(first_line(package, "description"), "short");
        assert_eq!(first_line(package, "version"), "1");
        assert_eq!(first_line(package, "homepage"), "");
    }
}
