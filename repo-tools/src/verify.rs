//! Verifies a published tree as a client would, and beyond that checks every manifest and every bundle.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use dkms_index::document::record::{PackageRecord, Record};
use dkms_index::document::{BundleRef, DocumentError};
use dkms_index::trust::{
    Answer, Exchange, Expiry, Kept, Refresh, SegmentWant, TrustError, TrustedManifest, TrustedMetadata, Want,
};
use jiff::Timestamp;
use serde::Serialize;

use crate::files::{self, FileError};
use crate::repository::bundle_path;

/// Why the tree as a whole cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Something is not genuine, not fresh or not there.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A line of the index that machines pass over.
    #[error(transparent)]
    Record(#[from] DocumentError),
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
}

impl VerifyError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Trust(TrustError::Stale { .. }) => {
                Some("sign anew with `dkms-repo publish` or `dkms-repo timestamp`".to_owned())
            }
            Self::Trust(_) | Self::Record(_) => {
                Some("publish again with `dkms-repo publish`, or restore public/ from a mirror".to_owned())
            }
            Self::File(e) => e.hint(),
        }
    }
}

/// What was verified.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Lines of the index.
    pub records: u64,
    /// Manifests that are targets of a role.
    pub manifests: usize,
    /// Bundles whose hash is right.
    pub bundles: usize,
    /// All that is wrong with single packages; empty when the tree is good.
    pub problems: Vec<Problem>,
}

/// One package that no client would install.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Name and version.
    pub package: String,
    /// What is wrong.
    pub why: String,
    /// Whether it is one that clients refuse as not genuine (and not only as absent or out of date).
    pub refused: bool,
}

/// A published tree on disk, with files that replace or add to those on disk.
#[derive(Debug, Clone)]
pub struct Tree {
    public: PathBuf,
    /// Files that are read instead of those on disk, by path.
    overlay: BTreeMap<String, Vec<u8>>,
}

impl Tree {
    /// The tree at `public`.
    pub fn at(public: &Path) -> Self {
        Self::with_overlay(public, BTreeMap::new())
    }

    /// The tree at `public` as it will be with the files of `overlay` in it.
    pub fn with_overlay(public: &Path, overlay: BTreeMap<String, Vec<u8>>) -> Self {
        Self {
            public: public.to_owned(),
            overlay,
        }
    }

    /// A tree of these files alone.
    pub fn in_memory(files: BTreeMap<String, Vec<u8>>) -> Self {
        // There is no process 0, and so never anything below this path.
        Self::with_overlay(Path::new("/proc/0"), files)
    }

    /// The same tree with these files, too.
    #[must_use]
    pub fn with_more(mut self, files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        self.overlay.extend(files);
        self
    }

    /// Reads a whole file that must be there.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        match self.overlay.get(path) {
            Some(bytes) => Ok(bytes.clone()),
            None => files::read(&self.public.join(path)),
        }
    }

    /// Whether a file is there.
    pub fn has(&self, path: &str) -> bool {
        self.overlay.contains_key(path) || self.public.join(path).is_file()
    }

    /// Reads a wanted file, at most one byte more than allowed.
    pub fn get(&self, want: &Want) -> Result<Option<Vec<u8>>, FileError> {
        if let Some(bytes) = self.overlay.get(&want.path) {
            return Ok(Some(bytes.clone()));
        }
        let path = self.public.join(&want.path);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(FileError::on("read", &path)(e)),
        };
        let mut bytes = Vec::new();
        file.take(want.max_bytes.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(FileError::on("read", &path))?;
        Ok(Some(bytes))
    }

    /// Gives an exchange the files that it asks for, until it asks for no more.
    pub fn drive(&self, it: &mut impl Exchange) -> Result<(), VerifyError> {
        while let Some(want) = it.want() {
            let bytes = self.get(&want)?;
            it.feed(bytes.as_deref().map_or(Answer::Absent, Answer::Bytes))?;
        }
        Ok(())
    }
}

/// Verifies the tree at `public`, starting from the root that machines have pinned.
pub fn verify(public: &Path, pinned_root: &Path, now: Timestamp) -> Result<Verified, VerifyError> {
    let tree = Tree::at(public);
    let mut refresh = Refresh::start(&files::read(pinned_root)?, Kept::new(), now, Expiry::Enforce)?;
    tree.drive(&mut refresh)?;
    let mut metadata = refresh.finish()?;

    let mut verified = Verified::default();
    let mut packages = Vec::new();
    let mut fetch = metadata.fetch_index(&[])?;
    while let Some(SegmentWant::Download(want)) = fetch.want()? {
        let bytes = tree.get(&want)?;
        let segment = fetch.feed(bytes.as_deref().map_or(Answer::Absent, Answer::Bytes))?;
        for record in segment.records() {
            match record {
                Ok(Record::Package(package)) => packages.push(package),
                Ok(Record::Override(_)) => {}
                Err(error) => verified.problems.push(Problem {
                    package: want.path.clone(),
                    why: error.to_string(),
                    refused: true,
                }),
            }
        }
    }
    verified.records = fetch.finish()?.records();

    for package in &packages {
        match verify_package(&tree, &mut metadata, package) {
            Ok(_) => {
                verified.manifests += 1;
                verified.bundles += 1;
            }
            Err(problem) => verified.problems.push(problem),
        }
    }
    Ok(verified)
}

fn verify_package(
    tree: &Tree,
    metadata: &mut TrustedMetadata,
    record: &PackageRecord,
) -> Result<TrustedManifest, Problem> {
    let problem = |why: String, refused| Problem {
        package: format!("{} {}", record.name, record.version),
        why,
        refused,
    };
    let mut fetch = metadata.fetch_manifest(&record.manifest);
    let manifest = tree.drive(&mut fetch).and_then(|()| Ok(fetch.finish()?)).map_err(|e| {
        let refused = matches!(&e, VerifyError::Trust(t) if t.is_refusal());
        problem(e.to_string(), refused)
    })?;
    if let Some(disagreement) = manifest.manifest().disagreements(record).first() {
        return Err(problem(disagreement.to_string(), true));
    }
    match hash_bundle(&tree.public, &record.bundle) {
        Ok(true) => Ok(manifest),
        Ok(false) => Err(problem(format!("its bundle is not {}", record.bundle.sha256), true)),
        Err(e) => Err(problem(e.to_string(), false)),
    }
}

fn hash_bundle(public: &Path, bundle: &BundleRef) -> Result<bool, FileError> {
    let (length, sha256) = files::hash(&public.join(bundle_path(&bundle.sha256)))?;
    Ok(length == bundle.length && sha256 == bundle.sha256)
}
