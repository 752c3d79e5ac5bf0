//! The names of things in the tree.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::conf::is_name;
use crate::event::Subject;

/// One version of a package. Both parts are safe as one part of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DkmsId {
    /// PACKAGE_NAME.
    pub module: String,
    /// PACKAGE_VERSION.
    pub version: String,
}

impl DkmsId {
    /// Takes the two names; None if one of them cannot be a part of a path.
    pub fn new(module: &str, version: &str) -> Option<DkmsId> {
        (is_name(module) && is_name(version)).then(|| DkmsId {
            module: module.to_owned(),
            version: version.to_owned(),
        })
    }

    /// Reads `module/version`.
    pub fn parse(text: &str) -> Option<DkmsId> {
        let (module, version) = text.split_once('/')?;
        DkmsId::new(module, version)
    }

    /// `module-version`, as its source directory is called.
    pub fn dashed(&self) -> String {
        format!("{}-{}", self.module, self.version)
    }

    /// What events are about.
    pub fn subject(&self, kernel: Option<&KernelId>) -> Subject {
        Subject {
            module: self.module.clone(),
            version: self.version.clone(),
            kernel: kernel.map(|kernel| (kernel.release.clone(), kernel.arch.clone())),
        }
    }
}

impl fmt::Display for DkmsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.module, self.version)
    }
}

/// A kernel by name: it need not be there (any more).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KernelId {
    /// As in `uname -r`.
    pub release: String,
    /// As in `uname -m`.
    pub arch: String,
}

impl KernelId {
    /// Takes the two names; None if one of them cannot be a part of a path.
    pub fn new(release: &str, arch: &str) -> Option<KernelId> {
        (crate::kernel::is_release(release) && is_name(arch)).then(|| KernelId {
            release: release.to_owned(),
            arch: arch.to_owned(),
        })
    }
}

impl fmt::Display for KernelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.release, self.arch)
    }
}

impl From<&crate::kernel::KernelTarget> for KernelId {
    fn from(kernel: &crate::kernel::KernelTarget) -> KernelId {
        KernelId {
            release: kernel.release.clone(),
            arch: kernel.arch.clone(),
        }
    }
}
