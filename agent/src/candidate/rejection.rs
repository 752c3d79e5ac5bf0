//! Why a package that matches a device is not offered for it.

use std::fmt;

use serde::Serialize;

/// The directory of the role that may sign for any device.
pub const CURATED: &str = "curated";

/// The identity of a package: its name and its role, because two vendors may use one name for different packages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageKey {
    /// The directory of the role that signs it: `curated`, `by-id/pci-10ec`. Empty where it is not known.
    pub scope: String,
    /// `PACKAGE_NAME`.
    pub name: String,
}

impl PackageKey {
    /// Whether both are one package. Where a role is not known, only the names are compared.
    pub fn is_same(&self, other: &Self) -> bool {
        let is_unknown = self.scope.is_empty() || other.scope.is_empty();
        self.name == other.name && (is_unknown || self.scope == other.scope)
    }
}

/// A package version of one repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct OfferId {
    /// `PACKAGE_NAME`.
    pub name: String,
    /// The version in the index.
    pub version: String,
    /// The repository's name, as in its configuration.
    pub repository: String,
    /// The directory of the role that signs it: `curated`, `by-id/pci-10ec`. Empty where it is not known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scope: String,
}

impl OfferId {
    /// The package, without its version and repository.
    pub fn key(&self) -> PackageKey {
        PackageKey {
            scope: self.scope.clone(),
            name: self.name.clone(),
        }
    }

    /// Whether both are versions of one package.
    pub fn is_same_package(&self, other: &Self) -> bool {
        self.scope == other.scope && self.name == other.name
    }
}

impl fmt::Display for OfferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// A package that matches a device and is not offered for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// The package.
    pub package: OfferId,
    /// Why it is not offered.
    #[serde(flatten)]
    pub why: Rejection,
}

impl Rejected {
    /// Whether the owner of the machine holds it.
    pub fn is_hold(&self) -> bool {
        matches!(&self.why, Rejection::Denied { reason } if reason == HELD)
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.package, self.why)
    }
}

/// The reason for a package that is held.
pub(super) const HELD: &str = "held on this machine";

/// The reason, the strongest first: a package that is denied for safety is not reported as outranked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum Rejection {
    /// The repository revoked it.
    Revoked {
        /// The reason that the revocation gives.
        reason: String,
    },
    /// The repository no longer offers it.
    Withdrawn,
    /// Its author or this machine's owner says that it is not for this kernel, architecture or machine.
    Unfit {
        /// What does not fit, in words.
        reason: String,
    },
    /// A trial build on this very kernel failed.
    KnownToFail {
        /// The kernel of the trial build.
        kernel: String,
        /// The day of the trial build.
        date: String,
        /// Why the build failed.
        reason: String,
    },
    /// It failed on this machine before, and is not tried again by itself.
    Quarantined {
        /// What failed.
        reason: String,
    },
    /// The policy of this machine denies it.
    Denied {
        /// By which setting.
        reason: String,
    },
    /// Its driver is part of this kernel.
    Upstream {
        /// The first release that has it.
        since: String,
    },
    /// It runs scripts as root, and the policy does not name it.
    RootScripts {
        /// The directives of its dkms.conf.
        scripts: Vec<String>,
    },
    /// It has a module of the name of one of the kernel's own, and may not take its place.
    ReplacesKernelModule {
        /// The module.
        module: String,
        /// Why it may not.
        reason: String,
    },
    /// It is offered to a part of the machines only, and this one is not among them yet.
    NotYetRolledOut,
    /// It needs a package that is not available.
    Needs {
        /// The name in `BUILD_DEPENDS`.
        name: String,
        /// Why that one is not available.
        reason: String,
    },
    /// It may not be installed beside a package that serves this machine better.
    ConflictsWith {
        /// The other package.
        #[serde(rename = "other")]
        package: OfferId,
    },
    /// Another package was ranked before it.
    Outranked {
        /// The one that was chosen.
        by: OfferId,
        /// By which criterion.
        because: String,
    },
    /// The device is served already; this package could serve it too.
    NotNeeded,
    /// The manifest, which is the authority, does not claim the device.
    NotInManifest,
    /// It could not be fetched, built or installed in this run.
    Failed {
        /// What failed.
        reason: String,
    },
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revoked { reason } => write!(f, "revoked by its repository: {reason}"),
            Self::Withdrawn => f.write_str("withdrawn by its repository"),
            Self::Unfit { reason } | Self::Denied { reason } | Self::Failed { reason } => f.write_str(reason),
            Self::KnownToFail { kernel, date, reason } if reason.is_empty() => {
                write!(f, "known not to build on {kernel} (tried {date})")
            }
            Self::KnownToFail { kernel, date, reason } => {
                write!(f, "known not to build on {kernel} (tried {date}): {reason}")
            }
            Self::Quarantined { reason } => write!(f, "failed here before: {reason}"),
            Self::Upstream { since } => write!(f, "part of the kernel since {since}"),
            Self::RootScripts { scripts } => {
                write!(
                    f,
                    "wants to run scripts as root ({}) and is not allowed to",
                    scripts.join(", ")
                )
            }
            Self::ReplacesKernelModule { module, reason } => {
                write!(f, "may not replace the kernel's own module {module}: {reason}")
            }
            Self::NotYetRolledOut => f.write_str("not yet rolled out to this machine"),
            Self::Needs { name, reason } => write!(f, "needs {name} built first: {reason}"),
            Self::ConflictsWith { package } => write!(f, "conflicts with {package}"),
            Self::Outranked { by, because } => write!(f, "{by} ranks before it: {because}"),
            Self::NotNeeded => f.write_str("matches, and is not needed"),
            Self::NotInManifest => f.write_str("its signed manifest does not claim the device"),
        }
    }
}
