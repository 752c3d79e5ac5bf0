//! Text in the columns of a terminal. A CJK character takes two columns and a combining character none, so that neither bytes nor
//! characters can be counted. Control characters are escaped.

use unicode_width::UnicodeWidthStr as _;

use crate::terminal::printable;

/// How many columns `text` takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// `text` in at most `columns` columns, with an ellipsis where it is cut.
pub fn fit(text: &str, columns: usize) -> String {
    let text = &*printable(text);
    if width(text) <= columns {
        return text.to_owned();
    }
    let kept = text.char_indices().map(|(end, _)| &text[..end]);
    let kept = kept
        .take_while(|start| width(start) < columns)
        .last()
        .unwrap_or_default();
    format!("{kept}…")
}

/// `text` in exactly `columns` columns: cut, or filled with spaces.
pub fn pad(text: &str, columns: usize) -> String {
    let mut text = fit(text, columns);
    text.push_str(&" ".repeat(columns.saturating_sub(width(&text))));
    text
}

/// Lines of at most `columns` columns, broken at spaces where there are any. A word that is longer than a line has one of its own.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let text = printable(text);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last().map_or(0, |line| width(line));
        if last > 0 && last + 1 + width(word) > columns {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_take_their_columns_whatever_the_script() {
        let check = |text: &str, expected: &str| {
            let found = pad(text, 8);
            assert_eq!((found.as_str(), width(&found)), (expected, 8), "{text}");
        };
        check("edu", "edu     ");
        check("edu card 2", "edu car…");
        // Two columns each.
        check("雷蛇", "雷蛇    ");
        check("雷蛇炼狱", "雷蛇炼狱");
        // A wide character that would end in the ninth column is left out whole.
        check("雷蛇炼狱蝰蛇", "雷蛇炼… ");
        // An accent of its own takes no column, and stays with its letter.
        check("Cafe\u{301}", "Cafe\u{301}    ");
        check("Cafe\u{301} Racer", "Cafe\u{301} Ra…");
        assert_eq!(fit("edu", 0), "…");
        assert_eq!(fit("\x1b[2J", 20), "\\u{1b}[2J");
    }

    #[test]
    fn lines_break_at_spaces() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("雷蛇 炼狱 蝰蛇", 9), ["雷蛇 炼狱", "蝰蛇"]);
        assert_eq!(wrap("overlong word", 4), ["overlong", "word"]);
        assert_eq!(wrap("", 4), [""]);
    }
}
