//! Documents of the index: records, manifests, revocations, segments, deltas, filters.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dkms_fuzz_targets::index(input));
