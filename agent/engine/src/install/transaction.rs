//! Changes of files that happen together or not at all.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::journal::{self, Change, Journal};
use crate::fsutil::{remove_any, sync_dir, write_atomic};
use crate::tree::{Tree, TreeError, TreeLock};

/// The new content of a path.
#[derive(Debug)]
enum Content {
    Copy(PathBuf),
    Bytes(Vec<u8>),
    Link(PathBuf),
}

/// Changes in preparation. Nothing happens before [`Transaction::commit`].
#[derive(Debug)]
pub struct Transaction<'a> {
    tree: &'a Tree,
    puts: Vec<(Content, PathBuf)>,
    removes: Vec<PathBuf>,
    prunes: Vec<(PathBuf, PathBuf)>,
    depmod: Vec<String>,
}

/// A point in a commit at which a power cut must do no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The list of temporary files is on disk.
    Listed,
    /// One temporary file is complete.
    Staged,
    /// All are complete, and the transaction is committed.
    Decided,
    /// One change was made.
    Changed,
    /// All changes were made, and the journal is removed.
    Closed,
}

impl<'a> Transaction<'a> {
    /// Begins a transaction. The lock proves that no one else writes into this tree.
    pub fn new(tree: &'a Tree, _lock: &'a TreeLock) -> Transaction<'a> {
        Transaction {
            tree,
            puts: Vec::new(),
            removes: Vec::new(),
            prunes: Vec::new(),
            depmod: Vec::new(),
        }
    }

    /// Adds a copy of the file `from` at `to`.
    pub fn copy(&mut self, from: &Path, to: &Path) {
        self.puts.push((Content::Copy(from.to_owned()), to.to_owned()));
    }

    /// Adds a file with `bytes` at `to`.
    pub fn write(&mut self, bytes: Vec<u8>, to: &Path) {
        self.puts.push((Content::Bytes(bytes), to.to_owned()));
    }

    /// Adds a link to `target` at `to`.
    pub fn link(&mut self, target: &Path, to: &Path) {
        self.puts.push((Content::Link(target.to_owned()), to.to_owned()));
    }

    /// Adds the removal of `path`, unless the transaction puts something there.
    pub fn remove(&mut self, path: &Path) {
        self.removes.push(path.to_owned());
    }

    /// Adds the removal of empty directories from `dir` up to `top`, which stays.
    pub fn prune(&mut self, dir: &Path, top: &Path) {
        self.prunes.push((dir.to_owned(), top.to_owned()));
    }

    /// Notes that kernel `release` needs a depmod afterwards, even if this process is interrupted.
    pub fn needs_depmod(&mut self, release: &str) {
        self.depmod.push(release.to_owned());
    }

    /// Carries the changes out.
    ///
    /// # Errors
    /// When a file cannot be written. Before the commit nothing has changed then; after it the next process that locks the tree goes on.
    pub fn commit(self) -> Result<(), TreeError> {
        self.commit_observed(&mut |_| ())
    }

    /// Like [`Transaction::commit`], but calls `observe` at every moment at which it could be interrupted.
    ///
    /// # Errors
    /// As for [`Transaction::commit`].
    pub fn commit_observed(self, observe: &mut dyn FnMut(Moment)) -> Result<(), TreeError> {
        let dir = journal::dir(self.tree);
        let (staging, commit) = (dir.join("staging.json"), dir.join("commit.json"));
        let journal = self.journal();
        let write = |journal: &Journal| -> io::Result<()> {
            fs::create_dir_all(&dir)?;
            write_atomic(&staging, &serde_json::to_vec(journal)?, 0o600)
        };
        write(&journal).map_err(TreeError::io("write", &staging))?;
        observe(Moment::Listed);
        let staged = self.stage(&journal, observe);
        if let Err(error) = staged {
            // If this fails too, the next run that locks the tree does it.
            let _ = journal.undo().and_then(|()| remove_any(&staging));
            return Err(error);
        }
        let decide = || fs::rename(&staging, &commit).and_then(|()| sync_dir(&dir));
        decide().map_err(TreeError::io("write", &commit))?;
        observe(Moment::Decided);
        journal
            .apply(self.tree, &mut || observe(Moment::Changed))
            .map_err(TreeError::io("finish", &commit))?;
        let close = || fs::remove_file(&commit).and_then(|()| sync_dir(&dir));
        close().map_err(TreeError::io("remove", &commit))?;
        observe(Moment::Closed);
        Ok(())
    }

    fn journal(&self) -> Journal {
        let mut changes: Vec<Change> = self
            .puts
            .iter()
            .enumerate()
            .map(|(index, (_, to))| {
                // In the same directory, with a name that depmod ignores. Only the holder of the lock uses such names.
                let staged = to.with_file_name(format!(".dkms-{index}.new"));
                Change::Put { staged, to: to.clone() }
            })
            .collect();
        let kept = |path: &&PathBuf| !self.puts.iter().any(|(_, to)| to == *path);
        changes.extend(
            self.removes
                .iter()
                .filter(kept)
                .map(|path| Change::Remove { path: path.clone() }),
        );
        changes.extend(self.prunes.iter().map(|(dir, top)| Change::Prune {
            dir: dir.clone(),
            top: top.clone(),
        }));
        Journal {
            changes,
            depmod: self.depmod.clone(),
        }
    }

    fn stage(&self, journal: &Journal, observe: &mut dyn FnMut(Moment)) -> Result<(), TreeError> {
        for ((content, to), change) in self.puts.iter().zip(&journal.changes) {
            let Change::Put { staged, .. } = change else {
                continue;
            };
            put(content, staged).map_err(TreeError::io("write", to))?;
            observe(Moment::Staged);
        }
        Ok(())
    }
}

fn put(content: &Content, staged: &Path) -> io::Result<()> {
    if let Some(parent) = staged.parent() {
        fs::create_dir_all(parent)?;
    }
    remove_any(staged)?;
    match content {
        Content::Link(target) => return symlink(target, staged),
        Content::Copy(from) => drop(fs::copy(from, staged)?),
        Content::Bytes(bytes) => fs::write(staged, bytes)?,
    }
    fs::set_permissions(staged, fs::Permissions::from_mode(0o644))?;
    File::open(staged)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framework::Framework;
    use crate::recovery::lock_and_recover;
    use crate::root::Root;

    #[test]
    fn changes_together() {
        let dir = tempfile::tempdir().expect("temp dir");
        let tree = Tree::new(&Root::at(dir.path()), &Framework::default());
        let lock = lock_and_recover(&tree, &()).expect("locks");
        let at = |name: &str| dir.path().join(name);
        fs::write(at("old"), "old").expect("write");
        fs::create_dir_all(at("a/b")).expect("dirs");
        fs::write(at("a/b/gone"), "x").expect("write");
        let mut transaction = Transaction::new(&tree, &lock);
        transaction.write(b"new".to_vec(), &at("old"));
        transaction.copy(&at("old"), &at("new/dir/copy"));
        transaction.link("old".as_ref(), &at("link"));
        transaction.remove(&at("a/b/gone"));
        transaction.remove(&at("old"));
        transaction.prune(&at("a/b"), dir.path());
        transaction.needs_depmod("6.1.0");
        transaction.commit().expect("commits");
        assert_eq!(fs::read_to_string(at("old")).expect("there"), "new");
        assert_eq!(fs::read_to_string(at("new/dir/copy")).expect("there"), "old");
        assert_eq!(fs::read_to_string(at("link")).expect("there"), "new");
        assert!(!at("a").exists());
        assert_eq!(journal::pending_depmods(&tree), ["6.1.0"]);
        assert_eq!(
            fs::read_dir(journal::dir(&tree)).expect("there").count(),
            1,
            "only the depmod mark is left"
        );
    }

    #[test]
    fn a_failure_before_the_decision_changes_nothing() {
        let dir = tempfile::tempdir().expect("temp dir");
        let tree = Tree::new(&Root::at(dir.path()), &Framework::default());
        let lock = lock_and_recover(&tree, &()).expect("locks");
        let mut transaction = Transaction::new(&tree, &lock);
        transaction.write(b"new".to_vec(), &dir.path().join("new"));
        transaction.copy(&dir.path().join("is not there"), &dir.path().join("copy"));
        transaction.commit().expect_err("nothing to copy");
        let names: Vec<_> = fs::read_dir(dir.path())
            .expect("there")
            .filter_map(|e| Some(e.ok()?.file_name()))
            .collect();
        assert_eq!(names, ["var"], "no temporary file is left");
    }
}
