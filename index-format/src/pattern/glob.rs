//! `fnmatch(pattern, text, 0)` of glibc in the C locale, over bytes.
//!
//! `*` matches any bytes, also `/` and `:`; `?` one byte; `[…]` one byte of a set, `[!…]` and `[^…]` one outside it; `\`
//! makes the next byte literal. Both ends are anchored. Checked against libc itself by a property test.

/// Whether `text` as a whole matches `pattern`.
///
/// Only the last `*` is ever tried again, which is enough for these patterns: the time is at most the product of the
/// two lengths.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on after the last star: the pattern behind it, and the next byte of text for the star to match.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            if p == pattern.len() {
                return true;
            }
            retry = Some((p, t));
        } else if t == text.len() {
            // A star that matches more leaves even less text for the rest of the pattern.
            return p == pattern.len();
        } else if let Some(next) = step(pattern, p, text[t]) {
            (p, t) = (next, t + 1);
            continue;
        }
        let Some(start) = retry.and_then(|(p, from)| Some((p, next_start(pattern, p, text, from)?))) else {
            return false;
        };
        (p, t) = start;
        retry = Some((p, t + 1));
    }
}

/// The first place of `text` at or behind `from` where what stands at `p` may match: a cheap look ahead, as far as it is
/// literal. `None` when there is none.
fn next_start(pattern: &[u8], p: usize, text: &[u8], from: usize) -> Option<usize> {
    let rest = pattern.get(p..)?;
    let end = rest.iter().position(|b| b"*?[\\".contains(b));
    let plain = &rest[..end.unwrap_or(rest.len())];
    let (Some(first), Some(last)) = (plain.first(), plain.last()) else {
        return Some(from);
    };
    let found = |there: &[u8]| there.first() == Some(first) && there.last() == Some(last) && there == plain;
    let at = text.get(from..)?.windows(plain.len()).position(found)?;
    Some(from + at)
}

/// Matches one byte against the element of the pattern at `p`, which is not a star. Gives the next element.
fn step(pattern: &[u8], p: usize, byte: u8) -> Option<usize> {
    let literal = |at: usize| (pattern.get(at) == Some(&byte)).then_some(at + 1);
    match *pattern.get(p)? {
        b'?' => Some(p + 1),
        b'\\' => literal(p + 1),
        b'[' => match set(pattern, p + 1, byte) {
            Set::Matches(next) => Some(next),
            Set::Differs => None,
            Set::Unclosed => literal(p),
        },
        _ => literal(p),
    }
}

/// The result of matching one byte against the set that a `[` opens.
enum Set {
    /// The byte is in the set, which ends before this place.
    Matches(usize),
    /// The byte is not in the set.
    Differs,
    /// There is no `]`: the `[` stands for itself.
    Unclosed,
}

/// Matches one byte against the set whose first byte is at `p`.
fn set(pattern: &[u8], mut p: usize, byte: u8) -> Set {
    let negated = matches!(pattern.get(p), Some(b'!' | b'^'));
    if negated {
        p += 1;
    }
    let mut found = false;
    let first = p;
    loop {
        let Some(&c) = pattern.get(p) else { return Set::Unclosed };
        // A `]` in the first place is a member.
        if c == b']' && p > first {
            return if found == negated {
                Set::Differs
            } else {
                Set::Matches(p + 1)
            };
        }
        let (low, next) = member(pattern, p);
        p = next;
        let mut high = low;
        // A `-` before the closing bracket is a member, not a range.
        if pattern.get(p) == Some(&b'-') && pattern.get(p + 1).is_some_and(|&c| c != b']') {
            (high, p) = member(pattern, p + 1);
        } else if !found && low != byte && pattern.get(p) == Some(&b'-') && p + 1 == pattern.len() {
            // glibc gives up at a range without an end, unless the byte was found before it.
            return Set::Differs;
        }
        found |= (low..=high).contains(&byte);
    }
}

/// The member of a set at `p` without its escape, and the place after it.
fn member(pattern: &[u8], p: usize) -> (u8, usize) {
    match (pattern[p], pattern.get(p + 1)) {
        (b'\\', Some(&escaped)) => (escaped, p + 2),
        (plain, _) => (plain, p + 1),
    }
}

/// The place after the set that opens at `p`; `None` when it is not closed.
pub(super) fn set_end(pattern: &[u8], p: usize) -> Option<usize> {
    let start = p + 1 + usize::from(matches!(pattern.get(p + 1), Some(b'!' | b'^')));
    // One member first: a `]` there does not close.
    pattern.get(start)?;
    let mut at = member(pattern, start).1;
    while *pattern.get(at)? != b']' {
        at = member(pattern, at).1;
    }
    Some(at + 1)
}
