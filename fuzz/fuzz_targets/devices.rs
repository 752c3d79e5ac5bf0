//! Recorded machines: umockdev files, lists of modaliases, reports.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dkms_fuzz_targets::devices(input));
