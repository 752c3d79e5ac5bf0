//! The root that packages are built in: empty, of this process alone, and gone when it ends.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use dkms_engine::sandbox::take;

use crate::files::{self, FileError};

const PREFIX: &str = "dkms-repo-scan-";
/// A file in the directory, locked for as long as the process lives that made it.
const ALIVE: &str = ".alive";

/// A directory for trial builds. Dropping it removes it; the next one removes those of processes that were killed.
#[derive(Debug)]
pub(super) struct Scratch {
    directory: tempfile::TempDir,
    _alive: File,
}

impl Scratch {
    /// Makes one in the system's directory for temporary files.
    ///
    /// # Errors
    /// The operating system's answer.
    pub(super) fn new() -> Result<Self, FileError> {
        let parent = std::env::temp_dir();
        sweep(&parent);
        let scratch = Self::below(&parent)?;
        for part in ["usr/src", "var/lib/dkms", "lib/modules", "tmp"] {
            files::create_dir(&scratch.path().join(part))?;
        }
        Ok(scratch)
    }

    fn below(parent: &Path) -> Result<Self, FileError> {
        let directory = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(parent)
            .map_err(FileError::on("create a directory in", parent))?;
        // It is locked before it has its name, so that no other process finds it unlocked while this process lives.
        let alive =
            tempfile::NamedTempFile::new_in(directory.path()).map_err(FileError::on("write", directory.path()))?;
        alive.as_file().lock().map_err(FileError::on("lock", alive.path()))?;
        let path = directory.path().join(ALIVE);
        let alive = alive
            .persist(&path)
            .map_err(|e| FileError::on("write", &path)(e.error))?;
        Ok(Self {
            directory,
            _alive: alive,
        })
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Removes what killed processes left in `parent`. What cannot be removed is left there.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) && is_left_over(&entry.path()).unwrap_or(false) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether this user made the directory for trial builds, and the process that did is gone. Any user can make names in a
/// directory for temporary files, so the lock and the owner are checked.
fn is_left_over(directory: &Path) -> io::Result<bool> {
    let found = fs::symlink_metadata(directory)?;
    if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
        return Ok(false);
    }
    let alive = take::open(take::open_dir(directory)?, Path::new(ALIVE))?;
    Ok(alive.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_a_killed_process_left_goes_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let name = |name: &str| parent.path().join(format!("{PREFIX}{name}"));
        let living = Scratch::below(parent.path()).unwrap();
        // A killed process has let go of its lock.
        fs::create_dir_all(name("killed").join("usr/src")).unwrap();
        fs::write(name("killed").join(ALIVE), "").unwrap();
        // These were not made by a process of this program.
        fs::create_dir(name("unmarked")).unwrap();
        fs::write(name("file"), "").unwrap();
        let other = parent.path().join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join(ALIVE), "").unwrap();
        symlink(&other, name("link")).unwrap();
        sweep(parent.path());
        assert!(!name("killed").exists());
        for kept in [
            living.path(),
            &name("unmarked"),
            &name("file"),
            &name("link"),
            &other.join(ALIVE),
        ] {
            assert!(kept.symlink_metadata().is_ok(), "{}", kept.display());
        }
        let path = living.path().to_owned();
        drop(living);
        assert!(!path.exists());
    }
}
