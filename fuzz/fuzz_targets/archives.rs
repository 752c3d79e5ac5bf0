//! Packages as files: .deb, and tar archives in every compression.
#![no_main]

use std::path::Path;

use dkms_fuzz::bounded;
use dkms_repo::ingest::{self, Limits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    bounded(input, || {
        drop(ingest::ingest_bytes(Path::new("x.tar"), input, Limits::default()))
    });
});
