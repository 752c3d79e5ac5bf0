//! The .dsc of a Debian source package, without the files that it names.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dkms_fuzz_targets::dsc(input));
