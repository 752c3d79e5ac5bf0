//! What this program installed by package managers: noted before it begins, and taken away by the same manager.

use std::fs;
use std::io;
use std::path::Path;

use dkms_engine::distribution::PackageManager;
use dkms_engine::root::Root;
use serde::{Deserialize, Serialize};

use super::error::ToolchainError;
use super::manager::Manager;
use super::package::{Installation, Package, names};
use crate::files;

/// What this program installed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    packages: Vec<Noted>,
}

/// A package that this program installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Noted {
    /// By apt, where a package has one version at a time: its name.
    ByApt(String),
    /// By another manager: many kernels' headers have the same name.
    By {
        /// The name of the manager.
        manager: String,
        /// The package.
        #[serde(flatten)]
        package: Package,
    },
}

impl Noted {
    fn new(manager: PackageManager, package: &Package) -> Self {
        match manager {
            PackageManager::Apt => Self::ByApt(package.name.clone()),
            other => Self::By {
                manager: other.name().to_owned(),
                package: package.clone(),
            },
        }
    }

    /// The package, if this manager installed it.
    fn of(&self, by: PackageManager) -> Option<Package> {
        match self {
            Self::ByApt(name) => (by == PackageManager::Apt).then(|| Package::named(name)),
            Self::By { manager, package } => (manager == by.name()).then(|| package.clone()),
        }
    }
}

impl Note {
    fn read(path: &Path) -> Result<Self, ToolchainError> {
        let failed = |source| ToolchainError::Note {
            path: path.to_owned(),
            source,
        };
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| failed(error.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(failed(error)),
        }
    }

    fn write(&self, path: &Path) -> Result<(), ToolchainError> {
        let written = if self.packages.is_empty() {
            files::remove(path)
        } else {
            let text = serde_json::to_vec(self).unwrap_or_default();
            files::write_atomically(path, &text)
        };
        written.map_err(|source| ToolchainError::Note {
            path: path.to_owned(),
            source,
        })
    }

    fn add(&mut self, manager: PackageManager, packages: &[Package]) {
        for package in packages {
            let noted = Noted::new(manager, package);
            if !self.packages.contains(&noted) {
                self.packages.push(noted);
            }
        }
    }

    /// What this manager installed.
    fn of(&self, manager: PackageManager) -> Vec<Package> {
        self.packages.iter().filter_map(|one| one.of(manager)).collect()
    }

    fn forget(&mut self, manager: PackageManager) {
        self.packages.retain(|one| one.of(manager).is_none());
    }
}

/// Installs it; `note` is the file that remembers what was installed.
///
/// # Errors
/// When the package manager fails. What it has installed is noted.
pub fn install(manager: &Manager<'_>, installation: &Installation, note: &Path) -> Result<(), ToolchainError> {
    let mut noted = Note::read(note)?;
    noted.add(manager.kind(), &installation.packages);
    noted.write(note)?;
    manager.install(installation)
}

/// Takes away what was installed, by the manager that installed it, and tells `removed` its name and those of the packages.
///
/// # Errors
/// When other packages need it by now, or the package manager fails.
pub fn take_away(
    root: &Root,
    offline: bool,
    note: &Path,
    mut removed: impl FnMut(PackageManager, Vec<String>),
) -> Result<(), ToolchainError> {
    let mut noted = Note::read(note)?;
    for kind in Manager::KINDS {
        let packages = noted.of(kind);
        if packages.is_empty() {
            continue;
        }
        let Some(manager) = Manager::of_kind(kind, root, offline) else {
            return Err(ToolchainError::Gone {
                manager: kind,
                packages: names(&packages),
            });
        };
        let there = manager.installed(&packages)?;
        if !there.is_empty() {
            manager.remove(&there)?;
        }
        noted.forget(kind);
        noted.write(note)?;
        if !there.is_empty() {
            removed(kind, names(&there));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_is_there_as_long_as_something_is_installed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lib/toolchain.json");
        assert_eq!(Note::read(&path).unwrap(), Note::default());
        let mut note = Note::default();
        let devel = Package::rpm("kernel-devel", "6.1.0-9", "x86_64").unwrap();
        note.add(PackageManager::Apt, &[Package::named("make")]);
        note.add(PackageManager::Dnf, std::slice::from_ref(&devel));
        note.add(PackageManager::Dnf, std::slice::from_ref(&devel));
        note.write(&path).unwrap();
        assert_eq!(Note::read(&path).unwrap(), note);
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "{\"packages\":[\"make\",{\"manager\":\"dnf\",\"name\":\"kernel-devel\",\"version\":\"6.1.0-9\",\"arch\":\"x86_64\"}]}"
        );
        assert_eq!(note.of(PackageManager::Dnf), [devel]);
        assert_eq!(note.of(PackageManager::Zypper), []);
        note.forget(PackageManager::Dnf);
        assert_eq!(note.packages, [Noted::ByApt("make".to_owned())]);
        Note::default().write(&path).unwrap();
        assert!(!path.exists());
        fs::write(&path, "?").unwrap();
        assert!(Note::read(&path).is_err());
    }

    #[test]
    fn a_note_that_names_no_manager_is_of_apt() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("toolchain.json");
        fs::write(&path, "{\"packages\":[\"gcc-12\",\"make\"]}").unwrap();
        let note = Note::read(&path).unwrap();
        assert_eq!(
            note.of(PackageManager::Apt),
            [Package::named("gcc-12"), Package::named("make")]
        );
    }
}
