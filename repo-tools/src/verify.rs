//! Verifies a published tree as a client would, and then goes further: every manifest and every bundle.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use dkms_index::document::BundleRef;
use dkms_index::document::record::{PackageRecord, Record};
use dkms_index::trust::{
    Answer, Exchange, Expiry, Kept, Refresh, SegmentWant, TrustError, TrustedManifest, TrustedMetadata, Want,
};
use jiff::Timestamp;
use serde::Serialize;

use crate::files::{self, FileError};

/// Why the tree as a whole cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Something is not genuine, not fresh or not there.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
}

impl VerifyError {
    /// The way out.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Trust(TrustError::Stale { .. }) => {
                Some("sign anew with `dkms-repo publish` or `dkms-repo timestamp`".to_owned())
            }
            Self::Trust(_) => {
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
    /// Manifests that roles vouch for.
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

/// A published tree on disk.
#[derive(Debug, Clone)]
pub struct Tree(PathBuf);

impl Tree {
    /// The tree at `public`.
    pub fn at(public: &Path) -> Self {
        Self(public.to_owned())
    }

    /// Reads a wanted file, one byte more than allowed at most.
    pub fn get(&self, want: &Want) -> Result<Option<Vec<u8>>, FileError> {
        let path = self.0.join(&want.path);
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

    /// Carries out one conversation.
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

    let mut packages = Vec::new();
    let mut fetch = metadata.fetch_index(&[])?;
    while let Some(SegmentWant::Download(want)) = fetch.want()? {
        let bytes = tree.get(&want)?;
        let segment = fetch.feed(bytes.as_deref().map_or(Answer::Absent, Answer::Bytes))?;
        packages.extend(segment.records().flatten().filter_map(|record| match record {
            Record::Package(package) => Some(package),
            Record::Override(_) => None,
        }));
    }
    let records = fetch.finish()?.records();

    let mut verified = Verified {
        records,
        ..Verified::default()
    };
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
    if manifest.manifest().bundle != record.bundle {
        return Err(problem("index and manifest name different bundles".to_owned(), true));
    }
    let claimed: Vec<&str> = manifest.manifest().patterns().collect();
    if let Some(pattern) = record.patterns.iter().find(|p| !claimed.contains(&p.as_str())) {
        return Err(problem(
            format!("the index claims {pattern}, the manifest does not"),
            true,
        ));
    }
    match hash_bundle(&tree.0, &record.bundle) {
        Ok(true) => Ok(manifest),
        Ok(false) => Err(problem(format!("its bundle is not {}", record.bundle.sha256), true)),
        Err(e) => Err(problem(e.to_string(), false)),
    }
}

fn hash_bundle(public: &Path, bundle: &BundleRef) -> Result<bool, FileError> {
    let shard = bundle.sha256.get(..2).unwrap_or("__");
    let path = public.join("bundles/sha256").join(shard).join(&bundle.sha256);
    let (length, sha256) = files::hash(&path)?;
    Ok(length == bundle.length && sha256 == bundle.sha256)
}
