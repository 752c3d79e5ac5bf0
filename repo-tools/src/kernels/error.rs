//! Why a kernel of a distribution cannot be had.

use dkms_engine::sandbox::Layers;
use thiserror::Error;

use crate::files::FileError;
use crate::import::ImportError;

/// The kernel of a suite cannot be had.
#[derive(Debug, Error)]
pub enum KernelsError {
    /// No name of suites.
    #[error("{0:?} names no kernel: it is neither a release nor debian:SUITE,SUITE")]
    Name(String),
    /// An architecture whose name in Debian is not known.
    #[error("the name that Debian has for the architecture {0} is not known")]
    Arch(String),
    /// Its programs cannot be run, for they may only run in the sandbox.
    #[error("the compiler of debian:{suite} cannot be run: there is no mount namespace on this machine ({reason})")]
    NoSandbox {
        /// The suite.
        suite: String,
        /// Why not.
        reason: String,
    },
    /// The archive cannot be read, or is not what was signed.
    #[error("the kernel of debian:{suite} cannot be fetched")]
    Archive {
        /// The suite.
        suite: String,
        /// Why.
        #[source]
        source: ImportError,
    },
    /// There is no package that stands for the current headers.
    #[error("debian:{suite} has no package {package}")]
    NoKernel {
        /// The suite.
        suite: String,
        /// The package.
        package: String,
    },
    /// Something that is needed is not there.
    #[error("debian:{suite} has no package {package}, which {needed_by} needs")]
    Missing {
        /// The suite.
        suite: String,
        /// The package, with the versions that would do.
        package: String,
        /// What needs it.
        needed_by: String,
    },
    /// It is larger than any kernel.
    #[error("the packages of debian:{suite} are larger than {most_bytes} bytes")]
    TooLarge {
        /// The suite.
        suite: String,
        /// The most that is fetched.
        most_bytes: u64,
    },
    /// A package has the right hash and cannot be unpacked.
    #[error("{package} of debian:{suite} cannot be unpacked: {why}")]
    Unpack {
        /// The suite.
        suite: String,
        /// The package.
        package: String,
        /// Why.
        why: String,
    },
    /// All packages are there, and no kernel can be built for.
    #[error("the packages of debian:{suite} have no {what} of the kernel {kernel} that can be used")]
    Incomplete {
        /// The suite.
        suite: String,
        /// The release of the kernel.
        kernel: String,
        /// What is missing.
        what: &'static str,
    },
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl KernelsError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Name(_) => "--kernel debian:bookworm,trixie, or a release such as 6.1.0-50-amd64".to_owned(),
            Self::Arch(_) => "install headers of a kernel, and name its release by --kernel".to_owned(),
            Self::NoSandbox { .. } => return Layers::here().hint(),
            Self::Archive {
                source: ImportError::Expired { .. },
                ..
            } => "take another mirror by --mirror; --allow-expired-index takes it, for archives of the past".to_owned(),
            Self::Archive { source, .. } => return source.hint(),
            Self::NoKernel { .. } => {
                "name a suite that has kernels for this architecture, such as trixie or trixie-backports".to_owned()
            }
            Self::Missing { .. } => {
                "the mirror may be in the middle of an update: try again in an hour, or take another one by --mirror"
                    .to_owned()
            }
            Self::TooLarge { .. } => "is --mirror an archive of Debian?".to_owned(),
            Self::Unpack { .. } => "is there room for it (df)? --kernel-cache names another directory".to_owned(),
            Self::Incomplete { .. } => "name another suite; nothing of this one was kept".to_owned(),
            Self::File(error) => return error.hint(),
        })
    }

    /// Whether something is not what its signature says.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Archive { source, .. } if source.is_refusal())
    }
}
