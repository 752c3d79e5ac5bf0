//! Packages as files: .deb, and tar archives in every compression.

use std::path::Path;

use crate::bounded;
use dkms_repo::ingest::{self, Limits};

/// Tries one input.
pub fn run(input: &[u8]) {
    bounded(input, || {
        drop(ingest::ingest_bytes(Path::new("x.tar"), input, Limits::default()))
    });
}
