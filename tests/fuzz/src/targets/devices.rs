//! Recorded machines: umockdev files, lists of modaliases, reports.

use crate::bounded;
use dkms_fetch::device::recorded;

/// Tries one input.
pub fn run(input: &[u8]) {
    bounded(input, || drop(recorded::parse(&String::from_utf8_lossy(input))));
}
