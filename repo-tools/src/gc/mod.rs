//! Removes published files that no client needs any more.
//!
//! Everything in the tree is immutable but `timestamp.json`, so old states stay until they are removed. What stays is
//! what the kept snapshots name (`crate::reach`): roles, manifests, segments of the index with their deltas, bundles. Roots
//! always stay, for a machine may come back after years and follow the chain from the one that it has. Files with
//! other names than this program writes are left alone.

mod history;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use walkdir::WalkDir;

use crate::files::{self, FileError};
use crate::lock::Lock;
use crate::publish::PublishError;
use crate::reach;
use crate::repository::Repository;
use crate::stage::{Stage, StageError};
use crate::verify::Tree;

/// What to keep besides the current state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// This many of the newest snapshots, the current one among them; at least that one.
    pub keep: usize,
    /// Every snapshot that was the current one within this time.
    pub younger_than: SignedDuration,
}

/// What can be removed, or was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// The snapshots that stay, the newest first.
    pub snapshots: Vec<u64>,
    /// The files to remove.
    pub garbage: Vec<Garbage>,
}

impl Collected {
    /// The bytes of all files to remove. A bundle that is in the tree and in the store counts twice, though the disk holds it once.
    pub fn bytes(&self) -> u64 {
        self.garbage.iter().map(|one| one.bytes).sum()
    }
}

/// A file to remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Garbage {
    /// Below the repository's directory.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
}

/// Why nothing was removed.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// It cannot be determined what the published state needs.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// It cannot be determined which bundles staged packages need.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl GcError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Publish(e) => e.hint(),
            Self::Stage(e) => e.hint(),
            Self::File(e) => e.hint(),
        }
    }
}

/// Finds what may be removed. Needs the lock, because the files of a writer belong to no snapshot until it is done.
///
/// # Errors
/// When it cannot be determined what is needed; then nothing is removed.
pub fn find(repository: &Repository, _lock: &Lock, policy: Policy, now: Timestamp) -> Result<Collected, GcError> {
    let public = repository.public_dir();
    let history = history::history(&public)?;
    let snapshots = kept(&history, policy, now);
    let (tree, mut needed) = (Tree::at(&public), BTreeMap::new());
    for version in &snapshots {
        let is_current = history.first().is_some_and(|newest| newest.version == *version);
        reach::needed_by(&tree, *version, is_current, &mut needed)?;
    }
    let mut garbage = Vec::new();
    for (path, bytes) in ours(&public)? {
        if !needed.contains_key(&path) {
            let path = Path::new("public").join(path);
            garbage.push(Garbage { path, bytes });
        }
    }
    garbage.extend(unstaged_bundles(repository)?);
    Ok(Collected { snapshots, garbage })
}

/// Removes what [`find`] found. Nothing of it can be reached from a kept state, so that an interruption does no harm.
///
/// # Errors
/// The file system's.
pub fn remove(repository: &Repository, _lock: &Lock, collected: &Collected) -> Result<(), GcError> {
    for one in &collected.garbage {
        files::remove(&repository.path().join(&one.path))?;
    }
    Ok(())
}

/// A snapshot that was published once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Past {
    pub(crate) version: u64,
    /// When the next one took its place; none for the current one.
    pub(crate) until: Option<Timestamp>,
}

/// The snapshots to keep out of a history with the newest first.
fn kept(history: &[Past], policy: Policy, now: Timestamp) -> Vec<u64> {
    let recent = |past: &Past| {
        past.until
            .is_none_or(|until| now.duration_since(until) < policy.younger_than)
    };
    let few = policy.keep.max(1);
    let stays = |(nth, past): &(usize, &Past)| *nth < few || recent(past);
    let stays = history.iter().enumerate().filter(stays);
    stays.map(|(_, past)| past.version).collect()
}

/// The files of the published tree whose names are ones that this program makes, with their lengths; without roots and
/// the timestamp.
fn ours(public: &Path) -> Result<Vec<(String, u64)>, FileError> {
    let mut found = Vec::new();
    for top in ["metadata", "targets", "bundles/sha256"] {
        for entry in WalkDir::new(public.join(top)).sort_by_file_name() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(e) if e.io_error().is_some_and(|e| e.kind() == std::io::ErrorKind::NotFound) => continue,
                Err(e) => {
                    let path = e.path().unwrap_or(public).to_owned();
                    return Err(FileError::on("list", &path)(e.into()));
                }
            };
            let path = entry.path().strip_prefix(public).unwrap_or(entry.path());
            let Some(path) = path
                .to_str()
                .filter(|path| entry.file_type().is_file() && reach::is_ours(path))
            else {
                continue;
            };
            let length = entry.metadata().map_or(0, |meta| meta.len());
            found.push((path.to_owned(), length));
        }
    }
    Ok(found)
}

/// Bundles in the store that no staged package names.
fn unstaged_bundles(repository: &Repository) -> Result<Vec<Garbage>, GcError> {
    let stage = Stage::of(repository);
    let needed: BTreeSet<PathBuf> = stage
        .list()?
        .iter()
        .map(|p| stage.bundle_path(&p.manifest.bundle))
        .collect();
    let mut garbage = Vec::new();
    for entry in WalkDir::new(repository.bundle_dir())
        .sort_by_file_name()
        .into_iter()
        .flatten()
    {
        let inner = entry.path().strip_prefix(repository.path()).unwrap_or(entry.path());
        let is_ours = inner.to_str().is_some_and(reach::is_ours);
        if entry.file_type().is_file() && is_ours && !needed.contains(entry.path()) {
            garbage.push(Garbage {
                path: inner.to_owned(),
                bytes: entry.metadata().map_or(0, |meta| meta.len()),
            });
        }
    }
    Ok(garbage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_and_the_recent_stay() {
        let now: Timestamp = "2026-03-31T00:00:00Z".parse().unwrap();
        // Snapshots 5 to 1; each was the current one until so many days ago.
        let history: Vec<Past> = [(5, None), (4, Some(1)), (3, Some(9)), (2, Some(20)), (1, Some(30))]
            .map(|(version, days)| Past {
                version,
                until: days.map(|days| now - SignedDuration::from_hours(24 * days)),
            })
            .into();
        let check = |keep: usize, days: i64, expected: &[u64]| {
            let younger_than = SignedDuration::from_hours(24 * days);
            assert_eq!(
                kept(&history, Policy { keep, younger_than }, now),
                expected,
                "{keep} {days}"
            );
        };
        check(1, 0, &[5]);
        check(0, 0, &[5]);
        check(3, 0, &[5, 4, 3]);
        check(1, 10, &[5, 4, 3]);
        check(2, 2, &[5, 4]);
        check(9, 0, &[5, 4, 3, 2, 1]);
        check(1, 365, &[5, 4, 3, 2, 1]);
    }
}
