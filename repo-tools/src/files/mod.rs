//! Durable writes: a reader sees the old file or the new one, also after a power cut.
//!
//! Every step that others can see, or that a killed process leaves behind, is made here, and tests watch it (`watch`).

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

mod directory;
mod stamp;
#[cfg(test)]
pub(crate) mod watch;

pub use directory::Directory;
pub use stamp::{FileTime, Stamp};

/// The prefix of temporary files. While no process holds the lock, files with this prefix are left over.
pub(crate) const TEMPORARY: &str = ".new-";

/// A file operation that failed, with the path it was about.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}: {source}", path.display())]
pub struct FileError {
    /// What was being done: `read`, `write`, …
    pub what: &'static str,
    /// The path.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
}

impl FileError {
    /// Makes the closure for `map_err`.
    pub fn on<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> FileError + 'a {
        move |source| FileError {
            what,
            path: path.to_owned(),
            source,
        }
    }

    /// Suggested fix, where the kind of failure has one.
    pub fn hint(&self) -> Option<String> {
        match self.source.kind() {
            io::ErrorKind::PermissionDenied => Some(format!(
                "run as the owner of {}, or `chown` it to yourself",
                self.path.display()
            )),
            io::ErrorKind::StorageFull => Some("free some space and run the same command again".to_owned()),
            io::ErrorKind::ReadOnlyFilesystem => Some("the repository is on a read-only file system".to_owned()),
            _ => None,
        }
    }
}

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(FileError::on("read", path))
}

/// Reads a whole file; a missing one is `None`.
pub fn read_if_exists(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(FileError::on("read", path)(e)),
    }
}

/// Makes a directory and its parents.
pub fn create_dir(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(FileError::on("create directory", path))
}

/// Replaces `path` in one step with a file of mode 0644, making its directory first.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_atomic_mode(path, bytes, 0o644)
}

/// As [`write_atomic`], with the permissions the file has from its first moment on.
pub fn write_atomic_mode(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    create_dir(dir)?;
    let mut temporary = temporary_in(dir, mode)?;
    temporary.write_all(bytes).map_err(FileError::on("write", path))?;
    persist(temporary, path)
}

/// A temporary file that already has the permissions of what it will become. Nobody else can ever read a private one.
pub fn temporary_in(dir: &Path, mode: u32) -> Result<NamedTempFile, FileError> {
    dkms_support::temporary_in(dir, TEMPORARY, mode).map_err(FileError::on("create a file in", dir))
}

/// Length and SHA-256 (hex) of a file, without holding it in memory.
pub fn hash(path: &Path) -> Result<(u64, String), FileError> {
    let mut file = File::open(path).map_err(FileError::on("read", path))?;
    let mut digest = Sha256::new();
    let mut length = 0;
    let mut buffer = vec![0; 128 << 10];
    loop {
        let n = file.read(&mut buffer).map_err(FileError::on("read", path))?;
        if n == 0 {
            return Ok((length, hex::encode(digest.finalize())));
        }
        digest.update(&buffer[..n]);
        length += n as u64;
    }
}

/// Gives a finished temporary file its name: flushed before the rename, the directory after it.
pub fn persist(temporary: NamedTempFile, path: &Path) -> Result<(), FileError> {
    temporary.as_file().sync_all().map_err(FileError::on("flush", path))?;
    rename(temporary, path)?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Gives a temporary file its name without flushing anything: for many files that one flush follows.
pub fn rename(temporary: NamedTempFile, path: &Path) -> Result<(), FileError> {
    moment(path);
    temporary
        .persist(path)
        .map_err(|e| FileError::on("write", path)(e.error))?;
    moment(path);
    Ok(())
}

/// Gives an existing file a second name, or false where the file system cannot do that. A file that is there already is
/// replaced in one step.
pub fn link(source: &Path, path: &Path) -> bool {
    moment(path);
    let linked = match fs::hard_link(source, path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            let beside = path.with_file_name(format!("{TEMPORARY}{}", std::process::id()));
            let replaced = fs::hard_link(source, &beside).and_then(|()| fs::rename(&beside, path));
            replaced.inspect_err(|_| drop(fs::remove_file(&beside))).is_ok()
        }
        linked => linked.is_ok(),
    };
    moment(path);
    linked
}

/// Removes a file; one that is gone already is as good.
pub fn remove(path: &Path) -> Result<(), FileError> {
    moment(path);
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(FileError::on("remove", path)(e)),
        _ => {
            moment(path);
            Ok(())
        }
    }
}

/// Makes the directory `dir` with these files in it, by path below it: readers see all of it or nothing.
pub fn create_whole_dir(dir: &Path, files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<(), FileError> {
    let parent = dir.parent().unwrap_or(Path::new("."));
    let beside = parent.join(format!("{TEMPORARY}{}", std::process::id()));
    create_dir(&beside)?;
    for (name, bytes) in files {
        write_atomic(&beside.join(name), &bytes)?;
    }
    moment(dir);
    fs::rename(&beside, dir).map_err(FileError::on("create directory", dir))?;
    moment(dir);
    sync_dir(parent)
}

/// Removes a directory and all in it: readers see it whole or not at all. `beside` is a directory of the same file system.
pub fn remove_dir(dir: &Path, beside: &Path) -> Result<(), FileError> {
    let aside = beside.join(format!("{TEMPORARY}{}", std::process::id()));
    moment(dir);
    fs::rename(dir, &aside).map_err(FileError::on("remove", dir))?;
    moment(dir);
    fs::remove_dir_all(&aside).map_err(FileError::on("remove", &aside))?;
    sync_dir(dir.parent().unwrap_or(beside))
}

/// Removes the temporary files and directories below `dir` that a killed writer left. The caller holds the lock, so nobody writes.
pub fn sweep(dir: &Path) -> Result<usize, FileError> {
    let mut swept = 0;
    for entry in walkdir::WalkDir::new(dir) {
        // This program writes into no directory that cannot be listed.
        let Ok(entry) = entry else { continue };
        if !entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            continue;
        }
        if entry.file_type().is_dir() {
            fs::remove_dir_all(entry.path()).map_err(FileError::on("remove", entry.path()))?;
            swept += 1;
        } else if entry.file_type().is_file() {
            remove(entry.path())?;
            swept += 1;
        }
    }
    Ok(swept)
}

/// Called just before and just after a step on `path` that a reader can see.
fn moment(path: &Path) {
    #[cfg(test)]
    watch::notify(path);
    #[cfg(not(test))]
    let _ = path;
}

/// Makes earlier renames and links in `dir` survive a power cut.
pub fn sync_dir(dir: &Path) -> Result<(), FileError> {
    dkms_support::sync_dir(dir).map_err(FileError::on("flush directory", dir))
}
