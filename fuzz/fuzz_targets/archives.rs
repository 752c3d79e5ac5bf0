//! Packages as files: .deb, and tar archives in every compression.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dkms_fuzz_targets::archives(input));
