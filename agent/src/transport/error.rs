//! Errors of transports.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::files::is_full;

/// Why a file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// A path asked for is not a plain relative path.
    #[error("{path:?} is not a path inside a repository")]
    Path {
        /// The path.
        path: String,
    },
    /// The address is plain http beyond loopback.
    #[error("plain http is not allowed for {url}")]
    PlainHttp {
        /// The address.
        url: String,
    },
    /// This machine has no CA certificates, so no https server can be verified.
    #[error("no CA certificates are installed to verify {url}")]
    NoCertificates {
        /// The address.
        url: String,
    },
    /// The HTTP client itself cannot be made.
    #[error("the https client cannot be set up: {why}")]
    Client {
        /// The library's answer.
        why: String,
    },
    /// The server is not reached: no network, no name, no connection, no valid certificate.
    #[error("{url} cannot be reached: {why}")]
    Unreachable {
        /// The address.
        url: String,
        /// The library's answer.
        why: String,
    },
    /// The connection ended, or was silent, before the body was whole.
    #[error("the download of {url} was interrupted after {received} bytes: {why}")]
    Interrupted {
        /// The address.
        url: String,
        /// Bytes of the body that came.
        received: u64,
        /// The library's answer.
        why: String,
    },
    /// The server answered with an error.
    #[error("the server answered {status} for {url}")]
    Status {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// The time that a run has for a file, or for all metadata, is over.
    #[error(
        "{path} did not arrive in the {} s {}{}",
        allowed.as_secs_f64(),
        if *is_metadata { "that a run waits for metadata" } else { "that a file of its size may take" },
        last.as_ref().map(|error| format!(": {error}")).unwrap_or_default()
    )]
    OutOfTime {
        /// The file's place below the mirrors.
        path: String,
        /// How long was allowed.
        allowed: Duration,
        /// Whether that is for all metadata of the run.
        is_metadata: bool,
        /// The last failure before it.
        last: Option<Box<TransportError>>,
    },
    /// The server sends more than the file may have.
    #[error("{url} is longer than the {max_bytes} bytes allowed")]
    TooBig {
        /// The address.
        url: String,
        /// The limit.
        max_bytes: u64,
    },
    /// The server's answer violates the protocol.
    #[error("the download of {url} failed: {why}")]
    Protocol {
        /// The address.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// A file of a `file://` repository cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The download cannot be written on this machine.
    #[error("the download of {url} cannot be written: {source}")]
    Write {
        /// The address.
        url: String,
        /// The operating system's answer.
        source: io::Error,
    },
}

/// An address as it may be shown: without a password.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only on addresses that cannot have a user, and those have none to hide.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}

impl TransportError {
    /// Whether trying again may help.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Interrupted { .. } | Self::OutOfTime { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..),
            _ => false,
        }
    }

    /// Whether the cause is on this machine, the same for every mirror.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::Path { .. } | Self::Client { .. })
    }

    /// Whether the address is not allowed by the configuration.
    pub fn is_misconfigured(&self) -> bool {
        matches!(self, Self::PlainHttp { .. })
    }

    /// Whether no server can be reached: nothing new can be fetched, but the cache can be used.
    pub fn is_offline(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::NoCertificates { .. } | Self::PlainHttp { .. }
        ) || matches!(self, Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound)
            || matches!(self, Self::OutOfTime { last, .. } if last.as_deref().is_none_or(Self::is_offline))
    }

    /// How long the server asks to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::PlainHttp { .. } => {
                "use https://, or set `allow_plain_http = true` in /etc/dkms-fetch/config.toml".to_owned()
            }
            Self::NoCertificates { .. } => "`apt install ca-certificates` or `dnf install ca-certificates`".to_owned(),
            Self::Unreachable { .. } => {
                "is the network up? `--offline` uses what is cached; a file:// repository needs no network".to_owned()
            }
            Self::Status {
                retry_after: Some(after),
                ..
            } if !after.is_zero() => format!("try again in {} s", after.as_secs()),
            Self::OutOfTime { is_metadata: true, .. } => {
                "try again later, or give it more time: --network-budget SECONDS, or `metadata_s` in \
                 /etc/dkms-fetch/config.toml"
                    .to_owned()
            }
            Self::Interrupted { .. } => "try again later, or add another mirror to the repository's `urls`".to_owned(),
            Self::Status { .. } | Self::OutOfTime { .. } if self.may_pass() => "try again later".to_owned(),
            Self::Write { source, .. } if is_full(source) => "free some space: `df -h /var`".to_owned(),
            Self::File { path, .. } => format!("is the medium mounted? `ls -l {}`", path.display()),
            _ => return None,
        })
    }
}
