//! Regular expressions of confs: those that mean the same to POSIX and to `regex_lite`.

use regex_lite::Regex;

/// Whether `pattern`, an extended regular expression of POSIX, is found in `text`. None where the two may differ.
pub(super) fn matches(pattern: &str, text: &str) -> Option<bool> {
    let is_same = is_plain(pattern) && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_same
        .then(|| Regex::new(pattern).ok())?
        .map(|regex| regex.is_match(text))
}

/// What was read last in an expression.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    /// The beginning of an alternative: an atom has to follow.
    Begin,
    /// An atom, which may be repeated.
    Part,
    /// A repetition or an anchor, which may not be repeated.
    Whole,
}

/// True for literals, `.`, anchors at the ends of alternatives, groups, sets like `[0-9a-f]`, and single repetitions.
fn is_plain(pattern: &str) -> bool {
    let mut depth = 0_usize;
    let mut after = After::Begin;
    let mut is_ended = false;
    let mut rest = pattern.chars();
    if pattern.is_empty() {
        return true;
    }
    while let Some(c) = rest.next() {
        if is_ended && !matches!(c, '|' | ')') {
            return false;
        }
        after = match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' | '.' | ' ' | '/' | ',' | ':' | '~' | '@' | '=' => {
                After::Part
            }
            '\\' => match rest.next() {
                Some('.' | '-' | '+') => After::Part,
                _ => return false,
            },
            '[' => match set_len(rest.as_str()) {
                Some(len) => {
                    rest = rest.as_str()[len..].chars();
                    After::Part
                }
                None => return false,
            },
            '*' | '+' | '?' if after == After::Part => After::Whole,
            '^' if after == After::Begin => After::Begin,
            '$' if after != After::Begin => {
                is_ended = true;
                After::Whole
            }
            '(' => {
                depth += 1;
                After::Begin
            }
            ')' if depth > 0 && after != After::Begin => {
                depth -= 1;
                is_ended = false;
                After::Part
            }
            '|' if after != After::Begin => {
                is_ended = false;
                After::Begin
            }
            _ => return false,
        };
    }
    depth == 0 && after != After::Begin
}

/// The length of a set up to its `]`, behind the `[`.
fn set_len(text: &str) -> Option<usize> {
    let (inside, _) = text.split_once(']')?;
    let set = inside.strip_prefix('^').unwrap_or(inside);
    let bytes = set.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let first = bytes[at];
        if !first.is_ascii_alphanumeric() && !(b"._".contains(&first)) {
            return None;
        }
        if bytes.get(at + 1) == Some(&b'-') {
            let last = *bytes.get(at + 2)?;
            let is_range = (first.is_ascii_digit() && last.is_ascii_digit())
                || (first.is_ascii_lowercase() && last.is_ascii_lowercase())
                || (first.is_ascii_uppercase() && last.is_ascii_uppercase());
            if !is_range || first > last {
                return None;
            }
            at += 3;
        } else {
            at += 1;
        }
    }
    (!set.is_empty()).then_some(inside.len() + 1)
}
