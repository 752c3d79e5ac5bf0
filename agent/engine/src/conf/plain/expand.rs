//! Expansion of variables, as in double quotes.

use super::variables::{Variables, is_own};

/// Expands `text` as bash does in double quotes; None where it is incomplete, runs a command or uses an unknown variable.
pub(super) fn in_quotes(text: &str, variables: &Variables) -> Option<String> {
    let mut rest = text;
    let mut expanded = String::with_capacity(text.len());
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '"' | '`' => return None,
            '\\' => escape(rest, &mut expanded)?,
            '$' => variable(rest, variables, &mut expanded)?,
            _ => {
                expanded.push(first);
                &rest[first.len_utf8()..]
            }
        };
    }
    Some(expanded)
}

/// A backslash in double quotes at the beginning of `text`: it quotes a few characters, and stands for itself before others. Returns the
/// rest of `text`.
pub(super) fn escape<'a>(text: &'a str, into: &mut String) -> Option<&'a str> {
    let next = text[1..].chars().next().filter(char::is_ascii)?;
    match next {
        '\n' => {}
        '$' | '`' | '"' | '\\' => into.push(next),
        _ => {
            into.push('\\');
            into.push(next);
        }
    }
    Some(&text[2..])
}

/// `$NAME`, `${NAME}` or `${NAME[3]}` at the beginning of `text`, or a `$` that stands for itself. Returns the rest of `text`.
pub(super) fn variable<'a>(text: &'a str, variables: &Variables, into: &mut String) -> Option<&'a str> {
    let after = &text[1..];
    if after.is_empty() || after.starts_with(['"', ' ', '|', ')', '/', '.']) {
        into.push('$');
        return Some(after);
    }
    let braced = after.strip_prefix('{');
    let text = braced.unwrap_or(after);
    let name = &text[..name_len(text)];
    let mut rest = &text[name.len()..];
    let mut index = 0;
    if braced.is_some() {
        if let Some(inside) = rest.strip_prefix('[') {
            let (digits, after) = inside.split_once(']')?;
            index = decimal(digits)?;
            rest = after;
        }
        rest = rest.strip_prefix('}')?;
    }
    // A name goes on in the next line.
    let goes_on = braced.is_none() && rest.starts_with("\\\n");
    if goes_on || !is_own(name) {
        return None;
    }
    into.push_str(variables.get(name, index)?);
    Some(rest)
}

/// How many bytes at the beginning of `text` are a variable's name.
pub(super) fn name_len(text: &str) -> usize {
    let is_part = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
    match text.bytes().next() {
        Some(first) if is_part(first) && !first.is_ascii_digit() => {
            text.bytes().position(|byte| !is_part(byte)).unwrap_or(text.len())
        }
        _ => 0,
    }
}

/// An index: a few decimal digits. A zero in front would make it octal.
pub(super) fn decimal(digits: &str) -> Option<usize> {
    let is_plain = (1..=4).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    is_plain.then(|| digits.parse().ok())?
}
