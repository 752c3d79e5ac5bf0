//! One writer per tree.

use std::fs::{self, File};
use std::io;

use rustix::fs::{FlockOperation, flock};

use super::{Tree, TreeError};
use crate::event::{Event, Sink};

/// The right to write into one tree. Readers need none and never wait.
#[derive(Debug)]
pub struct TreeLock {
    _file: File,
}

impl Tree {
    /// Waits until no other process writes into this tree. A run begins with [`crate::recovery::lock_and_recover`].
    ///
    /// The tree is made if it is not there. The lock ends with the value, or with the process.
    ///
    /// # Errors
    /// When the tree cannot be written.
    pub(crate) fn lock(&self, sink: &dyn Sink) -> Result<TreeLock, TreeError> {
        fs::create_dir_all(self.path()).map_err(TreeError::io("create", self.path()))?;
        let path = self.path().join(".lock");
        let fail = |what| TreeError::io(what, &path);
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(fail("open"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                sink.emit(Event::Note(format!(
                    "waiting for another dkms on {}",
                    self.path().display()
                )));
                flock(&file, FlockOperation::LockExclusive)
                    .map_err(io::Error::from)
                    .map_err(fail("lock"))?;
            }
            Err(error) => return Err(fail("lock")(error.into())),
        }
        Ok(TreeLock { _file: file })
    }

    /// Where builds happen; what is in it when the lock is free is left over.
    pub(crate) fn work_dir(&self) -> std::path::PathBuf {
        self.path().join(".work")
    }
}
