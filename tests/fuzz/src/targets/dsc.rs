//! The .dsc of a Debian source package, without the files that it names.

use std::fs;
use std::sync::LazyLock;

use dkms_repo::ingest::{self, Limits};
use tempfile::TempDir;

use crate::bounded;

static PLACE: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().expect("a temporary directory"));

/// Tries one input.
pub fn run(input: &[u8]) {
    let file = PLACE.path().join("x.dsc");
    fs::write(&file, input).expect("a file");
    bounded(input, || drop(ingest::ingest(&file, Limits::default())));
}
