//! Source bundles: from a mirror into a content-addressed store, and from there to a source tree.
//!
//! A [`TrustedManifest`] has the hash; only a [`VerifiedBundle`], whose hash was compared, can be unpacked; only what was unpacked
//! within all limits is a [`SourceTree`].

mod error;
mod store;
mod unpack;

use std::fs::File;
use std::path::{Path, PathBuf};

use dkms_index::document::BundleFormat;
use dkms_index::trust::TrustedManifest;

pub use error::FetchError;
pub use store::Store;
pub use unpack::unpack;

/// A bundle in the store whose length and hash were found to be those of its manifest.
#[derive(Debug)]
pub struct VerifiedBundle {
    /// The very file that was hashed, open.
    file: File,
    path: PathBuf,
    format: BundleFormat,
    /// `<name>-<version>`, for people and for temporary names.
    label: String,
}

impl VerifiedBundle {
    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The source of a package, unpacked from a [`VerifiedBundle`]. It lies in a temporary directory that goes with it.
#[derive(Debug)]
pub struct SourceTree {
    dir: tempfile::TempDir,
}

impl SourceTree {
    /// The directory that holds `dkms.conf`.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// How to call a manifest's package.
fn label(manifest: &TrustedManifest) -> String {
    format!("{}-{}", manifest.manifest().name, manifest.manifest().version)
}
