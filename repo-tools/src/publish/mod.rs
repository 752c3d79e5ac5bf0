//! Publishing: staged packages become signed, static files.
//!
//! [`content`] says what every role has to vouch for, [`release`] signs what differs from the published state, and
//! [`write`] puts it into the tree: immutable files first, `timestamp.json` last, so that a client sees the old state
//! or the new one.

pub mod content;
pub mod release;
pub mod segments;
pub mod state;
pub mod write;

use jiff::Timestamp;

use crate::files::FileError;
use crate::keys::{KeyError, KeyRing};
use crate::repository::Repository;
use crate::signed::SignError;
use crate::stage::{Stage, StageError};

pub use release::Report;
pub use state::Published;

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A staged manifest breaks the rules of its directory.
    #[error("publish {package}: {why}")]
    Scope {
        /// Name and version.
        package: String,
        /// The rule.
        why: dkms_index::trust::Why,
    },
    /// Nobody may sign for this directory yet.
    #[error("publish {package}: no role is delegated {scope}/*")]
    NotDelegated {
        /// Name and version.
        package: String,
        /// `by-id/<bus>-<vendor>`.
        scope: String,
    },
    /// A record that clients would pass over.
    #[error("publish {package}: {source}")]
    Record {
        /// Name and version.
        package: String,
        /// What is wrong.
        source: dkms_index::document::DocumentError,
    },
    /// The bundle of a package is not there, or is not what its hash says.
    #[error("publish {package}: its bundle {sha256} is {what}")]
    Bundle {
        /// Name and version.
        package: String,
        /// As the manifest has it.
        sha256: String,
        /// `missing` or `damaged`.
        what: &'static str,
    },
    /// One record does not fit into a segment.
    #[error("publish {package}: its record has {bytes} bytes, a segment holds {max}")]
    TooLong {
        /// Name and version.
        package: String,
        /// Its length.
        bytes: usize,
        /// `segment_bytes` of `repo.toml`.
        max: usize,
    },
    /// A published file cannot be understood.
    #[error("read {file}: {why}")]
    Published {
        /// Path below `public/`.
        file: String,
        /// Why.
        why: String,
    },
    /// A list that people edit cannot be understood.
    #[error("read {file}: {source}")]
    Source {
        /// Path.
        file: String,
        /// Line and reason.
        source: serde_json::Error,
    },
    /// Compression failed.
    #[error("compress a segment of the index: {0}")]
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
    /// The way out.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Scope { .. } => Some("give it the scope `curated`, or correct its patterns".to_owned()),
            Self::NotDelegated { scope, .. } => {
                let vendor = scope.rsplit('/').next().unwrap_or_default();
                Some(format!(
                    "`dkms-repo delegate {vendor}`, or give the package the scope `curated`"
                ))
            }
            Self::Record { .. } => Some("correct its record.json in the staging area".to_owned()),
            Self::Bundle { .. } => Some("add the package again with `dkms-repo add --force`".to_owned()),
            Self::TooLong { .. } => {
                Some("split the package, or raise segment_bytes in repo.toml (at most 16777216)".to_owned())
            }
            Self::Published { .. } => Some("restore public/ from a mirror of it".to_owned()),
            Self::Source { file, .. } => Some(format!("correct {file}")),
            Self::Compress(_) => None,
            Self::Sign(e) => e.hint(),
            Self::Key(e) => e.hint(),
            Self::Stage(e) => e.hint(),
            Self::File(e) => e.hint(),
        }
    }
}

/// How much to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Everything staged.
    All,
    /// Only the list of revocations: in a hurry, and with the fast keys alone.
    Revocations,
    /// Only a new timestamp: cheap, from a timer.
    Timestamp,
}

/// Brings the published tree up to date. With unchanged input, and nothing close to its expiry, it writes nothing.
pub fn publish(repository: &Repository, extent: Extent, now: Timestamp) -> Result<Report, PublishError> {
    let ring = KeyRing::load(&repository.keys_dir())?;
    let published = Published::load(&repository.public_dir())?;
    let content = match extent {
        Extent::All => content::of_stage(repository, &Stage::of(repository), &published)?,
        Extent::Revocations => content::of_revocations(repository)?,
        Extent::Timestamp => content::Content::default(),
    };
    let request = release::Request {
        content: &content,
        delegations: None,
        root: None,
        renew_timestamp: extent == Extent::Timestamp,
    };
    let release = release::release(
        Some(&published),
        published.root.clone(),
        request,
        &ring,
        &repository.config().expires_days,
        now,
    )?;
    let new_files = write::write(repository, &content, &release)?;
    Ok(Report {
        new_files,
        ..release.report
    })
}
