//! Source bundles in the published tree.

use std::fs;
use std::io;

use dkms_index::document::BundleRef;

use crate::files::{self, Directory, FileError};
use crate::repository::bundle_path;
use crate::stage::Stage;

/// The path of a bundle below `public/`.
pub(super) fn name(bundle: &BundleRef) -> String {
    bundle_path(&bundle.sha256)
}

/// Whether it was published before. It was checked then.
pub(super) fn is_published(public: &Directory, bundle: &BundleRef) -> bool {
    public.length(&name(bundle)) == Some(bundle.length)
}

/// What is wrong with a bundle that is to be published, if anything is.
pub(super) fn problem(
    stage: &Stage,
    public: &Directory,
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

/// Links a bundle from the store into the tree, after [`problem`] found none.
pub(super) fn link(stage: &Stage, public: &Directory, bundle: &BundleRef) -> Result<bool, FileError> {
    if is_published(public, bundle) {
        return Ok(false);
    }
    let (source, path) = (stage.bundle_path(bundle), public.path().join(name(bundle)));
    let dir = path.parent().unwrap_or(public.path());
    files::create_dir(dir)?;
    // Store and tree are on one file system as a rule; then a bundle needs its space only once.
    if !files::link(&source, &path) {
        let temporary = files::temporary_in(dir, 0o644)?;
        fs::copy(&source, temporary.path()).map_err(FileError::on("copy", &source))?;
        files::rename(temporary, &path)?;
    }
    Ok(true)
}
