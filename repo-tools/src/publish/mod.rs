//! Publishing: staged packages become signed, static files.
//!
//! [`check`] finds all that machines would refuse, [`content`] makes the targets of every role, [`release`] signs
//! what differs from the published state, and `write` puts it into the tree: immutable files first, `timestamp.json`
//! last and only after a trial read ([`trial_read`]), so that a client sees the old state or the new one.

mod bundles;
pub mod check;
pub mod content;
mod deltas;
mod known;
pub mod lines;
pub mod release;
pub mod segments;
pub mod state;
pub mod trial_read;
pub mod write;

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::files::{self, Directory, FileError};
use crate::keys::KeyError;
use crate::lock::Lock;
use crate::recovery;
use crate::repository::Repository;
use crate::roles::{INDEX, REVOCATIONS, TARGETS};
use crate::signed::SignError;
use crate::stage::{Stage, StageError};
use crate::verify::{Tree, VerifyError};

pub use release::Report;
pub use state::Published;

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Machines would refuse it, or pass over it: all that is wrong, at least one.
    #[error("what is staged cannot be published:{}", check::list(.0))]
    Invalid(Vec<check::PublishProblem>),
    /// A machine would not take the new state. Nothing of it is visible.
    #[error("the new state is not published, because machines would refuse it: {0}")]
    Unreadable(Box<VerifyError>),
    /// One record does not fit into a segment.
    #[error("the index record of {package} has {bytes} bytes, more than the {max} of a segment")]
    TooLong {
        /// Name and version.
        package: String,
        /// Its length.
        bytes: usize,
        /// `segment_bytes` of `repo.toml`.
        max: usize,
    },
    /// It has no JSON form.
    #[error("the index record of {package} cannot be written as JSON: {source}")]
    Spell {
        /// Name and version.
        package: String,
        /// What has no JSON form.
        source: serde_json::Error,
    },
    /// A published file cannot be understood.
    #[error("the published {file} is damaged: {why}")]
    Published {
        /// Path below `public/`.
        file: String,
        /// Why.
        why: String,
    },
    /// A list that people edit cannot be understood.
    #[error("{file} is not valid: {source}")]
    Source {
        /// Path.
        file: String,
        /// Line and reason.
        source: serde_json::Error,
    },
    /// Compression failed.
    #[error("a segment of the index cannot be compressed: {0}")]
    Compress(std::io::Error),
    /// Keys are missing.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Keys cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The staging area cannot be read.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl PublishError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Invalid(problems) => check::hints(problems),
            Self::Unreadable(_) => Some(
                "`dkms-repo verify` tells whether the published state is good; if it is, this is a fault of the program"
                    .to_owned(),
            ),
            Self::TooLong { .. } => {
                Some("split the package, or raise segment_bytes in repo.toml (at most 16777216)".to_owned())
            }
            Self::Published { .. } => Some("restore public/ from a mirror of it".to_owned()),
            Self::Source { file, .. } => Some(format!("correct {file}")),
            Self::Compress(_) | Self::Spell { .. } => None,
            Self::Sign(e) => e.hint(),
            Self::Key(e) => e.hint(),
            Self::Stage(e) => e.hint(),
            Self::File(e) => e.hint(),
        }
    }
}

/// What to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Everything staged.
    All,
    /// Only the list of revocations, with the online keys alone.
    Revocations,
    /// Only a new timestamp: cheap, from a timer.
    Timestamp,
}

/// Brings the published tree up to date. With unchanged input, and nothing close to its expiry, it writes nothing.
pub fn publish(repository: &Repository, extent: Extent, now: Timestamp) -> Result<Report, PublishError> {
    publish_locked(repository, &recovery::lock(repository.path())?, extent, now)
}

/// As [`publish`], for a caller that holds the lock.
pub fn publish_locked(
    repository: &Repository,
    _lock: &Lock,
    extent: Extent,
    now: Timestamp,
) -> Result<Report, PublishError> {
    let (content, release) = prepare(repository, extent, now)?;
    let new_files = write::write(repository, &content, &release, now)?;
    if let Some(known) = content.remember {
        known.save(repository)?;
    }
    Ok(Report {
        new_files,
        ..release.report
    })
}

/// What a publication would write.
#[derive(Debug)]
pub struct Prospect {
    /// What it would report.
    pub report: Report,
    /// The files below `public/` that it would write, with their lengths.
    pub files: BTreeMap<String, u64>,
    /// The published tree as it would be; bundles that are new have no bytes in it.
    pub tree: Tree,
}

/// Finds out what [`publish`] would write. Writes nothing and waits for nobody.
///
/// # Errors
/// As [`publish`], also where keys are missing: whether they are needed is part of the answer.
pub fn prospect(repository: &Repository, extent: Extent, now: Timestamp) -> Result<Prospect, PublishError> {
    let (content, release) = prepare(repository, extent, now)?;
    let public = Directory::open(&repository.public_dir())?;
    let mut files = BTreeMap::new();
    for bundle in &content.bundles {
        if !bundles::is_published(&public, bundle) {
            files.insert(bundles::name(bundle), bundle.length);
        }
    }
    let targets = content.files.into_iter();
    let metadata = release.files.into_iter().chain(release.root);
    let mut new = BTreeMap::new();
    for (path, bytes) in targets {
        let path = format!("targets/{path}");
        if files::read_if_exists(&public.path().join(&path))?.is_none_or(|old| old != bytes) {
            new.insert(path, bytes);
        }
    }
    let new_files = files.len() + new.len();
    new.extend(metadata.map(|(name, bytes)| (format!("metadata/{name}"), bytes)));
    new.extend(
        release
            .timestamp
            .map(|bytes| ("metadata/timestamp.json".to_owned(), bytes)),
    );
    files.extend(new.iter().map(|(path, bytes)| (path.clone(), bytes.len() as u64)));
    Ok(Prospect {
        report: Report {
            new_files,
            ..release.report
        },
        files,
        tree: Tree::with_overlay(public.path(), new),
    })
}

/// Makes and signs what differs from the published state.
fn prepare(
    repository: &Repository,
    extent: Extent,
    now: Timestamp,
) -> Result<(content::Content, release::Release), PublishError> {
    let ring = repository.keys()?;
    let published = Published::load(&repository.public_dir())?;
    let content = match extent {
        Extent::All => content::of_stage(repository, &Stage::of(repository), &published)?,
        Extent::Revocations => content::of_revocations(repository)?,
        Extent::Timestamp => content::of_nothing(repository)?,
    };
    let request = release::Request {
        content: &content,
        delegations: None,
        root: None,
        renew: (extent == Extent::Timestamp).then_some("timestamp"),
        prepared: BTreeMap::new(),
    };
    let release = release::release(
        Some(&published),
        published.root.clone(),
        request,
        &ring,
        &repository.config().expires_days,
        now,
    )?;
    Ok((content, release))
}

/// Whether a role signs hints or denials, and no manifests.
pub(crate) fn is_of_index(role: &str) -> bool {
    [TARGETS, INDEX, REVOCATIONS].contains(&role)
}
