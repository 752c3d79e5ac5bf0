//! Why a bundle could not be fetched.

use std::io;
use std::path::PathBuf;

use crate::files::{self, is_full};
use crate::sync::SyncError;
use crate::transport::TransportError;

/// Why a bundle could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No mirror gave it.
    #[error("the source of {package} cannot be fetched: {source}")]
    Transport {
        /// `<name>-<version>`.
        package: String,
        /// What the mirrors said.
        source: TransportError,
    },
    /// No mirror has it.
    #[error("no mirror has the source of {package} ({path})")]
    Missing {
        /// `<name>-<version>`.
        package: String,
        /// Its place below a mirror.
        path: String,
    },
    /// No mirror may be asked, and it is not in the store.
    #[error("the source of {package} is not cached, and the run is offline")]
    NotCached {
        /// `<name>-<version>`.
        package: String,
    },
    /// What the mirrors gave is not what the manifest names.
    #[error("the source of {package} has sha256 {found}, and its manifest says {expected}")]
    Hash {
        /// `<name>-<version>`.
        package: String,
        /// The hash in the manifest.
        expected: String,
        /// The hash of the download.
        found: String,
    },
    /// The manifest has an invalid value.
    #[error("the manifest of {package} is not valid: its {what}")]
    Manifest {
        /// `<name>-<version>`.
        package: String,
        /// What is wrong with it.
        what: String,
    },
    /// The bundle has an entry that may not be unpacked.
    #[error("the source of {package} is not safe to unpack: {entry:?} {why}")]
    Unsafe {
        /// `<name>-<version>`.
        package: String,
        /// The entry of the archive.
        entry: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The bundle cannot be read as what it says it is.
    #[error("the source of {package} cannot be unpacked: {source}")]
    Malformed {
        /// `<name>-<version>`.
        package: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// It cannot be written or read on disk.
    #[error("the source of {package} cannot be stored in {}: {source}", path.display())]
    Io {
        /// `<name>-<version>`.
        package: String,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The manifest could not be fetched.
    #[error(transparent)]
    Sync(#[from] SyncError),
}

impl FetchError {
    /// Whether something could not be trusted. (Exit code 4.)
    pub fn is_trust(&self) -> bool {
        match self {
            Self::Hash { .. } | Self::Manifest { .. } | Self::Unsafe { .. } | Self::Malformed { .. } => true,
            Self::Transport { source, .. } => matches!(source, TransportError::TooBig { .. }),
            Self::Sync(source) => source.is_trust(),
            _ => false,
        }
    }

    /// Whether no mirror could be asked. (Exit code 3.)
    pub fn is_offline(&self) -> bool {
        match self {
            Self::NotCached { .. } => true,
            Self::Transport { source, .. } => source.is_offline(),
            Self::Sync(source) => source.is_transport(),
            _ => false,
        }
    }

    /// Whether the disk is full.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => is_full(source),
            Self::Transport {
                source: TransportError::Write { source, .. },
                ..
            } => is_full(source),
            _ => false,
        }
    }

    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Transport { source, .. } => source.hint(),
            Self::Sync(source) => source.hint(),
            Self::Missing { .. } => Some("the mirror may be in the middle of an update: try again later".to_owned()),
            Self::NotCached { .. } => Some("run without `--offline`, or add a file:// mirror".to_owned()),
            Self::Io { source, path, .. } => files::hint(path, source),
            Self::Hash { .. } => Some(
                "the mirror or the connection may be hostile or broken: try another mirror, and tell the publisher"
                    .to_owned(),
            ),
            Self::Manifest { .. } | Self::Unsafe { .. } | Self::Malformed { .. } => {
                Some("nothing of it was used; tell the publisher of the package".to_owned())
            }
        }
    }
}
