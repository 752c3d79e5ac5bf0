//! Archives of any kind: tar, compressed or not, and zip.

use std::path::Path;

use super::error::Problem;
use super::tree::{Limits, RawTree};
use super::{archive, zip};

/// Whether this is a tar or zip archive by its magic, or says by its name that it is a tar archive.
pub(super) fn is_archive(name: &Path, bytes: &[u8]) -> bool {
    let magics = [&b"\x1f\x8b"[..], b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"BZh"];
    magics.iter().any(|magic| bytes.starts_with(magic))
        || zip::is_zip(bytes)
        || bytes.get(257..262) == Some(b"ustar")
        || name.extension().is_some_and(|extension| extension == "tar")
}

/// Reads an archive from outside.
///
/// # Errors
/// The first entry that is refused; nothing of the archive is kept then.
pub(super) fn read(bytes: &[u8], limits: Limits) -> Result<RawTree, Problem> {
    let limits = limits.of_archive(bytes.len());
    if zip::is_zip(bytes) {
        zip::read(bytes, limits)
    } else {
        archive::read(bytes, limits)
    }
}
