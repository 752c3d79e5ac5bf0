//! A dkms.conf, by the parser of plain ones.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dkms_fuzz_targets::conf_plain(input));
