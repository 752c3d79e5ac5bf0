//! Text of packages, devices, mirrors and compilers on a terminal. Such text can hold escape sequences, which move the cursor, write the
//! clipboard or make the terminal send input, and bidirectional controls, which show a line in another order than it has.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` with every control character but line breaks and tabs as an escape of Rust: `\u{1b}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(
        text,
        |c| !matches!(c, '\n' | '\t') && is_control(c),
        |out, c| {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        },
    )
}

/// A JSON document with the control characters that JSON allows in a string as escapes of JSON.
pub fn printable_json(document: &str) -> Cow<'_, str> {
    // Those below U+0020 are escaped already, or are white space between values.
    escaped(
        document,
        |c| c >= '\u{7f}' && is_control(c),
        |out, c| {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        },
    )
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool, escape: impl Fn(&mut String, char)) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_escaped(c) {
            escape(&mut out, c);
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Whether a terminal may act on a character: C0 and C1 controls, line and paragraph separators, bidirectional controls
/// (Unicode, `Bidi_Control`).
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_acts_on_is_escaped() {
        let check = |text: &str, expected: &str| assert_eq!(printable(text), expected);
        check("plain, é, 雷蛇\n\tindented", "plain, é, 雷蛇\n\tindented");
        check("\x1b]52;c;AAAA\x07", "\\u{1b}]52;c;AAAA\\u{7}");
        check("\u{9b}2J", "\\u{9b}2J");
        check("over\rwritten\x08\x7f\0", "over\\u{d}written\\u{8}\\u{7f}\\u{0}");
        check(
            "a\u{202e}b\u{2066}c\u{200f}\u{61c}\u{2029}",
            "a\\u{202e}b\\u{2066}c\\u{200f}\\u{61c}\\u{2029}",
        );
    }

    #[test]
    fn documents_stay_the_same_to_a_reader() {
        assert_eq!(printable_json("{\"a\":\"é\\u001b\"}\n"), "{\"a\":\"é\\u001b\"}\n");
        assert_eq!(
            printable_json("[\"\u{9b}\u{202e}\u{7f}\"]"),
            "[\"\\u009b\\u202e\\u007f\"]"
        );
    }
}
