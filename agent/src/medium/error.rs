//! Why a medium could not be made.

use std::io;
use std::path::PathBuf;

/// Why a medium could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MediumError {
    /// A file or directory of it cannot be written.
    #[error("the medium cannot be written: {}: {source}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The directory has files that are not those of a medium.
    #[error("{} is not empty, and is no medium: it is not overwritten", path.display())]
    NotAMedium {
        /// The directory.
        path: PathBuf,
    },
    /// Another process writes it.
    #[error("another process writes the medium {}", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// What was written cannot be read back.
    #[error("the medium {} cannot be used: {why}", path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// There is no program that makes ISO images.
    #[error("there is no program that makes ISO images: xorriso, genisoimage or mkisofs")]
    NoTool,
    /// The program that makes the image failed.
    #[error("{tool} could not make {}: {why}", path.display())]
    Tool {
        /// The program.
        tool: String,
        /// The image.
        path: PathBuf,
        /// What it said.
        why: String,
    },
    /// It is not said for which machine.
    #[error("a medium is made for the devices of a machine, and none is named")]
    NoDevices,
    /// It is said for two machines.
    #[error("a medium is made for this machine or for the one of --devices, and not for both")]
    TwoMachines,
    /// It is not said for which kernel.
    #[error("a medium for another machine is made for kernels that are named, and none is")]
    NoKernel,
}

impl MediumError {
    /// Whether the command line lacks something. (Exit code 2.)
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::NotAMedium { .. } | Self::NoDevices | Self::TwoMachines | Self::NoKernel
        )
    }

    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Write { path, source } => return crate::files::hint(path, source),
            Self::NotAMedium { .. } => "name a directory that is empty or not there yet".to_owned(),
            Self::InUse { .. } => "wait until it is done".to_owned(),
            Self::Unusable { path, .. } => format!(
                "the disk may be damaged: remove {} and make it again, or use another disk",
                path.display()
            ),
            Self::NoTool => "`apt install xorriso`, or name a directory, and copy that".to_owned(),
            Self::Tool { .. } => return None,
            Self::NoDevices => {
                "--this-machine, or `dkms-fetch devices --export FILE` on the other machine and --devices FILE here"
                    .to_owned()
            }
            Self::TwoMachines => "leave one of them out".to_owned(),
            Self::NoKernel => "--kernel RELEASE, as `uname -r` prints it on the other machine".to_owned(),
        })
    }
}
