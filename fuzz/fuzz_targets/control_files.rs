//! The control file and the copyright file of a Debian package, both with the input as their text.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dkms_fuzz_targets::control_files(input));
