//! Only one run at a time changes a machine. A second one fails at once instead of waiting.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use dkms_engine::lock_file;
use dkms_engine::root::Root;
use rustix::fs::{FlockOperation, flock};

use crate::files;

/// The lock on what is below a root. It is released with the value, or with the process.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

/// Why a run may not begin.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run has the lock.
    #[error("another dkms-fetch is running and holds the lock {}", path.display())]
    Busy {
        /// The lock.
        path: PathBuf,
    },
    /// The lock file cannot be created.
    #[error("the lock {} cannot be taken: {source}", path.display())]
    Io {
        /// The lock.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
}

impl LockError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Busy { path } => Some(format!(
                "wait for it to end; `fuser -v {}` names its process",
                path.display()
            )),
            Self::Io { path, source } => files::hint(path, source),
        }
    }
}

impl RunLock {
    /// Takes the lock of `root`.
    ///
    /// # Errors
    /// When another run has it, or it cannot be made.
    pub fn take(root: &Root) -> Result<Self, LockError> {
        let path = root.join("/var/lib/dkms-fetch/lock");
        let failed = |source| LockError::Io {
            path: path.clone(),
            source,
        };
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(failed)?;
        }
        let file = lock_file::open(&path).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::Busy { path }),
            Err(error) => Err(failed(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_fails_with_a_hint() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::at(dir.path());
        let first = RunLock::take(&root).unwrap();
        let second = RunLock::take(&root).unwrap_err();
        assert!(matches!(second, LockError::Busy { .. }));
        assert!(second.hint().is_some_and(|hint| hint.contains("fuser")));
        drop(first);
        RunLock::take(&root).unwrap();
    }
}
