//! One writer per tree.

use std::fs::{self, File};
use std::io;

use rustix::fs::{FlockOperation, flock};

use super::add::sweep_unfinished;
use super::{Tree, TreeError};
use crate::event::{Event, Sink};
use crate::fsutil::remove_any;
use crate::kbuild::Once;

/// The right to write into one tree. Readers need none and never wait.
#[derive(Debug)]
pub struct TreeLock {
    _file: File,
    once: Once,
}

impl TreeLock {
    /// What the run that holds it has found out and told.
    pub(crate) fn once(&self) -> &Once {
        &self.once
    }
}

impl Tree {
    /// Waits until no one else writes into this tree, then finishes what an interrupted writer left behind.
    ///
    /// The tree is made if it is not there. The lock ends with the value, or with the process.
    ///
    /// # Errors
    /// When the tree cannot be written.
    pub fn lock(&self, sink: &dyn Sink) -> Result<TreeLock, TreeError> {
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
        let lock = TreeLock {
            _file: file,
            once: Once::default(),
        };
        crate::install::journal::recover(self, &lock, sink)?;
        let work = self.work_dir();
        remove_any(&work).map_err(TreeError::io("remove", &work))?;
        let sources = self.source_tree();
        if let Err(error) = sweep_unfinished(&sources) {
            // It is in nobody's way.
            sink.emit(Event::Warning {
                text: format!(
                    "what a killed run left in {} could not be removed: {error}",
                    sources.display()
                ),
                hint: Some(format!("findmnt --target {}", sources.display())),
            });
        }
        Ok(lock)
    }

    /// Where builds happen; what is in it when the lock is free is left over.
    pub(crate) fn work_dir(&self) -> std::path::PathBuf {
        self.path().join(".work")
    }
}
