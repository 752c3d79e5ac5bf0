//! Copies a published tree from one place to another, and checks it on the way.
//!
//! Everything but bundles is read into memory and verified as a machine with the pinned root would: signatures, the index, the manifest of every
//! package. Only then is anything written, by [`crate::push`], in the order in which it is published. A bundle is written when its hash is right.
//! A mirror of some packages has the whole index, for one signature covers it, and lacks manifests and bundles of the others: machines take
//! those from their next address.

mod choice;
mod source;

use std::collections::BTreeSet;

use dkms_index::document::record::{PackageRecord, Record};
use dkms_index::trust::{Answer, Exchange, Expiry, Kept, Refresh, SegmentWant, TrustError, TrustedMetadata};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use crate::publish::PublishError;
use crate::push::{self, Options, Progress, PushError, Pushed, Source};
use crate::reach::{self, Named};
use crate::signed::{self, Signed, Snapshot, Targets};
use crate::store::{FIRST_ROOT, Store, StoreError, TIMESTAMP};
use crate::verify::Tree;

pub use choice::Choice;
use source::Gathered;

/// Requests at the same time.
const AT_ONCE: usize = 8;

/// Why nothing was copied, or not all.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// What is there is not genuine, not fresh or not whole.
    #[error("{address}: {source}")]
    Trust {
        /// The source.
        address: String,
        /// Why.
        source: TrustError,
    },
    /// A file is not what signed metadata says.
    #[error("{address}/{path} is {what}")]
    File {
        /// The source.
        address: String,
        /// The file.
        path: String,
        /// `missing` or `not what the signed metadata says`.
        what: &'static str,
    },
    /// A manifest says otherwise than the index.
    #[error("{address}: {package}: {why}")]
    Package {
        /// The source.
        address: String,
        /// Name and version.
        package: String,
        /// What is wrong.
        why: String,
    },
    /// No package is what was asked for.
    #[error("{0} has no package that was asked for")]
    Nothing(String),
    /// The source failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was read cannot be understood.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// It could not be written.
    #[error(transparent)]
    Push(#[from] PushError),
}

impl MirrorError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Trust {
                source: TrustError::Stale { .. },
                ..
            } => "it is out of date: copy from another mirror, or ask its publisher".to_owned(),
            Self::Trust { .. } | Self::Package { .. } => {
                "copy from another mirror; nothing of this one was written. --from names the root that is trusted"
                    .to_owned()
            }
            Self::File { .. } => "copy from another mirror; the same command goes on where this one ended".to_owned(),
            Self::Nothing(_) => {
                "`dkms-repo diff` with its address and an empty directory lists all that it has".to_owned()
            }
            Self::Store(error) => return error.hint(),
            Self::Publish(error) => return error.hint(),
            Self::Push(error) => return error.hint(),
        })
    }

    /// Whether it means that something is not what its signature says.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Trust { source, .. } => source.is_refusal(),
            Self::File { what, .. } => *what != MISSING,
            Self::Package { .. } => true,
            Self::Push(PushError::Source { .. }) => true,
            _ => false,
        }
    }
}

const MISSING: &str = "missing";
const DIFFERENT: &str = "not what the signed metadata says";

/// A published state that was verified.
#[derive(Debug)]
pub struct State {
    /// All files of it that were read, without bundles.
    pub tree: Tree,
    /// Its packages and overrides, in the order of the index.
    pub records: Vec<Record>,
    /// The verified metadata.
    pub metadata: TrustedMetadata,
}

/// Reads the metadata and the index of a published tree and verifies them as a machine would that has pinned this root.
///
/// # Errors
/// When a machine would refuse them.
pub async fn read_state(
    store: &Store,
    pinned_root: &[u8],
    now: Timestamp,
    expiry: Expiry,
) -> Result<State, MirrorError> {
    let mut gathered = Gathered::of(store);
    let trust = |source: TrustError| MirrorError::Trust {
        address: store.address().to_owned(),
        source,
    };
    // The first root is part of a mirror, also where a later one is pinned.
    gathered.fetch(FIRST_ROOT, push::MOST_BYTES).await?;
    let mut refresh = Refresh::start(pinned_root, Kept::new(), now, expiry).map_err(trust)?;
    while let Some(want) = refresh.want() {
        let bytes = gathered.fetch(&want.path, want.max_bytes).await?;
        refresh
            .feed(bytes.map_or(Answer::Absent, Answer::Bytes))
            .map_err(trust)?;
    }
    let metadata = refresh.finish().map_err(trust)?;
    let newest = metadata.versions().get("root").copied().unwrap_or(1);
    for version in 1..=newest {
        gathered
            .fetch(&format!("metadata/{version}.root.json"), push::MOST_BYTES)
            .await?;
    }
    let mut records = Vec::new();
    let mut fetch = metadata.fetch_index(&[]).map_err(trust)?;
    while let Some(SegmentWant::Download(want)) = fetch.want().map_err(trust)? {
        let bytes = gathered.fetch(&want.path, want.max_bytes).await?;
        let segment = fetch.feed(bytes.map_or(Answer::Absent, Answer::Bytes)).map_err(trust)?;
        records.extend(segment.records().flatten());
    }
    fetch.finish().map_err(trust)?;
    Ok(State {
        tree: gathered.into_tree(),
        records,
        metadata,
    })
}

/// Copies what is chosen from one store to another.
///
/// # Errors
/// When a machine would refuse what is there, or a store fails.
pub async fn mirror(
    from: &Store,
    to: &Store,
    pinned_root: &[u8],
    choice: &Choice,
    options: Options,
    now: Timestamp,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Pushed, MirrorError> {
    let State {
        tree,
        records,
        mut metadata,
    } = read_state(from, pinned_root, now, Expiry::Enforce).await?;
    let packages: Vec<PackageRecord> = records.into_iter().filter_map(of_package).collect();
    let chosen = choice.of(&packages);
    if chosen.is_empty() && !packages.is_empty() {
        return Err(MirrorError::Nothing(from.address().to_owned()));
    }
    let manifests: BTreeSet<&str> = chosen.iter().map(|package| package.manifest.as_str()).collect();
    let tree = gather(from, to, tree, &manifests, choice.is_all()).await?;
    for package in &chosen {
        check(from.address(), &tree, &mut metadata, package)?;
    }
    let source = Source {
        tree: &tree,
        bundles: Some(from),
        is_partial: !choice.is_all(),
    };
    Ok(push::push(&source, to, options, progress).await?)
}

fn of_package(record: Record) -> Option<PackageRecord> {
    match record {
        Record::Package(package) => Some(package),
        Record::Override(_) => None,
    }
}

/// Reads all roles and their targets, as far as they are wanted. What the mirror has already is taken from there, if its hash is right.
async fn gather(
    from: &Store,
    to: &Store,
    tree: Tree,
    manifests: &BTreeSet<&str>,
    is_all: bool,
) -> Result<Tree, MirrorError> {
    let timestamp: Signed<signed::Timestamp> = reach::must(&tree, TIMESTAMP)?;
    let version = timestamp.signed.snapshot_version();
    let snapshot: Signed<Snapshot> = reach::must(&tree, &format!("metadata/{version}.snapshot.json"))?;
    let roles = snapshot.signed.meta.iter().map(|(file, meta)| {
        let content = Named::of(meta.length, meta.hashes.get("sha256"));
        (format!("metadata/{}.{file}", meta.version), content)
    });
    let tree = add(from, to, tree, roles.collect()).await?;
    let mut targets = Vec::new();
    for (file, meta) in &snapshot.signed.meta {
        let role: Signed<Targets> = reach::must(&tree, &format!("metadata/{}.{file}", meta.version))?;
        for (target, entry) in &role.signed.targets {
            if is_all || !reach::is_manifest(target) || manifests.contains(target.as_str()) {
                let content = Named::of(entry.length, entry.hashes.get("sha256"));
                targets.push((format!("targets/{}", entry.file_path(target)), content));
            }
        }
    }
    add(from, to, tree, targets).await
}

/// Adds files to a tree in memory.
async fn add(from: &Store, to: &Store, tree: Tree, files: Vec<(String, Named)>) -> Result<Tree, MirrorError> {
    let missing: Vec<(String, Named)> = files.into_iter().filter(|(path, _)| !tree.has(path)).collect();
    let reads = stream::iter(missing).map(|(path, content)| async move {
        let most_bytes = content.length.unwrap_or(push::MOST_BYTES).min(push::MOST_BYTES);
        if to.is_directory()
            && let Ok(Some(found)) = to.read(&path, most_bytes).await
            && content.is(&found.bytes)
        {
            return Ok((path, found.bytes));
        }
        let wrong = |what: &'static str| MirrorError::File {
            address: from.address().to_owned(),
            path: path.clone(),
            what,
        };
        let found = match from.read(&path, most_bytes).await {
            Err(StoreError::TooLarge { .. }) => return Err(wrong(DIFFERENT)),
            found => found?.ok_or_else(|| wrong(MISSING))?,
        };
        if content.is(&found.bytes) {
            Ok((path, found.bytes))
        } else {
            Err(wrong(DIFFERENT))
        }
    });
    let read: Vec<(String, Vec<u8>)> = reads.buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(tree.with_more(read))
}

/// Verifies the manifest of a package as a machine would.
fn check(
    address: &str,
    tree: &Tree,
    metadata: &mut TrustedMetadata,
    package: &PackageRecord,
) -> Result<(), MirrorError> {
    let mut fetch = metadata.fetch_manifest(&package.manifest);
    let trust = |source: TrustError| MirrorError::Trust {
        address: address.to_owned(),
        source,
    };
    while let Some(want) = fetch.want() {
        let bytes = tree.get(&want).map_err(PublishError::from)?;
        fetch
            .feed(bytes.as_deref().map_or(Answer::Absent, Answer::Bytes))
            .map_err(trust)?;
    }
    let manifest = fetch.finish().map_err(trust)?;
    match manifest.manifest().disagreements(package).first() {
        None => Ok(()),
        Some(disagreement) => Err(MirrorError::Package {
            address: address.to_owned(),
            package: format!("{} {}", package.name, package.version),
            why: disagreement.to_string(),
        }),
    }
}
