//! The pieces that alias patterns of several buses are spelled with.

/// `<tag><value>` with `digits` hexadecimal digits, or `<tag>*` for any value.
pub(super) fn field(pattern: &mut String, tag: &str, value: Option<u64>, digits: usize) {
    pattern.push_str(tag);
    match value {
        Some(value) => pattern.push_str(&format!("{value:0digits$X}")),
        None => pattern.push('*'),
    }
}

/// Ends the pattern with exactly one `*`.
pub(super) fn end_open(pattern: &mut String) {
    if !pattern.ends_with('*') {
        pattern.push('*');
    }
}
