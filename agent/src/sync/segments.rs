//! The decoded segments of the index, kept for deltas. A cache: what is damaged or gone is downloaded again.

use std::fs;
use std::io;
use std::path::PathBuf;

use dkms_index::trust::limits::SEGMENT_MAX_BYTES;

use super::read_at_most;
use crate::files;

/// Quicker than level 1, which took a fifth of the processor's time of a small update.
const LEVEL: i32 = -4;

/// `segments/<repository>/<sha256 of the decoded lines>.zst`
pub(super) struct SegmentCache(PathBuf);

impl SegmentCache {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self(dir)
    }

    /// The hashes of what is there, as the file names say; the content is verified when it is used.
    pub(super) fn held(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".zst").map(str::to_owned))
            .filter(|name| name.len() == 64)
            .collect()
    }

    /// The decoded lines; empty when they cannot be read, which then fails verification.
    pub(super) fn read(&self, decoded_sha256: &str) -> Vec<u8> {
        let decode = || {
            let bytes = read_at_most(&self.path(decoded_sha256), SEGMENT_MAX_BYTES)?;
            // In the header of what was compressed in one piece. Memory is taken once, and not as the lines come.
            let length = zstd::zstd_safe::get_frame_content_size(&bytes).ok()??;
            let length = usize::try_from(length.min(SEGMENT_MAX_BYTES)).ok()?;
            zstd::bulk::decompress(&bytes, length).ok()
        };
        decode().unwrap_or_default()
    }

    /// Keeps verified lines.
    pub(super) fn keep(&self, decoded_sha256: &str, decoded: &[u8]) -> Result<(), (PathBuf, io::Error)> {
        let path = self.path(decoded_sha256);
        if path.exists() && self.read(decoded_sha256) == decoded {
            return Ok(());
        }
        zstd::bulk::compress(decoded, LEVEL)
            .and_then(|bytes| files::write_atomically(&path, &bytes))
            .map_err(|source| (path, source))
    }

    /// Removes the segments of older indexes.
    pub(super) fn forget_all_but(&self, names: &[String]) {
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if !names
                .iter()
                .any(|kept| name.to_str().and_then(|n| n.strip_suffix(".zst")) == Some(kept))
            {
                // A file that stays needs only space, and the next update tries again.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn path(&self, decoded_sha256: &str) -> PathBuf {
        self.0.join(format!("{decoded_sha256}.zst"))
    }
}
