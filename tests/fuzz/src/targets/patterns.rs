//! Patterns: the same answer as libc's fnmatch, and no look-up misses a pattern that matches.

use std::sync::{LazyLock, Mutex};

use crate::bounded;
use dkms_index::keys::KeyBuilder;
use dkms_index::modalias::Modalias;
use dkms_index::pattern::Pattern;
use dkms_native::Fnmatch;

static FNMATCH: LazyLock<Mutex<Fnmatch>> = LazyLock::new(|| Mutex::new(Fnmatch::start()));
/// glibc's matcher takes exponential time for many stars; longer inputs are only tried on ours.
const COMPARED_MAX_BYTES: usize = 64;

/// Tries one input.
pub fn run(input: &[u8]) {
    let Some(at) = input.iter().position(|byte| *byte == 0) else {
        return;
    };
    let (text, device) = (&input[..at], &input[at + 1..]);
    bounded(input, || {
        let (Ok(pattern), Ok(device)) = (Pattern::parse(text), Modalias::parse(device)) else {
            return;
        };
        let matches = pattern.matches(&device);
        pattern.problems();
        pattern.vendor_id();
        if device.as_bytes().iter().chain(text).all(|byte| *byte != 0) && input.len() <= COMPARED_MAX_BYTES {
            let expected = FNMATCH.lock().expect("one thread").matches(text, device.as_bytes());
            assert_eq!(matches, expected, "{pattern} on {device}");
        }
        let mut builder = KeyBuilder::new(1);
        let key = builder.add(&pattern);
        let asked = builder.finish().keys(&device);
        assert!(
            !matches || asked.iter().any(|range| range.contains(key)),
            "{pattern} on {device}: not asked for"
        );
    });
}
