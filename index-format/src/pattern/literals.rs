//! The bytes of a pattern that every matching modalias must contain.

use super::glob;

/// What stands between the stars, `None` for a byte that `?` or a set leaves open; also empty runs.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    bytes: Vec<Option<u8>>,
    /// Where each but the last ends in `bytes`.
    ends: Vec<usize>,
}

impl Runs {
    pub(super) fn of(pattern: &[u8]) -> Self {
        let mut runs = Self {
            bytes: Vec::with_capacity(pattern.len()),
            ends: Vec::with_capacity(16),
        };
        let mut p = 0;
        while let Some(&byte) = pattern.get(p) {
            let (one, next) = match byte {
                b'*' => {
                    runs.ends.push(runs.bytes.len());
                    p += 1;
                    continue;
                }
                b'?' => (None, p + 1),
                b'\\' => (pattern.get(p + 1).copied(), p + 2),
                b'[' => match glob::set_end(pattern, p) {
                    Some(end) => (None, end),
                    // An unclosed bracket is literal. The rest is left out all the same: the runs found so far are enough.
                    None => break,
                },
                plain => (Some(plain), p + 1),
            };
            runs.bytes.push(one);
            p = next;
        }
        runs
    }

    /// Each run; there is at least one.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[Option<u8>]> {
        let ends = self.ends.iter().copied().chain([self.bytes.len()]);
        let mut from = 0;
        ends.map(move |end| &self.bytes[std::mem::replace(&mut from, end)..end])
    }
}

/// The stretches of literal bytes between the wildcards, in order, without empty ones.
pub(super) fn of(pattern: &[u8]) -> Vec<Vec<u8>> {
    let runs = Runs::of(pattern);
    let stretches = runs.iter().flat_map(|run| run.split(Option::is_none));
    let stretches = stretches.map(|stretch| stretch.iter().flatten().copied().collect());
    stretches.filter(|stretch: &Vec<u8>| !stretch.is_empty()).collect()
}
