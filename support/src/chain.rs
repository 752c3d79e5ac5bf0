//! Errors with their causes.

use std::error::Error;

/// An error and its causes on one line, separated by colons. A cause that the text contains already is left out: transparent errors and
/// those that format their source would repeat it.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt;

    #[derive(Debug)]
    struct Link(&'static str, Option<Box<Link>>);

    impl fmt::Display for Link {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Link {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|link| link as _)
        }
    }

    #[test]
    fn each_cause_once() {
        let check = |texts: &[&'static str], expected: &str| {
            let link = texts
                .iter()
                .rev()
                .fold(None, |below, &text| Some(Box::new(Link(text, below))));
            assert_eq!(chain(&*link.expect("an error")), expected);
        };
        check(&["a file cannot be read"], "a file cannot be read");
        check(&["outer", "inner", "innermost"], "outer: inner: innermost");
        check(&["outer: inner", "inner", "innermost"], "outer: inner: innermost");
        check(&["same", "same"], "same");
    }
}
