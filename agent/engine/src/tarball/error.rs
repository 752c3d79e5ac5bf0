//! Why a tarball was not written or read.

use std::io;
use std::path::{Path, PathBuf};

/// Why a tarball was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum TarballError {
    /// It is not there.
    #[error("the tarball {} does not exist", .0.display())]
    Missing(PathBuf),
    /// It cannot be read or written.
    #[error("cannot {what} {}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// An entry that is refused.
    #[error("{} cannot be unpacked: {entry:?} {why}", .path.display())]
    Unsafe {
        /// The tarball.
        path: PathBuf,
        /// The entry's name.
        entry: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It holds no dkms.conf.
    #[error("there is no dkms.conf in the tarball {}", .0.display())]
    NotDkms(PathBuf),
}

impl TarballError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing(path) => Some(format!("ls -l {}", path.display())),
            Self::Io { source, path, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some(format!("df {}", path.parent().unwrap_or(path).display()))
            }
            Self::Io { .. } => None,
            Self::Unsafe { path, .. } | Self::NotDkms(path) => Some(format!("tar -tvf {}", path.display())),
        }
    }
}

pub(super) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TarballError {
    let path = path.to_owned();
    move |source| TarballError::Io { what, path, source }
}
