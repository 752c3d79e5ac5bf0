//! What the evaluation of a dkms.conf printed.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dkms_fuzz_targets::conf_output(input));
