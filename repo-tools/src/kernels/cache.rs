//! What is unpacked already.
//!
//! ```text
//! debian-trixie-amd64.json            what it is, and which directory has it
//! debian-trixie-amd64-0123456789ab/   the system; 12 digits of a hash over its packages
//! ```
//! A directory is complete when it has its name. Whoever builds with it has a lock on the file `.in-use` in it, and is not disturbed when
//! a newer kernel takes its place.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::files::{self, FileError};
use crate::lock::Lock;

const PREFIX: &str = "debian-";
const UNFINISHED: &str = ".unpacking-";
const IN_USE: &str = ".in-use";

/// A directory of unpacked kernels.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
}

/// A package that was unpacked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) package: String,
    pub(super) version: String,
    pub(super) sha256: String,
}

/// The kernel of a suite, as it is unpacked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The release of the kernel.
    pub(super) kernel: String,
    /// The name of its directory.
    pub(super) directory: String,
    /// SHA-256 of the signed indexes by which it was current, by suite.
    pub(super) indexes: BTreeMap<String, String>,
    /// When that was, `YYYY-MM-DD`.
    pub(super) date: String,
    pub(super) packages: Vec<Part>,
}

impl Cache {
    /// The one in `dir`, which need not exist.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Waits until no other process changes it. What killed ones left is removed, and what no suite has any more.
    pub(super) fn lock(&self) -> Result<Lock, FileError> {
        files::create_dir(&self.dir)?;
        let mut lock = Lock::take(&self.dir)?;
        self.sweep();
        lock.recovered();
        Ok(lock)
    }

    fn record_path(&self, suite: &str, arch: &str) -> PathBuf {
        self.dir.join(format!("{PREFIX}{suite}-{arch}.json"))
    }

    /// What is there of a suite.
    pub(super) fn record(&self, suite: &str, arch: &str) -> Option<Record> {
        let bytes = fs::read(self.record_path(suite, arch)).ok()?;
        // One of another version of this program is as good as none.
        let record: Record = serde_json::from_slice(&bytes).ok()?;
        let is_name = record.directory.starts_with(PREFIX) && !record.directory.contains('/');
        (is_name && self.directory(&record).is_dir()).then_some(record)
    }

    /// Writes what is there of a suite.
    pub(super) fn keep(&self, suite: &str, arch: &str, record: &Record) -> Result<(), FileError> {
        let text = serde_json::json!(record).to_string();
        files::write_atomic(&self.record_path(suite, arch), text.as_bytes())
    }

    /// A new directory to unpack into.
    pub(super) fn unfinished(&self) -> Result<TempDir, FileError> {
        tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(&self.dir)
            .map_err(FileError::on("create a directory in", &self.dir))
    }

    /// Gives what was unpacked its name, when it is on the disk.
    pub(super) fn finish(&self, unfinished: TempDir, record: &Record) -> Result<(), FileError> {
        let place = self.directory(record);
        let path = unfinished.path();
        let on_disk = File::open(path).and_then(|dir| Ok(rustix::fs::syncfs(dir)?));
        on_disk.map_err(FileError::on("write", path))?;
        fs::write(path.join(IN_USE), "").map_err(FileError::on("write", path))?;
        if place.exists() {
            fs::remove_dir_all(&place).map_err(FileError::on("remove", &place))?;
        }
        fs::rename(path, &place).map_err(FileError::on("rename", path))?;
        // It has another name now, and stays.
        let _ = unfinished.keep();
        files::sync_dir(&self.dir)
    }

    /// Where the system of a record is.
    pub(super) fn directory(&self, record: &Record) -> PathBuf {
        self.dir.join(&record.directory)
    }

    /// Keeps the system of a record for as long as the file is open.
    pub(super) fn hold(&self, record: &Record) -> Result<File, FileError> {
        let path = self.directory(record).join(IN_USE);
        let file = File::open(&path).map_err(FileError::on("open", &path))?;
        file.lock_shared().map_err(FileError::on("lock", &path))?;
        Ok(file)
    }

    /// What cannot be removed is left there.
    fn sweep(&self) {
        let entries = || fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let records = entries().filter_map(|entry| {
            let bytes = fs::read(entry.path()).ok()?;
            serde_json::from_slice::<Record>(&bytes).ok()
        });
        let named: BTreeSet<String> = records.map(|record| record.directory).collect();
        for entry in entries() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let is_old = name.starts_with(PREFIX) && !named.contains(&name) && is_free(&entry.path());
            if is_dir && (name.starts_with(UNFINISHED) || is_old) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// Whether no process builds with a system.
fn is_free(directory: &Path) -> bool {
    File::open(directory.join(IN_USE)).is_ok_and(|file| file.try_lock().is_ok())
}

/// The name of a directory with these packages.
pub(super) fn directory_name(suite: &str, arch: &str, packages: &[Part]) -> String {
    let mut hash = Sha256::new();
    for part in packages {
        hash.update(part.sha256.as_bytes());
    }
    let digits = hex::encode(hash.finalize());
    format!("{PREFIX}{suite}-{arch}-{}", &digits[..12])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_stays_and_what_is_replaced_goes() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().join("kernels"));
        let put = |name: &str| {
            let _lock = cache.lock().unwrap();
            let unfinished = cache.unfinished().unwrap();
            fs::create_dir(unfinished.path().join("usr")).unwrap();
            let record = Record {
                kernel: "6.1".to_owned(),
                directory: format!("debian-x-amd64-{name}"),
                indexes: BTreeMap::new(),
                date: "2026-01-01".to_owned(),
                packages: Vec::new(),
            };
            cache.finish(unfinished, &record).unwrap();
            cache.keep("x", "amd64", &record).unwrap();
            record
        };
        let old = put("1");
        let held = cache.hold(&old).unwrap();
        fs::create_dir(dir.path().join("kernels/.unpacking-killed")).unwrap();
        fs::create_dir(dir.path().join("kernels/other")).unwrap();
        let new = put("2");
        assert_eq!(cache.record("x", "amd64"), Some(new.clone()));
        drop(cache.lock().unwrap());
        assert!(cache.directory(&old).join("usr").is_dir(), "somebody builds with it");
        assert!(!dir.path().join("kernels/.unpacking-killed").exists());
        drop(held);
        drop(cache.lock().unwrap());
        assert!(!cache.directory(&old).exists());
        assert!(cache.directory(&new).exists() && dir.path().join("kernels/other").exists());
        fs::remove_dir_all(cache.directory(&new)).unwrap();
        assert_eq!(cache.record("x", "amd64"), None);
    }
}
