//! A directory of this machine.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use walkdir::WalkDir;

use super::{StoreError, Written};
use crate::files::{self, FileError};

/// The directory, and the lock of whoever writes into it.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    lock: Option<File>,
}

impl Directory {
    pub(super) fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            lock: None,
        }
    }

    /// Makes the directory, waits until no other process writes into it, and removes what a killed one left.
    pub(super) fn lock(&mut self) -> Result<(), StoreError> {
        files::create_dir(&self.path)?;
        let file = File::open(&self.path).map_err(FileError::on("open", &self.path))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            anstream::eprintln!("waiting for another process that writes into {}", self.path.display());
            flock(&file, FlockOperation::LockExclusive)
                .map_err(io::Error::from)
                .map_err(FileError::on("lock", &self.path))?;
        }
        self.lock = Some(file);
        files::sweep(&self.path)?;
        Ok(())
    }

    /// Names come from signed documents of others, too: nothing outside of the directory is ever named.
    fn path(&self, path: &str) -> Result<PathBuf, StoreError> {
        let is_plain = !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if is_plain {
            Ok(self.path.join(path))
        } else {
            Err(StoreError::Name(path.to_owned()))
        }
    }

    pub(super) fn read(&self, path: &str, most_bytes: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(path)?;
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FileError::on("read", &path)(error).into()),
        };
        let mut bytes = Vec::new();
        file.take(most_bytes.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(FileError::on("read", &path))?;
        if bytes.len() as u64 > most_bytes {
            return Err(StoreError::TooLarge {
                address: path.display().to_string(),
                most_bytes,
            });
        }
        Ok(Some(bytes))
    }

    pub(super) fn list(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let mut found = BTreeMap::new();
        for entry in WalkDir::new(&self.path).min_depth(1) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) if error.io_error().is_some_and(|e| e.kind() == io::ErrorKind::NotFound) => continue,
                Err(error) => {
                    let path = error.path().unwrap_or(&self.path).to_owned();
                    return Err(FileError::on("list", &path)(error.into()).into());
                }
            };
            let path = entry.path().strip_prefix(&self.path).unwrap_or(entry.path());
            if let Some(path) = path.to_str().filter(|_| entry.file_type().is_file()) {
                found.insert(path.to_owned(), entry.metadata().map_or(0, |meta| meta.len()));
            }
        }
        Ok(found)
    }

    pub(super) fn length(&self, path: &str) -> Result<Option<u64>, StoreError> {
        let path = self.path(path)?;
        match fs::metadata(&path) {
            Ok(meta) => Ok(Some(meta.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FileError::on("read", &path)(error).into()),
        }
    }

    /// Not flushed: one flush for all follows, before anything names it.
    pub(super) fn write(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(path)?;
        let dir = path.parent().unwrap_or(&self.path);
        files::create_dir(dir)?;
        let temporary = files::temporary_in(dir, 0o644)?;
        fs::write(temporary.path(), bytes).map_err(FileError::on("write", &path))?;
        Ok(files::rename(temporary, &path)?)
    }

    /// The lock is held, so nobody writes between the look and the rename.
    pub(super) fn replace(&self, path: &str, bytes: &[u8], before: Option<&[u8]>) -> Result<Written, StoreError> {
        let path = self.path(path)?;
        if files::read_if_exists(&path)?.as_deref() != before {
            return Ok(Written::Refused);
        }
        files::write_atomic(&path, bytes)?;
        Ok(Written::Done)
    }

    pub(super) fn remove(&self, path: &str) -> Result<(), StoreError> {
        Ok(files::remove(&self.path(path)?)?)
    }

    pub(super) fn flush(&self) -> Result<(), StoreError> {
        let flushed = File::open(&self.path).and_then(|dir| rustix::fs::syncfs(&dir).map_err(io::Error::from));
        Ok(flushed.map_err(FileError::on("flush", &self.path))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_only_if_it_is_what_was_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Directory::at(&dir.path().join("new"));
        store.lock().unwrap();
        assert_eq!(store.replace("t", b"1", Some(b"0")).unwrap(), Written::Refused);
        assert_eq!(store.replace("t", b"1", None).unwrap(), Written::Done);
        assert_eq!(store.replace("t", b"2", None).unwrap(), Written::Refused);
        assert_eq!(store.replace("t", b"2", Some(b"1")).unwrap(), Written::Done);
        assert_eq!(store.read("t", 1).unwrap(), Some(b"2".to_vec()));
        assert!(matches!(store.read("t", 0), Err(StoreError::TooLarge { .. })));
        for name in ["../t", "a//b", "", "/etc/passwd", "a/.."] {
            assert!(matches!(store.write(name, b"x"), Err(StoreError::Name(_))), "{name}");
        }
    }
}
