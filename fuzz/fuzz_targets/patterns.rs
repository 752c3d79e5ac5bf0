//! Patterns: the same answer as libc's fnmatch, and no look-up misses a pattern that matches.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dkms_fuzz_targets::patterns(input));
