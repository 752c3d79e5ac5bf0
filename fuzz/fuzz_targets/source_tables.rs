//! Device tables in C sources.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dkms_fuzz_targets::source_tables(input));
