//! Debian's control syntax: paragraphs of `Field: value` lines, continued by lines that begin with a space.

/// One paragraph: fields in their order, names in lower case.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Paragraph {
    fields: Vec<(String, String)>,
}

impl Paragraph {
    /// The value of the field, continuation lines joined by `\n`, each without its leading space.
    pub(super) fn get(&self, field: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(name, _)| name == field)
            .map(|(_, value)| value.as_str())
    }

    /// The first line of the field.
    pub(super) fn line(&self, field: &str) -> Option<&str> {
        self.get(field).and_then(|value| value.lines().next()).map(str::trim)
    }
}

/// All paragraphs of `text`. Lines that fit nowhere are passed over: the text is a description, not a decision.
pub(super) fn parse(text: &str) -> Vec<Paragraph> {
    let mut paragraphs = Vec::new();
    let mut current = Paragraph::default();
    for line in text.lines() {
        if line.trim().is_empty() {
            if !current.fields.is_empty() {
                paragraphs.push(std::mem::take(&mut current));
            }
        } else if let Some(more) = line.strip_prefix([' ', '\t']) {
            if let Some((_, value)) = current.fields.last_mut() {
                value.push('\n');
                value.push_str(more);
            }
        } else if let Some((name, value)) = line.split_once(':')
            && !line.starts_with('#')
        {
            current
                .fields
                .push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    if !current.fields.is_empty() {
        paragraphs.push(current);
    }
    paragraphs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_fields_and_continuations() {
        let text = "Package: x-dkms\nDescription: short\n long line\n .\n more\n\n\n# a comment: here\nFiles: *\nLicense: GPL-2+\n";
        let all = parse(text);
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].line("description"), Some("short"));
        assert_eq!(all[0].get("description"), Some("short\nlong line\n.\nmore"));
        assert_eq!(all[1].get("license"), Some("GPL-2+"));
        assert_eq!(all[1].get("missing"), None);
        assert_eq!(parse(" lonely continuation\nno colon here\n"), []);
    }
}
