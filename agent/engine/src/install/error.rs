//! Why modules were not installed or removed.

use std::path::PathBuf;

use super::version_check::Kept;
use crate::conf::ConfError;
use crate::package::{DkmsId, KernelId};
use crate::script::{ScriptError, ScriptNotAllowed};
use crate::tree::TreeError;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The tree or a place in it could not be used.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The package's dkms.conf is not usable.
    #[error(transparent)]
    Conf(#[from] ConfError),
    /// There is no build to install.
    #[error("{package} is not built for {kernel}")]
    NotBuilt {
        /// The package.
        package: DkmsId,
        /// The kernel.
        kernel: KernelId,
    },
    /// The kernel has no directory of modules.
    #[error("{package} cannot be installed: there is no kernel in {}", .dir.display())]
    NoKernel {
        /// The package.
        package: DkmsId,
        /// Where the kernel's modules should be.
        dir: PathBuf,
    },
    /// Every module is in the kernel's own tree in the same or a newer version.
    #[error("{package} is not installed: {}", .kept.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    NotNewer {
        /// The package.
        package: DkmsId,
        /// What was found.
        kept: Vec<Kept>,
    },
    /// It has a script that may not run.
    #[error("{} cannot be installed", .0.package)]
    ScriptNotAllowed(#[source] ScriptNotAllowed),
    /// PRE_INSTALL failed.
    #[error("{package} cannot be installed")]
    PreInstall {
        /// The package.
        package: DkmsId,
        /// How it failed.
        #[source]
        source: Box<ScriptError>,
    },
}

impl InstallError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            InstallError::Tree(error) => error.hint(),
            InstallError::Conf(error) => error.hint(),
            InstallError::NotBuilt { package, kernel } => {
                Some(format!("dkms build {package} -k {}/{}", kernel.release, kernel.arch))
            }
            InstallError::NoKernel { .. } => Some("ls /lib/modules".into()),
            InstallError::NotNewer { package, .. } => Some(format!("dkms install --force {package}")),
            InstallError::ScriptNotAllowed(error) => error.hint(),
            InstallError::PreInstall { source, .. } => source.hint(),
        }
    }
}
