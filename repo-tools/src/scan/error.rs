//! Why a scan cannot be carried out.

use dkms_engine::kernel::KernelError;
use dkms_engine::tree::TreeError;

use crate::files::FileError;
use crate::stage::StageError;

/// Why a scan cannot be carried out at all. What happens to one package is a [`super::facts::Trial`].
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A kernel to build for is not there.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// There is no kernel to build for.
    #[error("there are no kernel headers on this machine to build for")]
    NoKernels,
    /// The scratch tree cannot be used.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The source is another one than that which was built.
    #[error("the package was replaced while it was being built")]
    Replaced,
    /// The staging area refused.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl ScanError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Kernel(error) => error.hint(),
            Self::NoKernels => Some("install kernel headers, such as `apt-get install linux-headers-amd64`, or name Debian's by --kernel debian:trixie".to_owned()),
            Self::Tree(error) => error.hint(),
            Self::Replaced => Some("run the same command again".to_owned()),
            Self::Stage(error) => error.hint(),
            Self::File(error) => error.hint(),
        }
    }
}
