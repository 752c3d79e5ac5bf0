//! The journal of a transaction: written before anything changes, so that an interrupted one can be finished or undone.
//!
//! `.journal/staging.json` lists temporary files. If only this file is found, they are removed: nothing has changed yet. Renaming it to
//! `.journal/commit.json` commits the transaction: from then on the changes are carried out, by this process or by the next one that
//! locks the tree. Every change is idempotent.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::event::{Event, Sink};
use crate::fsutil::{remove_any, remove_empty_dirs, sync_dir};
use crate::tree::{Tree, TreeError, TreeLock};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub(crate) enum Change {
    /// Renames a staged file or link to its final path.
    Put {
        /// The staged file.
        staged: PathBuf,
        /// Its final path.
        to: PathBuf,
    },
    /// Removes a file, link or directory.
    Remove {
        /// Its path.
        path: PathBuf,
    },
    /// Removes a directory and its parents below `top`, as far as they are empty.
    Prune {
        /// The directory.
        dir: PathBuf,
        /// The directory that stays.
        top: PathBuf,
    },
}

/// A whole transaction on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Journal {
    /// The changes, in order.
    pub(crate) changes: Vec<Change>,
    /// The kernels that need a depmod after it.
    pub(crate) depmod: Vec<String>,
}

pub(crate) fn dir(tree: &Tree) -> PathBuf {
    tree.path().join(".journal")
}

/// The mark that kernel `release` needs a depmod.
pub(crate) fn depmod_mark(tree: &Tree, release: &str) -> PathBuf {
    dir(tree).join(format!("depmod-{release}"))
}

/// The kernels that were changed by this run or an interrupted one and have had no depmod since.
pub(crate) fn pending_depmods(tree: &Tree) -> Vec<String> {
    fs::read_dir(dir(tree))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| name.strip_prefix("depmod-").map(str::to_owned))
        .filter(|release| crate::kernel::is_release(release))
        .collect()
}

impl Journal {
    /// Carries the changes out. Each may have been done before. `done` is called after each one.
    pub(crate) fn apply(&self, tree: &Tree, done: &mut dyn FnMut()) -> io::Result<()> {
        for release in &self.depmod {
            fs::write(depmod_mark(tree, release), b"")?;
            done();
        }
        let mut touched: Vec<&Path> = Vec::new();
        for change in &self.changes {
            match change {
                Change::Put { staged, to } => {
                    if fs::symlink_metadata(staged).is_ok() {
                        fs::rename(staged, to)?;
                    }
                    touched.extend(to.parent());
                }
                Change::Remove { path } => {
                    remove_any(path)?;
                    touched.extend(path.parent());
                }
                Change::Prune { dir, top } => remove_empty_dirs(dir, top),
            }
            done();
        }
        touched.sort();
        touched.dedup();
        for dir in touched {
            if dir.is_dir() {
                sync_dir(dir)?;
            }
        }
        done();
        Ok(())
    }

    /// Removes the temporary files of a transaction that was not committed.
    pub(crate) fn undo(&self) -> io::Result<()> {
        for change in &self.changes {
            if let Change::Put { staged, .. } = change {
                remove_any(staged)?;
            }
        }
        Ok(())
    }
}

/// Finishes or undoes what an interrupted transaction left.
pub(crate) fn recover(tree: &Tree, _lock: &TreeLock, sink: &dyn Sink) -> Result<(), TreeError> {
    let dir = dir(tree);
    let (staging, commit) = (dir.join("staging.json"), dir.join("commit.json"));
    if let Some(journal) = read(&commit).map_err(TreeError::io("read", &commit))? {
        sink.emit(Event::Note("finishing an installation that was interrupted".into()));
        journal
            .apply(tree, &mut || ())
            .map_err(TreeError::io("finish", &commit))?;
        remove_any(&commit).map_err(TreeError::io("remove", &commit))?;
    }
    if let Some(journal) = read(&staging).map_err(TreeError::io("read", &staging))? {
        sink.emit(Event::Note("undoing an installation that was interrupted".into()));
        journal.undo().map_err(TreeError::io("undo", &staging))?;
        remove_any(&staging).map_err(TreeError::io("remove", &staging))?;
    }
    Ok(())
}

fn read(path: &Path) -> io::Result<Option<Journal>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
