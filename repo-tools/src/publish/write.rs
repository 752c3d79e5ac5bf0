//! Puts a release into the published tree.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use dkms_index::document::BundleRef;
use jiff::Timestamp;

use super::PublishError;
use super::content::Content;
use super::rehearse::rehearse;
use super::release::Release;
use crate::files::{self, FileError};
use crate::repository::Repository;
use crate::stage::Stage;

/// Writes bundles, targets and metadata that are not there yet, flushes them all, lets a machine's code read the result,
/// and only then puts the root and the timestamp in place that make it reachable. Tells how many bundles and targets are
/// new.
pub fn write(
    repository: &Repository,
    content: &Content,
    release: &Release,
    now: Timestamp,
) -> Result<usize, PublishError> {
    let public = repository.public_dir();
    let stage = Stage::of(repository);
    let mut new_files = 0;
    for bundle in &content.bundles {
        new_files += usize::from(place_bundle(&stage, &public, bundle)?);
    }
    for (path, bytes) in &content.files {
        new_files += usize::from(place(&public.join("targets").join(path), bytes)?);
    }
    let metadata = public.join("metadata");
    for (name, bytes) in &release.files {
        place(&metadata.join(name), bytes)?;
    }
    if new_files > 0 || !release.files.is_empty() {
        sync_all(&public)?;
    }
    if release.root.is_some() || release.timestamp.is_some() {
        rehearse(&public, content, release, now)?;
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
        // The timestamp holds under the old root and under the new one, so it has to be there first.
        timestamp()?;
        root()?;
    } else {
        // There is a gap in any order. This one is closed by any later publication, should we be killed in it.
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

/// Where a bundle lies in the published tree.
fn bundle_path(public: &Path, bundle: &BundleRef) -> PathBuf {
    let shard = bundle.sha256.get(..2).unwrap_or("__");
    public.join("bundles/sha256").join(shard).join(&bundle.sha256)
}

/// Whether it was published before. It was checked then.
fn is_published(public: &Path, bundle: &BundleRef) -> bool {
    fs::metadata(bundle_path(public, bundle)).is_ok_and(|m| m.len() == bundle.length)
}

/// What is wrong with a bundle that is to be published, if anything is.
pub(super) fn bundle_fault(
    stage: &Stage,
    public: &Path,
    bundle: &BundleRef,
) -> Result<Option<&'static str>, FileError> {
    if is_published(public, bundle) {
        return Ok(None);
    }
    match files::hash(&stage.bundle_path(bundle)) {
        Ok((length, sha256)) if length == bundle.length && sha256 == bundle.sha256 => Ok(None),
        Ok(_) => Ok(Some("damaged")),
        Err(e) if e.source.kind() == io::ErrorKind::NotFound => Ok(Some("missing")),
        Err(e) => Err(e),
    }
}

/// Links a bundle from the store into the tree, after [`bundle_fault`] found none.
fn place_bundle(stage: &Stage, public: &Path, bundle: &BundleRef) -> Result<bool, FileError> {
    if is_published(public, bundle) {
        return Ok(false);
    }
    let (source, path) = (stage.bundle_path(bundle), bundle_path(public, bundle));
    let dir = path.parent().unwrap_or(public);
    files::create_dir(dir)?;
    // Store and tree are on one file system as a rule; then a bundle needs its space only once.
    if !files::link(&source, &path) {
        let temporary = files::temporary_in(dir, 0o644)?;
        fs::copy(&source, temporary.path()).map_err(FileError::on("copy", &source))?;
        files::rename(temporary, &path)?;
    }
    Ok(true)
}

/// Flushes the file system that holds the tree: one call instead of one for each of thousands of files.
fn sync_all(public: &Path) -> Result<(), FileError> {
    File::open(public)
        .and_then(|dir| rustix::fs::syncfs(&dir).map_err(io::Error::from))
        .map_err(FileError::on("flush", public))
}
