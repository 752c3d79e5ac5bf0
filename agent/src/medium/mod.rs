//! A medium carries a part of repositories to a machine without a network: for each repository a directory that is a mirror, with all
//! metadata, the whole index, and the manifests and sources of some packages.
//!
//! Every file but `metadata/timestamp.json` has a name that no other content ever has, so the medium has its old state until that file
//! is replaced, and its new one from then on. What is there already is not fetched again.

mod error;
mod find;
mod image;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

pub use error::MediumError;
pub use find::mirror_of;
pub use image::{make_image, require_image_tool};

use crate::files;

/// The volume label by which the first boot finds a medium.
pub const LABEL: &str = "DKMSFETCH";
/// What makes a directory one that may be rewritten as a whole.
const MARK: &str = "dkms-fetch-medium.txt";
const MARK_TEXT: &str = "`dkms-fetch media make` wrote this directory, and rewrites it as a whole. It is a mirror of a part of a repository.\n";
/// The file whose replacement makes the new state visible.
const LAST: &str = "metadata/timestamp.json";
/// What a mirror is made of.
const PARTS: [&str; 3] = ["metadata", "targets", "bundles"];

/// A directory of a medium while it is written; one process at a time.
#[derive(Debug)]
pub struct Recorder {
    dir: PathBuf,
    recorded: RefCell<Recorded>,
    /// Locked as long as this lives.
    _mark: File,
}

#[derive(Debug, Default)]
struct Recorded {
    /// Paths below the directory that belong to the new state.
    files: BTreeSet<PathBuf>,
    last: Option<Vec<u8>>,
}

impl Recorder {
    /// Begins or goes on with the directory `dir`.
    ///
    /// # Errors
    /// When it holds something else, another process writes it, or it cannot be written.
    pub fn open(dir: &Path) -> Result<Self, MediumError> {
        let failed = |source| MediumError::Write {
            path: dir.to_owned(),
            source,
        };
        fs::create_dir_all(dir).map_err(failed)?;
        let mark = dir.join(MARK);
        let is_empty = fs::read_dir(dir).map_err(failed)?.next().is_none();
        if is_empty {
            files::write_atomically(&mark, MARK_TEXT.as_bytes()).map_err(failed)?;
        }
        let mark = match files::open_regular(&mark) {
            Ok(mark) => mark,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(MediumError::NotAMedium { path: dir.to_owned() });
            }
            Err(e) => return Err(failed(e)),
        };
        match flock(&mark, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(MediumError::InUse { path: dir.to_owned() }),
            Err(e) => return Err(failed(e.into())),
        }
        Ok(Self {
            dir: dir.to_owned(),
            recorded: RefCell::default(),
            _mark: mark,
        })
    }

    /// Keeps a verified file of the repository.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn keep(&self, path: &str, bytes: &[u8]) -> Result<(), MediumError> {
        let mut recorded = self.recorded.borrow_mut();
        if path == LAST {
            recorded.last = Some(bytes.to_owned());
            return Ok(());
        }
        let below = Path::new(path);
        let is_plain = below.components().all(|part| matches!(part, Component::Normal(_)));
        let file = self.dir.join(below);
        let failed = |source| MediumError::Write {
            path: file.clone(),
            source,
        };
        if !is_plain {
            return Err(failed(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a path inside a repository",
            )));
        }
        // A stick is slow, and wears.
        if fs::read(&file).ok().as_deref() != Some(bytes) {
            files::write_atomically(&file, bytes).map_err(failed)?;
        }
        recorded.files.insert(below.to_owned());
        Ok(())
    }

    /// Where sources belong, in the layout of a mirror.
    pub fn bundles(&self) -> PathBuf {
        self.dir.join("bundles/sha256")
    }

    /// A source was put at this place.
    pub fn note(&self, file: &Path) {
        if let Ok(below) = file.strip_prefix(&self.dir) {
            self.recorded.borrow_mut().files.insert(below.to_owned());
        }
    }

    /// Makes the new state visible, and removes what only the old one had.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn finish(self) -> Result<(), MediumError> {
        let mut recorded = self.recorded.into_inner();
        let last = self.dir.join(LAST);
        if let Some(bytes) = &recorded.last {
            files::write_atomically(&last, bytes).map_err(|source| MediumError::Write { path: last, source })?;
            recorded.files.insert(LAST.into());
        }
        for part in PARTS {
            sweep(&self.dir, Path::new(part), &recorded.files)?;
        }
        Ok(())
    }
}

/// Removes the files below `dir` that are not in `kept`, and directories that are empty then.
fn sweep(top: &Path, dir: &Path, kept: &BTreeSet<PathBuf>) -> Result<(), MediumError> {
    let path = top.join(dir);
    let failed = |source| MediumError::Write {
        path: path.clone(),
        source,
    };
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let below = dir.join(entry.file_name());
        if entry.file_type().map_err(failed)?.is_dir() {
            sweep(top, &below, kept)?;
        } else if !kept.contains(&below) {
            fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    // One that is not empty stays.
    let _ = fs::remove_dir(&path);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for part in PARTS {
            let mut left = vec![dir.join(part)];
            while let Some(path) = left.pop() {
                for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                    if entry.path().is_dir() {
                        left.push(entry.path());
                    } else {
                        let below = entry.path().strip_prefix(dir).expect("below").display().to_string();
                        found.push(below);
                    }
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn the_old_state_stays_until_the_new_one_is_whole() {
        let dir = tempfile::tempdir().expect("a directory");
        let medium = dir.path().join("demo");
        let write = |files: &[(&str, &str)], finish: bool| {
            let recorder = Recorder::open(&medium).expect("a medium");
            for (path, text) in files {
                recorder.keep(path, text.as_bytes()).expect("written");
            }
            if finish {
                recorder.finish().expect("finished");
            }
        };
        let stamp = || fs::read_to_string(medium.join(LAST)).expect("a timestamp");
        write(
            &[
                (LAST, "1"),
                ("metadata/1.snapshot.json", "a"),
                ("targets/x/H.a.json", "b"),
            ],
            true,
        );
        assert_eq!(stamp(), "1");
        // It was killed.
        write(&[(LAST, "2"), ("metadata/2.snapshot.json", "c")], false);
        assert_eq!(stamp(), "1");
        assert!(names(&medium).contains(&"targets/x/H.a.json".to_owned()));
        write(&[(LAST, "2"), ("metadata/2.snapshot.json", "c")], true);
        assert_eq!(stamp(), "2");
        assert_eq!(names(&medium), ["metadata/2.snapshot.json", "metadata/timestamp.json"]);
        assert!(!medium.join("targets").exists());
    }

    #[test]
    fn a_directory_of_something_else_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("thesis.tex"), "years").expect("a file");
        let error = Recorder::open(dir.path()).expect_err("not ours");
        assert!(
            matches!(error, MediumError::NotAMedium { .. }) && error.hint().is_some(),
            "{error}"
        );
        let medium = dir.path().join("demo");
        let _first = Recorder::open(&medium).expect("a medium");
        let error = Recorder::open(&medium).expect_err("in use");
        assert!(matches!(error, MediumError::InUse { .. }), "{error}");
    }

    #[test]
    fn no_path_leaves_the_medium() {
        let dir = tempfile::tempdir().expect("a directory");
        let recorder = Recorder::open(&dir.path().join("demo")).expect("a medium");
        for path in ["../x", "/etc/x", "a/../../x"] {
            recorder.keep(path, b"x").expect_err(path);
        }
    }
}
