//! Recovery after a power cut or a kill. A run that writes into a tree begins here: it takes the lock, then finishes or undoes what an
//! interrupted run left.

use crate::event::{Event, Sink};
use crate::fsutil::remove_any;
use crate::install::journal;
use crate::tree::{Tree, TreeError, TreeLock, sweep_unfinished};

/// Waits until no other process writes into `tree`, then finishes or undoes what an interrupted run left.
///
/// An installation that was committed is finished, one that was not is undone; build directories and half-copied sources are removed.
///
/// # Errors
/// When the tree cannot be written.
pub fn lock_and_recover(tree: &Tree, sink: &dyn Sink) -> Result<TreeLock, TreeError> {
    let lock = tree.lock(sink)?;
    journal::recover(tree, &lock, sink)?;
    let work = tree.work_dir();
    if let Err(error) = remove_any(&work) {
        // Each build makes a fresh directory there: what is left does not block it.
        sink.emit(Event::Warning {
            text: format!("what is left in {} could not be removed: {error}", work.display()),
            hint: Some(format!("lsattr -d {0}; rm -r {0}", work.display())),
        });
    }
    let sources = tree.source_tree();
    if let Err(error) = sweep_unfinished(&sources) {
        // The next run tries again; nothing reads these directories.
        sink.emit(Event::Warning {
            text: format!(
                "what an interrupted run left in {} could not be removed: {error}",
                sources.display()
            ),
            hint: Some(format!("findmnt --target {}", sources.display())),
        });
    }
    Ok(lock)
}

/// Removes, at the end of a run, its working directories if they are empty; those in use are not empty.
pub(crate) fn tidy(tree: &Tree, _lock: &TreeLock) {
    for dir in [tree.work_dir(), journal::dir(tree)] {
        let _ = std::fs::remove_dir(dir);
    }
}
