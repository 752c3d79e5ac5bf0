//! The parts of a pattern that a matching device must hold literally.

use super::glob;

/// The stretches of literal bytes between the wildcards, in order, without empty ones.
pub(super) fn of(pattern: &[u8]) -> Vec<Vec<u8>> {
    let mut stretches = vec![Vec::new()];
    let mut p = 0;
    while let Some(&byte) = pattern.get(p) {
        let (literal, next) = match byte {
            b'*' | b'?' => (None, p + 1),
            b'\\' => (pattern.get(p + 1).copied(), p + 2),
            b'[' => match glob::set_end(pattern, p) {
                Some(end) => (None, end),
                // An unclosed bracket is literal, but nothing has to be built on that: what was found so far is enough.
                None => break,
            },
            plain => (Some(plain), p + 1),
        };
        match (literal, stretches.last_mut()) {
            (Some(byte), Some(last)) => last.push(byte),
            _ => stretches.push(Vec::new()),
        }
        p = next;
    }
    stretches.retain(|s| !s.is_empty());
    stretches
}
