//! The text of a source file as far as its imports need it.

/// `text` with comments and the contents of strings blanked, and without items for tests alone.
pub(super) fn without_comments_and_tests(text: &str) -> String {
    let mut text = without_comments(text);
    while let Some(start) = text.find("#[cfg(test)]") {
        let end = end_of_item(&text, start + "#[cfg(test)]".len());
        text.replace_range(start..end, "");
    }
    text
}

/// Where the item ends that begins at `start`: behind its `;`, or behind the brace that closes it.
fn end_of_item(text: &str, start: usize) -> usize {
    let mut depth = 0_usize;
    for (index, letter) in text[start..].char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth <= 1 => return start + index + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return start + index + 1,
            _ => {}
        }
    }
    text.len()
}

fn without_comments(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("r#\"") {
            rest.find("\"#").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("r\"") && !kept.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            rest[2..].find('"').map_or(rest.len(), |end| end + 3)
        } else if letter == '"' {
            end_of_string(rest)
        } else {
            char_literal(rest)
        };
        if skip == 0 {
            kept.push(letter);
            rest = &rest[letter.len_utf8()..];
        } else {
            kept.push(' ');
            rest = &rest[skip..];
        }
    }
    kept
}

fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (index, letter) in text.char_indices().skip(1) {
        match letter {
            '"' if !escaped => return index + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// The length of the character literal that `text` begins with; 0 if it begins with none. A lifetime is none.
fn char_literal(text: &str) -> usize {
    let mut letters = text.char_indices();
    if letters.next().map(|(_, letter)| letter) != Some('\'') {
        return 0;
    }
    if letters.next().map(|(_, letter)| letter) == Some('\\') {
        letters.next();
        return letters
            .find(|(_, letter)| *letter == '\'')
            .map_or(0, |(index, _)| index + 1);
    }
    match letters.next() {
        Some((index, '\'')) => index + 1,
        _ => 0,
    }
}
