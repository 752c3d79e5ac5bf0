//! Why an archive cannot be read.

use std::path::PathBuf;

use thiserror::Error;

/// An archive of a distribution cannot be read, or is not what was signed.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The address is of no known kind.
    #[error("{0:?} is no address of an archive")]
    Address(String),
    /// A file did not arrive.
    #[error("{url} cannot be fetched: {why}")]
    Fetch {
        /// Its address.
        url: String,
        /// What the server or the file system said.
        why: String,
    },
    /// A file is larger than the index says, or than is taken.
    #[error("{url} is larger than {most_bytes} bytes")]
    TooLarge {
        /// Its address.
        url: String,
        /// The most that is read.
        most_bytes: u64,
    },
    /// The program that checks signatures could not be run.
    #[error("the signature of {url} cannot be checked: {why}")]
    NoVerifier {
        /// The signed file.
        url: String,
        /// What failed.
        why: String,
    },
    /// The keyring is not readable.
    #[error("the keyring {path:?} cannot be read: {source}")]
    Keyring {
        /// The keyring.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No key of the keyring has signed it.
    #[error("{url} is not signed by a key of {keyring:?}: {why}")]
    Signature {
        /// The signed file.
        url: String,
        /// The keyring.
        keyring: PathBuf,
        /// What gpgv said.
        why: String,
    },
    /// The signed index has expired.
    #[error("{url} was good until {until}")]
    Expired {
        /// The signed file.
        url: String,
        /// Its last moment.
        until: String,
    },
    /// A file is not the one that was signed for.
    #[error("{url} is not what the signed index says: its SHA-256 is another one")]
    Hash {
        /// Its address.
        url: String,
    },
    /// The index has another form than expected.
    #[error("{url} is not a sound index: {why}")]
    Index {
        /// Its address.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// There is no such component for this architecture.
    #[error("{url} has no packages of the component {component} for {arch}")]
    NoIndex {
        /// The suite.
        url: String,
        /// The component.
        component: String,
        /// The architecture.
        arch: String,
    },
}

impl ImportError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Address(_) => "--mirror https://deb.debian.org/debian, or file:///PATH of a mirror".to_owned(),
            Self::Fetch { .. } => {
                "is it the address before dists/, and the name of a suite there? The same command goes on where it was"
                    .to_owned()
            }
            Self::TooLarge { .. } => "the archive is damaged, or holds something else than drivers".to_owned(),
            Self::NoVerifier { .. } => "apt-get install gpgv".to_owned(),
            Self::Keyring { .. } => {
                "Debian's is /usr/share/keyrings/debian-archive-keyring.gpg, of the package debian-archive-keyring"
                    .to_owned()
            }
            Self::Signature { .. } => {
                "is it the keyring of this archive, in binary form (`gpg --dearmor`)? Nothing of it was taken"
                    .to_owned()
            }
            Self::Expired { .. } => {
                "the mirror is out of date: take another one; is this machine's clock right?".to_owned()
            }
            Self::Hash { .. } => {
                "the mirror may be in the middle of an update: try again in an hour; if it stays so, take another one"
                    .to_owned()
            }
            Self::Index { .. } => "is this an apt archive?".to_owned(),
            Self::NoIndex { .. } => "--component and --arch as the archive has them, such as main and amd64".to_owned(),
        })
    }

    /// Whether something is not what its signature says.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Signature { .. } | Self::Expired { .. } | Self::Hash { .. })
    }
}
