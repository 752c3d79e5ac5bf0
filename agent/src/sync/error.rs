//! Why a repository could not be synchronised.

use std::io;
use std::path::PathBuf;

use dkms_index::trust::TrustError;

use crate::config::{Name, Repository};
use crate::files;
use crate::medium::MediumError;
use crate::state::StateError;
use crate::transport::TransportError;

/// Why a repository could not be synchronised.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The root of trust that the machine's owner pinned cannot be read.
    #[error("repository {repository}: the pinned root {} cannot be read: {source}", path.display())]
    PinnedRoot {
        /// The repository.
        repository: Name,
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// No mirror gave the file.
    #[error("repository {repository}: {source}")]
    Transport {
        /// The repository.
        repository: Name,
        /// What the mirrors said.
        source: TransportError,
    },
    /// What the mirrors gave cannot be trusted.
    #[error("repository {repository}: {source}")]
    Trust {
        /// The repository.
        repository: Name,
        /// What was refused, and why.
        source: TrustError,
    },
    /// A verified file could not be kept. Without it a later run would accept a rollback.
    #[error("the verified file {} cannot be stored: {source}", path.display())]
    Keep {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The cache cannot be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The medium that is made cannot be written.
    #[error(transparent)]
    Medium(#[from] MediumError),
    /// No mirror may be asked.
    #[error("repository {repository}: no file:// mirror is configured, and the run is offline")]
    NoMirror {
        /// The repository.
        repository: Name,
    },
    /// A file is wanted that is not cached, and no mirror may be asked.
    #[error("repository {repository}: {file} is not cached, and the run is offline")]
    NotCached {
        /// The repository.
        repository: Name,
        /// The file.
        file: String,
    },
}

impl SyncError {
    pub(super) fn trust(repository: &Repository, source: TrustError) -> Self {
        Self::Trust {
            repository: repository.name.clone(),
            source,
        }
    }

    /// Whether no mirror could be asked: nothing was refused, and the cache still serves. (Exit code 3 where there is none.)
    pub fn is_transport(&self) -> bool {
        matches!(
            self,
            Self::Transport { .. } | Self::NoMirror { .. } | Self::NotCached { .. }
        )
    }

    /// Whether it is configured in a way that cannot work. (Exit code 2.)
    pub fn is_misconfigured(&self) -> bool {
        match self {
            Self::PinnedRoot { .. } => true,
            Self::Transport { source, .. } => source.is_misconfigured(),
            source => source.is_no_repository(),
        }
    }

    /// Whether mirrors answer and none has timestamp.json, which every repository has: the address is wrong.
    fn is_no_repository(&self) -> bool {
        matches!(self, Self::Trust { source: TrustError::Missing { file, .. }, .. } if file.ends_with("timestamp.json"))
    }

    /// Whether something could not be trusted. (Exit code 4, unless [`SyncError::is_stale`].)
    pub fn is_trust(&self) -> bool {
        matches!(self, Self::Trust { .. })
    }

    /// Whether the signatures are right and have expired: try again after the clock was set, or when the mirror is up to date.
    /// (Exit code 75.)
    pub fn is_stale(&self) -> bool {
        match self {
            Self::Trust { source, .. } => source.is_stale(),
            _ => false,
        }
    }

    /// Whether a mirror answers but cannot serve the file now; it may later. (Exit code 75.)
    pub fn is_busy(&self) -> bool {
        match self {
            Self::Transport { source, .. } => source.may_pass() && !source.is_offline(),
            // The mirror is in the middle of an update.
            Self::Trust { source, .. } => matches!(source, TrustError::Missing { .. }) && !self.is_no_repository(),
            _ => false,
        }
    }

    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::PinnedRoot { path, .. } => Some(format!(
                "get the repository's root.json from its publisher and put it at {}",
                path.display()
            )),
            Self::Transport { source, .. } => source.hint(),
            Self::Trust { repository, .. } if self.is_no_repository() => Some(format!(
                "there is no repository at this address: compare `urls` in /etc/dkms-fetch/repos.d ({repository}) with what the publisher says"
            )),
            Self::Trust { source, .. } if source.is_stale() => source.hint().map(|hint| {
                format!(
                    "{hint}; its publisher renews it by `dkms-repo timestamp`; for media that are carried around, \
                     allow_stale = true in /etc/dkms-fetch/config.toml takes it as it is"
                )
            }),
            Self::Trust { source, .. } => source.hint(),
            Self::Keep { source, path } => files::hint(path, source),
            Self::State(source) => source.hint(),
            Self::Medium(source) => source.hint(),
            Self::NoMirror { .. } | Self::NotCached { .. } => {
                Some("run once without `--offline`, or add a file:// mirror".to_owned())
            }
        }
    }
}
