//! Reads the text of a plain conf: lines of assignments and comments.

use super::expand::{decimal, escape, name_len, variable};
use super::variables::{Variables, is_own};

/// Sets the variables that `text` assigns; None where it contains more than assignments and comments.
pub(super) fn read(text: &[u8], variables: &mut Variables) -> Option<()> {
    // Comments may be in any encoding; elsewhere only ASCII is taken.
    let is_forbidden_control = |byte: &u8| byte.is_ascii_control() && !matches!(byte, b'\n' | b'\t');
    if text.iter().any(is_forbidden_control) {
        return None;
    }
    let text: String = text
        .iter()
        .map(|byte| if byte.is_ascii() { char::from(*byte) } else { '\u{80}' })
        .collect();
    let mut reader = Reader { rest: &text, variables };
    while !reader.rest.is_empty() {
        reader.line()?;
    }
    Some(())
}

/// Where a word occurs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    /// After `NAME=`: bash does no word splitting and no pathname expansion.
    Assignment,
    /// Between the parentheses of an array.
    Array,
}

struct Reader<'a> {
    rest: &'a str,
    variables: &'a mut Variables,
}

impl<'a> Reader<'a> {
    /// One line: nothing, a comment, or assignments.
    fn line(&mut self) -> Option<()> {
        let mut may_end_by_semicolon = false;
        loop {
            self.blanks();
            match self.peek() {
                None => return Some(()),
                Some('\n') => {
                    self.skip(1);
                    return Some(());
                }
                Some('#') => self.comment(),
                Some(';') if may_end_by_semicolon => {
                    self.skip(1);
                    may_end_by_semicolon = false;
                }
                Some(_) => {
                    self.assignment()?;
                    may_end_by_semicolon = true;
                }
            }
        }
    }

    fn assignment(&mut self) -> Option<()> {
        let name = &self.rest[..name_len(self.rest)];
        if name.is_empty() || !is_own(name) {
            return None;
        }
        self.skip(name.len());
        let mut index = None;
        if let Some(inside) = self.rest.strip_prefix('[') {
            let (digits, after) = inside.split_once(']')?;
            index = Some(decimal(digits)?);
            self.rest = after;
        }
        let is_added = self.rest.starts_with('+');
        self.skip(usize::from(is_added));
        self.rest = self.rest.strip_prefix('=')?;
        if self.peek() == Some('(') {
            if index.is_some() {
                return None;
            }
            let elements = self.array()?;
            self.variables.set_all(name, elements, is_added)?;
        } else {
            let index = index.unwrap_or(0);
            let mut value = self.word(Within::Assignment)?;
            if is_added {
                value.insert_str(0, self.variables.get(name, index).unwrap_or_default());
            }
            self.variables.set(name, index, value)?;
        }
        matches!(self.peek(), None | Some(' ' | '\t' | '\n' | ';')).then_some(())
    }

    /// An array such as `(a "b c" d)`.
    fn array(&mut self) -> Option<Vec<String>> {
        self.skip(1);
        let mut elements = Vec::new();
        loop {
            self.blanks();
            match self.peek()? {
                '\n' => self.skip(1),
                '#' => self.comment(),
                ')' => {
                    self.skip(1);
                    return Some(elements);
                }
                _ => elements.push(self.word(Within::Array)?),
            }
        }
    }

    /// A word with its quotes taken off and its variables expanded. It ends before the first character that cannot be part of it.
    fn word(&mut self, within: Within) -> Option<String> {
        let mut word = String::new();
        while let Some(first) = self.peek() {
            match first {
                ' ' | '\t' | '\n' => break,
                ';' if within == Within::Assignment => break,
                ')' if within == Within::Array => break,
                '\'' => {
                    let (text, after) = self.rest[1..].split_once('\'')?;
                    if !text.is_ascii() {
                        return None;
                    }
                    word.push_str(text);
                    self.rest = after;
                }
                '"' => self.quoted(&mut word)?,
                '\\' => {
                    let next = self.rest[1..].chars().next().filter(char::is_ascii)?;
                    if next != '\n' {
                        word.push(next);
                    }
                    self.skip(2);
                }
                '$' => self.unquoted(within, &mut word)?,
                _ if is_literal(first, within) => {
                    word.push(first);
                    self.skip(1);
                }
                _ => return None,
            }
        }
        Some(word)
    }

    /// Appends the expansion of a string in double quotes to `word`.
    fn quoted(&mut self, word: &mut String) -> Option<()> {
        self.skip(1);
        loop {
            match self.peek()? {
                '"' => {
                    self.skip(1);
                    return Some(());
                }
                '\\' => self.rest = escape(self.rest, word)?,
                '$' => self.rest = variable(self.rest, self.variables, word)?,
                '`' => return None,
                other if other.is_ascii() => {
                    word.push(other);
                    self.skip(1);
                }
                _ => return None,
            }
        }
    }

    /// A variable without quotes. In an array bash does word splitting and pathname expansion on its value; such values are refused.
    fn unquoted(&mut self, within: Within, word: &mut String) -> Option<()> {
        let mut value = String::new();
        if name_len(self.rest[1..].trim_start_matches('{')) == 0 {
            return None;
        }
        self.rest = variable(self.rest, self.variables, &mut value)?;
        let is_one_word = !value.is_empty() && value.chars().all(|c| is_literal(c, Within::Array));
        if within == Within::Array && !is_one_word {
            return None;
        }
        word.push_str(&value);
        Some(())
    }

    fn blanks(&mut self) {
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t']);
            match self.rest.strip_prefix("\\\n") {
                Some(after) => self.rest = after,
                None => return,
            }
        }
    }

    fn comment(&mut self) {
        self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// Skips the first `len_bytes` bytes of the rest.
    fn skip(&mut self, len_bytes: usize) {
        self.rest = &self.rest[len_bytes..];
    }
}

/// True for a character that stands for itself without quotes, wherever in the word it is.
fn is_literal(c: char, within: Within) -> bool {
    c.is_ascii_alphanumeric() || "_-./:,+%@=^#!".contains(c) || (within == Within::Assignment && "*?[]".contains(c))
}
