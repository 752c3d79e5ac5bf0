//! The bytes of a pattern that every matching modalias must contain.

use super::glob;

/// What stands between the stars, `None` for a byte that `?` or a set leaves open; also empty runs.
pub(super) fn runs(pattern: &[u8]) -> Vec<Vec<Option<u8>>> {
    let mut runs = vec![Vec::new()];
    let mut p = 0;
    while let Some(&byte) = pattern.get(p) {
        let (one, next) = match byte {
            b'*' => {
                runs.push(Vec::new());
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
        if let Some(run) = runs.last_mut() {
            run.push(one);
        }
        p = next;
    }
    runs
}

/// The stretches of literal bytes between the wildcards, in order, without empty ones.
pub(super) fn of(pattern: &[u8]) -> Vec<Vec<u8>> {
    let runs = runs(pattern);
    let stretches = runs.iter().flat_map(|run| run.split(Option::is_none));
    let stretches = stretches.map(|stretch| stretch.iter().flatten().copied().collect());
    stretches.filter(|stretch: &Vec<u8>| !stretch.is_empty()).collect()
}
