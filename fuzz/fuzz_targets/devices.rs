//! Recorded machines: umockdev files, lists of modaliases, reports.
#![no_main]

use dkms_fetch::device::recorded;
use dkms_fuzz::bounded;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    bounded(input, || drop(recorded::parse(&String::from_utf8_lossy(input))));
});
