//! Confs that write into their source directory, for example a version that they found. They are evaluated in a copy of the source.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use super::context::ConfContext;
use super::error::ConfError;
use super::evaluate::{attempt, evaluate, without_bash};
use super::model::DkmsConf;
use crate::fsutil::copy_tree;
use crate::sandbox::take;

/// The most files that a conf may write, and the bytes of each.
const MAX_FILES: usize = 64;
const MAX_FILE_LEN: u64 = 1 << 20;

/// The most files that a source may have to be compared with what a conf made of it.
const MAX_SOURCE_FILES: usize = 200_000;

/// The values of a conf, and the files that it wrote while it was evaluated.
#[derive(Debug)]
pub struct FirstEvaluation {
    /// The values.
    pub conf: DkmsConf,
    /// Files of the source that are new or changed.
    pub written: Vec<WrittenFile>,
}

/// One file that a conf wrote in its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenFile {
    /// Its place in the source.
    pub path: PathBuf,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// Evaluates the dkms.conf of a source that is to be added, as [`evaluate`] does. A conf that tries to write is evaluated again
/// with a copy of the source that it may write; the source itself is not changed.
///
/// # Errors
/// As [`evaluate`], and when the copy cannot be made.
pub fn evaluate_first(dir: &Path, ctx: &ConfContext) -> Result<FirstEvaluation, ConfError> {
    if let Some(result) = without_bash(dir, ctx) {
        return result.map(FirstEvaluation::of);
    }
    let first = attempt(dir, ctx, None, false);
    let was_refused = ["Read-only file system", "Permission denied"]
        .iter()
        .any(|text| first.stderr.contains(text));
    match first.result {
        Ok(conf) if !was_refused => Ok(FirstEvaluation::of(conf)),
        // A write that failed may have been silent.
        before @ (Ok(_) | Err(ConfError::Invalid { .. } | ConfError::Exits { .. })) => {
            evaluate_in_copy(dir, ctx, before, was_refused)
        }
        Err(error) => Err(error),
    }
}

/// Evaluates again with a writable copy of the source. Where that fails too, the result is `before`.
fn evaluate_in_copy(
    dir: &Path,
    ctx: &ConfContext,
    before: Result<DkmsConf, ConfError>,
    was_refused: bool,
) -> Result<FirstEvaluation, ConfError> {
    let failed = |error: io::Error| ConfError::Copy {
        dir: dir.to_owned(),
        source: error,
    };
    let temp = tempfile::Builder::new()
        .prefix("dkms-conf-")
        .tempdir()
        .map_err(failed)?;
    let copy = temp.path().join("source");
    copy_tree(dir, &copy).map_err(failed)?;
    // Only the copy's owner needs to pass; without a mount namespace that is another user.
    fs::set_permissions(temp.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).map_err(failed)?;
    match attempt(dir, ctx, Some(&copy), false).result {
        Ok(conf) => Ok(FirstEvaluation {
            conf,
            written: written(dir, &copy).map_err(failed)?,
        }),
        // The copy may contain a file that other users cannot read: `evaluate` then runs bash as our own user.
        Err(_) if before.is_err() && was_refused => evaluate(dir, ctx).map(FirstEvaluation::of),
        Err(_) => before.map(FirstEvaluation::of),
    }
}

impl FirstEvaluation {
    fn of(conf: DkmsConf) -> FirstEvaluation {
        FirstEvaluation {
            conf,
            written: Vec::new(),
        }
    }
}

/// The files of `copy` that `dir` lacks or has with other content. `.git` is ignored.
fn written(dir: &Path, copy: &Path) -> io::Result<Vec<WrittenFile>> {
    let top = take::open_dir(copy)?;
    let mut found = Vec::new();
    for path in take::files(&top, MAX_SOURCE_FILES) {
        if path.starts_with(".git") || is_same(&dir.join(&path), &copy.join(&path)) {
            continue;
        }
        if found.len() == MAX_FILES {
            return Err(io::Error::other(format!(
                "its dkms.conf writes more than {MAX_FILES} files"
            )));
        }
        let bytes = take::read(&top, &path, MAX_FILE_LEN)?;
        if fs::read(dir.join(&path)).ok().as_ref() != Some(&bytes) {
            found.push(WrittenFile { path, bytes });
        }
    }
    Ok(found)
}

/// Whether the copy of a file is unchanged: its length and time are those of the original.
fn is_same(original: &Path, copy: &Path) -> bool {
    let facts = |path: &Path| {
        let meta = fs::symlink_metadata(path).ok()?;
        Some((meta.is_file(), meta.len(), meta.modified().ok()?))
    };
    facts(original).is_some_and(|original| facts(copy) == Some(original))
}

impl WrittenFile {
    /// Writes it into the source `dir`, following no link of that source.
    ///
    /// # Errors
    /// When a directory above it is a link, or it cannot be written.
    pub fn put(&self, dir: &Path) -> io::Result<()> {
        let mut parent = dir.to_owned();
        let names: Vec<_> = self.path.components().collect();
        let Some((Component::Normal(name), above)) = names.split_last() else {
            return Err(io::Error::other("it has no name"));
        };
        for part in above {
            parent.push(part);
            match fs::symlink_metadata(&parent) {
                Ok(meta) if meta.is_dir() => {}
                Ok(_) => return Err(io::Error::other(format!("{} is no directory", parent.display()))),
                Err(_) => fs::create_dir(&parent)?,
            }
        }
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(&parent)?;
        file.write_all(&self.bytes)?;
        file.as_file()
            .set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        file.persist(parent.join(name))?;
        File::open(&parent)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_goes_through_no_link() {
        let temp = tempfile::tempdir().expect("temp dir");
        let (source, outside) = (temp.path().join("source"), temp.path().join("outside"));
        fs::create_dir(&source).expect("dir");
        fs::create_dir(&outside).expect("dir");
        std::os::unix::fs::symlink(&outside, source.join("link")).expect("link");
        std::os::unix::fs::symlink(outside.join("file"), source.join("file")).expect("link");
        let file = |path: &str| WrittenFile {
            path: path.into(),
            bytes: b"text".to_vec(),
        };
        assert!(file("link/x").put(&source).is_err());
        file("a/b/x").put(&source).expect("written");
        file("file").put(&source).expect("written");
        assert_eq!(fs::read(source.join("file")).expect("reads"), b"text");
        assert_eq!(fs::read_dir(&outside).expect("dir").count(), 0);
    }
}
