//! The agent's config.toml, and a file of repos.d.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dkms_fuzz_targets::config(input));
