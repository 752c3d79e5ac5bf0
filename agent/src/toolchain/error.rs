//! Why nothing was installed or taken away.

use std::fmt;
use std::io;
use std::path::PathBuf;

use dkms_engine::distribution::PackageManager;

use crate::files;

/// What would happen to a package that is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It would go.
    Remove,
    /// Another version would come in its place.
    Upgrade,
    /// An older version would come in its place.
    Downgrade,
    /// It would be unpacked again.
    Reinstall,
    /// Another architecture or another maker's would come in its place, or something that is not a package would change.
    Replace,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Remove => "remove",
            Self::Upgrade => "upgrade",
            Self::Downgrade => "downgrade",
            Self::Reinstall => "reinstall",
            Self::Replace => "replace",
        })
    }
}

/// Why a toolchain was not installed, or not taken away.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// Another package manager.
    #[error("what a build needs is installed by apt, dnf or zypper only, and this system has none of them")]
    NoManager,
    /// A medium has packages for apt.
    #[error("packages on a medium are those of apt only, and this system has no apt")]
    NoApt,
    /// The manager that installed packages is not there any more.
    #[error("{} was installed by {}, which is not there any more", packages.join(", "), manager.name())]
    Gone {
        /// The manager.
        manager: PackageManager,
        /// The packages.
        packages: Vec<String>,
    },
    /// The manager does not know packages.
    #[error("{} offers no package {}", manager.name(), packages.join(", "))]
    NotOffered {
        /// The manager.
        manager: PackageManager,
        /// The packages.
        packages: Vec<String>,
    },
    /// Packages need what cannot be there together.
    #[error("{} finds no way to install {}: {problem}", manager.name(), wanted.join(", "))]
    Unsolvable {
        /// The manager.
        manager: PackageManager,
        /// What was to be installed.
        wanted: Vec<String>,
        /// What it says.
        problem: String,
    },
    /// Other packages would have to be changed.
    #[error(
        "{} would have to {change} {} for {}: nothing was installed", manager.name(), packages.join(", "), wanted.join(", ")
    )]
    WouldChange {
        /// The manager.
        manager: PackageManager,
        /// What it would do.
        change: Change,
        /// What was to be installed.
        wanted: Vec<String>,
        /// What would be changed.
        packages: Vec<String>,
    },
    /// Other packages need what was to be taken away.
    #[error("{} stay installed: {} would have to be changed with them", packages.join(", "), by.join(", "))]
    Needed {
        /// What was to be removed.
        packages: Vec<String>,
        /// What else would be removed or installed.
        by: Vec<String>,
    },
    /// A package of an archive whose list nobody signed.
    #[error("{uri} is of an archive without a signed list (InRelease): another machine could not verify it")]
    NotSigned {
        /// Where it is.
        uri: String,
    },
    /// The package manager failed.
    #[error("{command} failed: {message}")]
    Failed {
        /// The command.
        command: String,
        /// What it says.
        message: String,
    },
    /// The note of what was installed cannot be written or read.
    #[error("{} cannot be read or written: {source}", path.display())]
    Note {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
}

impl ToolchainError {
    /// Suggested fix; none where the missing parts themselves are explained.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoManager => return None,
            Self::NoApt => {
                "dkms-fetch media make without --toolchain; what builds need then comes from the machine's own sources"
                    .to_owned()
            }
            Self::Gone { manager, .. } => {
                format!("remove them by hand; {} was removed from this system", manager.name())
            }
            Self::NotOffered { manager, packages } => format!(
                "{}; where {} comes from another archive, add that to {}",
                refresh(*manager),
                packages.join(" "),
                sources(*manager)
            ),
            Self::WouldChange { manager, wanted, .. } | Self::Unsolvable { manager, wanted, .. } => {
                format!("look at it: {} {}", simulate(*manager), wanted.join(" "))
            }
            Self::NotSigned { .. } => "leave out --toolchain, or take that archive out of apt's sources".to_owned(),
            Self::Needed { .. } => "toolchain_keep = true in config.toml keeps them without trying".to_owned(),
            Self::Failed { command, .. } => format!("by hand: {command}"),
            Self::Note { path, source } => return files::hint(path, source),
        })
    }
}

/// The command that brings its lists up to date.
fn refresh(manager: PackageManager) -> &'static str {
    match manager {
        PackageManager::Apt => "apt-get update",
        PackageManager::Dnf => "dnf makecache --refresh",
        PackageManager::Zypper => "zypper refresh",
        PackageManager::Pacman => "pacman -Sy",
    }
}

/// Where it knows archives from.
fn sources(manager: PackageManager) -> &'static str {
    match manager {
        PackageManager::Apt => "apt's sources",
        PackageManager::Dnf => "/etc/yum.repos.d",
        PackageManager::Zypper => "zypper's repositories",
        PackageManager::Pacman => "pacman.conf",
    }
}

/// The command that says what an installation would do, and does nothing.
fn simulate(manager: PackageManager) -> &'static str {
    match manager {
        PackageManager::Apt => "apt-get install -s",
        PackageManager::Dnf => "dnf install --assumeno --setopt=install_weak_deps=False",
        PackageManager::Zypper => "zypper install --dry-run --no-recommends",
        PackageManager::Pacman => "pacman -Sp",
    }
}
