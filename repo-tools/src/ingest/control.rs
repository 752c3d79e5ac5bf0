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

#[cfg(test)]
mod tests {
    use deb822_fast::Deb822;

    use super::*;

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
