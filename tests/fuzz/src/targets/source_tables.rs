//! Device tables in C sources.

use std::sync::LazyLock;

use crate::bounded;
use dkms_repo::ingest::SourceTree;
use dkms_repo::scan::source::{self, Constants};

static CONSTANTS: LazyLock<Constants> = LazyLock::new(Constants::builtin);

/// Tries one input.
pub fn run(input: &[u8]) {
    let constants = &*CONSTANTS;
    bounded(input, || {
        // A NUL ends the first file: tables and macros may be in different ones.
        let mut parts = input.splitn(2, |byte| *byte == 0);
        let text = |part: Option<&[u8]>| String::from_utf8_lossy(part.unwrap_or_default()).into_owned();
        let (driver, header) = (text(parts.next()), text(parts.next()));
        let files = [("driver.c", driver.as_str()), ("driver.h", header.as_str())];
        if let Ok(tree) = SourceTree::from_files(files) {
            source::scan(&tree, constants);
        }
    });
}
