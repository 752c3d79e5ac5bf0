//! Built kernel modules.

use crate::bounded;
use dkms_engine::ko::ModuleInfo;

/// Tries one input.
pub fn run(input: &[u8]) {
    bounded(input, || drop(ModuleInfo::parse(input)));
}
