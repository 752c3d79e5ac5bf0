//! The syntax errors that bash reports, as places in a file.

use std::fmt;
use std::path::{Path, PathBuf};

/// The place of a syntax error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxSpan {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column of the token that bash reports, from 1.
    pub column: usize,
    /// The line itself.
    pub text: String,
    /// The message of bash.
    pub message: String,
}

impl fmt::Display for SyntaxSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {}: {}", self.path.display(), self.line, self.message)
    }
}

impl SyntaxSpan {
    /// Finds the first syntax error about `path` in bash's standard error; `source` is the file's text.
    pub(super) fn find(stderr: &str, path: &Path, source: &str) -> Option<SyntaxSpan> {
        let prefix = format!("{}: line ", path.display());
        stderr.lines().find_map(|line| {
            let (number, message) = line.split_once(&prefix)?.1.split_once(": ")?;
            let fatal = message.starts_with("syntax error") || message.starts_with("unexpected EOF");
            let line = number.parse().ok()?;
            fatal.then(|| SyntaxSpan::at(path, line, message, source))
        })
    }

    fn at(path: &Path, line: usize, message: &str, source: &str) -> SyntaxSpan {
        let text = source.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        // The token that bash quotes like `this'.
        let token = message.rsplit_once('`').and_then(|(_, rest)| rest.strip_suffix('\''));
        let column = token
            .filter(|token| !token.is_empty())
            .and_then(|token| text.find(token))
            .unwrap_or_else(|| text.len() - text.trim_start().len());
        SyntaxSpan {
            path: path.to_owned(),
            line,
            column: text[..column.min(text.len())].chars().count() + 1,
            text: text.to_owned(),
            message: message.to_owned(),
        }
    }

    /// The line with a caret under the place.
    pub fn snippet(&self) -> String {
        let number = self.line.to_string();
        let pad = " ".repeat(number.len());
        // Tabs stay tabs, so that the caret stands where they put the text.
        let indent: String = self
            .text
            .chars()
            .take(self.column - 1)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        format!("{pad} |\n{number} | {}\n{pad} | {indent}^", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caret_under_the_token() {
        let source = "A=1\n\tif true fi; then\n";
        let stderr = "bash: x.conf: line 2: syntax error near unexpected token `fi'\n";
        let span = SyntaxSpan::find(stderr, Path::new("x.conf"), source).expect("found");
        assert_eq!((span.line, span.column), (2, 10));
        assert_eq!(span.snippet(), "  |\n2 | \tif true fi; then\n  | \t        ^");
        assert!(SyntaxSpan::find("x.conf: line 1: foo: command not found", Path::new("x.conf"), source).is_none());
    }
}
