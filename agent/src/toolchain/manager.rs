//! The package manager of a machine or an image.

use dkms_engine::distribution::{Distribution, PackageManager};
use dkms_engine::root::Root;

use super::apt::Apt;
use super::dnf::Dnf;
use super::error::ToolchainError;
use super::package::{Installation, Package};
use super::zypper::Zypper;

/// A package manager that answers the questions of this module. Each is asked first what it would do, and then told to do just that.
#[derive(Debug)]
pub enum Manager<'a> {
    /// Of Debian and Ubuntu.
    Apt(Apt<'a>),
    /// Of Fedora and RHEL.
    Dnf(Dnf<'a>),
    /// Of openSUSE and SLES.
    Zypper(Zypper<'a>),
}

impl<'a> Manager<'a> {
    /// All that can be used.
    pub(super) const KINDS: [PackageManager; 3] = [PackageManager::Apt, PackageManager::Dnf, PackageManager::Zypper];

    /// That of `root`: the one of its distribution; of a distribution that we do not know, one that is there. An image is served by the
    /// programs of this machine. One that works offline uses no network.
    pub fn of(root: &'a Root, offline: bool) -> Option<Self> {
        match Distribution::of(root).package_manager() {
            Some(kind) => Self::of_kind(kind, root, offline),
            None => Self::KINDS
                .into_iter()
                .find_map(|kind| Self::of_kind(kind, root, offline)),
        }
    }

    /// One of `root`, if it is there.
    pub(super) fn of_kind(kind: PackageManager, root: &'a Root, offline: bool) -> Option<Self> {
        match kind {
            PackageManager::Apt => Some(Apt::of(root, offline)).filter(Apt::is_there).map(Self::Apt),
            PackageManager::Dnf => Some(Dnf::of(root, offline)).filter(Dnf::is_there).map(Self::Dnf),
            PackageManager::Zypper => Some(Zypper::of(root, offline))
                .filter(Zypper::is_there)
                .map(Self::Zypper),
            PackageManager::Pacman => None,
        }
    }

    /// Which one it is.
    pub fn kind(&self) -> PackageManager {
        match self {
            Self::Apt(_) => PackageManager::Apt,
            Self::Dnf(_) => PackageManager::Dnf,
            Self::Zypper(_) => PackageManager::Zypper,
        }
    }

    /// Whether its lists are its own, and not those of the machine.
    pub fn is_private(&self) -> bool {
        match self {
            Self::Apt(apt) => apt.is_private(),
            Self::Dnf(_) | Self::Zypper(_) => false,
        }
    }

    /// What would be installed for packages of these names, with all that they need and nothing that is only recommended. Lists that do not
    /// know one are brought up to date first, if that is allowed.
    ///
    /// With the headers of `release` come those of later kernels, where a package has to bring them.
    ///
    /// # Errors
    /// When it cannot be installed without a change of other packages.
    pub fn plan(&self, names: &[String], release: &str, may_update: bool) -> Result<Installation, ToolchainError> {
        match self {
            Self::Apt(apt) => apt.plan_with_following(names, release, may_update),
            Self::Dnf(dnf) => dnf.plan(names, may_update),
            Self::Zypper(zypper) => zypper.plan(names, may_update),
        }
    }

    /// Installs just that: other versions, or more, would be refused.
    ///
    /// # Errors
    /// When the manager does.
    pub(super) fn install(&self, installation: &Installation) -> Result<(), ToolchainError> {
        match self {
            Self::Apt(apt) => apt.install(installation),
            Self::Dnf(dnf) => dnf.install(installation),
            Self::Zypper(zypper) => zypper.install(installation),
        }
    }

    /// What is installed of these packages.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub(super) fn installed(&self, packages: &[Package]) -> Result<Vec<Package>, ToolchainError> {
        match self {
            Self::Apt(apt) => apt.installed(packages),
            Self::Dnf(dnf) => dnf.installed(packages),
            Self::Zypper(zypper) => zypper.installed(packages),
        }
    }

    /// Removes packages, unless others would have to go with them.
    ///
    /// # Errors
    /// When another package needs one, or the manager fails.
    pub(super) fn remove(&self, packages: &[Package]) -> Result<(), ToolchainError> {
        match self {
            Self::Apt(apt) => apt.remove(packages),
            Self::Dnf(dnf) => dnf.remove(packages),
            Self::Zypper(zypper) => zypper.remove(packages),
        }
    }
}
