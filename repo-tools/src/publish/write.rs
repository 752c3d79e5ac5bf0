//! Puts a release into the published tree.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use jiff::Timestamp;

use super::content::Content;
use super::release::Release;
use super::trial_read::trial_read;
use super::{PublishError, bundles};
use crate::files::{self, Directory, FileError};
use crate::repository::Repository;
use crate::stage::Stage;

/// Writes bundles, targets and metadata that are not there yet, flushes them all, lets a machine's code read the result,
/// and only then puts the root and the timestamp in place that make it reachable. Returns how many bundles and targets
/// are new.
pub fn write(
    repository: &Repository,
    content: &Content,
    release: &Release,
    now: Timestamp,
) -> Result<usize, PublishError> {
    let public = Directory::open(&repository.public_dir())?;
    let stage = Stage::of(repository);
    let mut new_files = 0;
    for bundle in &content.bundles {
        new_files += usize::from(bundles::link(&stage, &public, bundle)?);
    }
    let public = public.path();
    for (path, bytes) in &content.files {
        new_files += usize::from(place(&public.join("targets").join(path), bytes)?);
    }
    let metadata = public.join("metadata");
    for (name, bytes) in &release.files {
        place(&metadata.join(name), bytes)?;
    }
    if new_files > 0 || !release.files.is_empty() {
        sync_all(public)?;
    }
    if release.root.is_some() || release.timestamp.is_some() {
        trial_read(public, content, release, now)?;
    }
    let root = || match &release.root {
        Some((name, bytes)) => files::write_atomic(&metadata.join(name), bytes),
        None => Ok(()),
    };
    let timestamp = || match &release.timestamp {
        Some(bytes) => files::write_atomic(&metadata.join("timestamp.json"), bytes),
        None => Ok(()),
    };
    if release.report.unbridged.is_empty() {
        // The timestamp is valid under the old root and under the new one, so it has to be written first.
        timestamp()?;
        root()?;
    } else {
        // In either order, a kill between the two leaves them inconsistent. In this order any later publication repairs that.
        root()?;
        timestamp()?;
    }
    Ok(new_files)
}

/// Writes a file unless it is there with this content. Not flushed: one flush for all follows.
fn place(path: &Path, bytes: &[u8]) -> Result<bool, FileError> {
    if files::read_if_exists(path)?.is_some_and(|old| old == bytes) {
        return Ok(false);
    }
    let dir = path.parent().unwrap_or(Path::new("."));
    files::create_dir(dir)?;
    let temporary = files::temporary_in(dir, 0o644)?;
    fs::write(temporary.path(), bytes).map_err(FileError::on("write", path))?;
    files::rename(temporary, path)?;
    Ok(true)
}

/// Flushes the file system that holds the tree: one call instead of one for each of thousands of files.
fn sync_all(public: &Path) -> Result<(), FileError> {
    File::open(public)
        .and_then(|dir| rustix::fs::syncfs(&dir).map_err(io::Error::from))
        .map_err(FileError::on("flush", public))
}
