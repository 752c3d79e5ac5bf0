//! TUF metadata: the root that is pinned, and what a mirror answers after it. A zero byte separates answers.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dkms_fuzz_targets::trust(input));
