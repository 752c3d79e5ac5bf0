//! Built kernel modules.
#![no_main]

use dkms_engine::ko::ModuleInfo;
use dkms_fuzz::bounded;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    bounded(input, || drop(ModuleInfo::parse(input)));
});
