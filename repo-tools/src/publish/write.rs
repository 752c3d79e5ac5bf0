//! Puts a release into the published tree.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use dkms_index::document::BundleRef;

use super::PublishError;
use super::content::Content;
use super::release::Release;
use crate::files::{self, FileError};
use crate::repository::Repository;
use crate::stage::Stage;

/// Writes bundles, targets and metadata that are not there yet, flushes them all, and only then the root and the
/// timestamp that make them reachable. Tells how many bundles and targets are new.
pub fn write(repository: &Repository, content: &Content, release: &Release) -> Result<usize, PublishError> {
    let public = repository.public_dir();
    let mut new_files = 0;
    for (package, bundle) in &content.bundles {
        new_files += usize::from(place_bundle(&Stage::of(repository), &public, package, bundle)?);
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
    if let Some((name, bytes)) = &release.root {
        files::write_atomic(&metadata.join(name), bytes)?;
    }
    if let Some(bytes) = &release.timestamp {
        files::write_atomic(&metadata.join("timestamp.json"), bytes)?;
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
    temporary
        .persist(path)
        .map_err(|e| FileError::on("write", path)(e.error))?;
    Ok(true)
}

/// Links a bundle from the store into the tree, after checking that it is what its name says.
fn place_bundle(stage: &Stage, public: &Path, package: &str, bundle: &BundleRef) -> Result<bool, PublishError> {
    let fault = |what| PublishError::Bundle {
        package: package.to_owned(),
        sha256: bundle.sha256.clone(),
        what,
    };
    let shard = bundle.sha256.get(..2).unwrap_or("__");
    let path = public.join("bundles/sha256").join(shard).join(&bundle.sha256);
    if fs::metadata(&path).is_ok_and(|m| m.len() == bundle.length) {
        return Ok(false);
    }
    let source = stage.bundle_path(bundle);
    let (length, sha256) = match files::hash(&source) {
        Ok(found) => found,
        Err(e) if e.source.kind() == io::ErrorKind::NotFound => return Err(fault("missing")),
        Err(e) => return Err(e.into()),
    };
    if length != bundle.length || sha256 != bundle.sha256 {
        return Err(fault("damaged"));
    }
    let dir = path.parent().unwrap_or(public);
    files::create_dir(dir)?;
    if path.exists() {
        fs::remove_file(&path).map_err(FileError::on("replace", &path))?;
    }
    // Store and tree are on one file system as a rule; then a bundle needs its space only once.
    if fs::hard_link(&source, &path).is_err() {
        let temporary = files::temporary_in(dir, 0o644)?;
        fs::copy(&source, temporary.path()).map_err(FileError::on("copy", &source))?;
        temporary
            .persist(&path)
            .map_err(|e| FileError::on("write", &path)(e.error))?;
    }
    Ok(true)
}

/// Flushes the file system that holds the tree: one call instead of one for each of thousands of files.
fn sync_all(public: &Path) -> Result<(), FileError> {
    File::open(public)
        .and_then(|dir| rustix::fs::syncfs(&dir).map_err(io::Error::from))
        .map_err(FileError::on("flush", public))
}
