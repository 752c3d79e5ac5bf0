//! The files kept between runs.

use std::fs;
use std::io;
use std::path::PathBuf;

use dkms_index::trust::{Change, Kept};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{SyncError, file_name, read_at_most};
use crate::files;

/// The largest file to store is a role of 32 MiB.
const FILE_MAX_BYTES: u64 = 33 << 20;
/// All of them together.
const TOTAL_MAX_BYTES: usize = 128 << 20;

/// Verified metadata in `trust/<repository>/`, and the ETag that the server gave to it, in the cache.
pub(super) struct Keeper {
    dir: PathBuf,
    etags: PathBuf,
}

/// The server's ETag of a file. Not trusted: at worst the file is fetched again.
#[derive(Serialize, Deserialize)]
struct Tag {
    path: String,
    etag: String,
    sha256: String,
}

impl Keeper {
    pub(super) fn new(dir: PathBuf, etags: PathBuf) -> Self {
        Self { dir, etags }
    }

    /// All stored files. Files with another name or size are skipped; the rest is verified again.
    pub(super) fn load(&self) -> Result<Kept, SyncError> {
        let mut kept = Kept::new();
        let failed = |source| SyncError::Keep {
            path: self.dir.clone(),
            source,
        };
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(kept),
            Err(e) => return Err(failed(e)),
        };
        let mut total = 0;
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if name.starts_with('.') || !entry.file_type().is_ok_and(|t| t.is_file()) {
                continue;
            }
            let Some(bytes) = read_at_most(&entry.path(), FILE_MAX_BYTES) else {
                continue;
            };
            total += bytes.len();
            if total > TOTAL_MAX_BYTES {
                return Err(failed(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    "more is kept than can be",
                )));
            }
            kept.insert(name, bytes);
        }
        Ok(kept)
    }

    /// Writes and removes files, in this order, durably.
    pub(super) fn carry_out(&self, changes: Vec<Change>) -> Result<(), SyncError> {
        for change in changes {
            let (name, bytes) = match &change {
                Change::Store { name, bytes } => (name, Some(bytes)),
                Change::Remove { name } => (name, None),
            };
            let path = self.dir.join(name);
            let done = match bytes {
                _ if file_name(name) != Some(name) || name.starts_with('.') => {
                    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file name"))
                }
                Some(bytes) => files::write_atomically(&path, bytes),
                None => files::remove(&path),
            };
            done.map_err(|source| SyncError::Keep { path, source })?;
        }
        Ok(())
    }

    /// The server's tag for the kept copy of `path`, with that copy.
    pub(super) fn tagged(&self, path: &str) -> Option<(String, Vec<u8>)> {
        let tag: Tag = serde_json::from_slice(&read_at_most(&self.etags, 4096)?).ok()?;
        let bytes = read_at_most(&self.dir.join(file_name(path)?), FILE_MAX_BYTES)?;
        (tag.path == path && tag.sha256 == hex::encode(Sha256::digest(&bytes))).then_some((tag.etag, bytes))
    }

    /// Stores the server's tag. Only `timestamp.json` may change under its name, so there is one.
    pub(super) fn tag(&self, path: &str, etag: &str, bytes: &[u8]) {
        let tag = Tag {
            path: path.to_owned(),
            etag: etag.to_owned(),
            sha256: hex::encode(Sha256::digest(bytes)),
        };
        // Without it the next poll fetches a kilobyte more.
        if let Ok(json) = serde_json::to_vec(&tag)
            && json.len() <= 4096
            && let Err(error) = files::write_atomically(&self.etags, &json)
        {
            tracing::debug!(%error, path = %self.etags.display(), "not noted");
        }
    }
}
