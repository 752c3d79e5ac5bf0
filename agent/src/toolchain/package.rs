//! Packages, and what a package manager says that it would do with them.

use std::fmt;

use dkms_engine::distribution::PackageManager;
use serde::{Deserialize, Serialize};

use super::error::{Change, ToolchainError};

/// A package of a distribution.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Its name. That of a .deb has the architecture at its end where that is a foreign one.
    pub name: String,
    /// Its version, with the release and, unless it is 0, the epoch of an .rpm. None where any version is meant.
    pub version: Option<String>,
    /// Its architecture, of an .rpm.
    pub arch: Option<String>,
}

impl Package {
    /// A package by its name, whatever its version.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: None,
            arch: None,
        }
    }

    /// An .rpm; none where these cannot be a name, a version and an architecture.
    pub(super) fn rpm(name: &str, version: &str, arch: &str) -> Option<Self> {
        let is_plain = |text: &str, more: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "._+~^-".contains(c) || more.contains(c);
            text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') && text.chars().all(allowed)
        };
        let version = version.strip_prefix("0:").unwrap_or(version);
        (is_plain(name, "") && is_plain(version, ":") && is_plain(arch, "")).then(|| Self {
            name: name.to_owned(),
            version: Some(version.to_owned()),
            arch: Some(arch.to_owned()),
        })
    }

    /// Whether it is one of these; what one of both does not say is not compared.
    pub(super) fn is_among(&self, packages: &[Self]) -> bool {
        fn agree(ours: Option<&String>, theirs: Option<&String>) -> bool {
            ours.is_none() || theirs.is_none() || ours == theirs
        }
        packages.iter().any(|one| {
            one.name == self.name
                && agree(one.version.as_ref(), self.version.as_ref())
                && agree(one.arch.as_ref(), self.arch.as_ref())
        })
    }
}

/// `NAME VERSION`.
impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.version {
            Some(version) => write!(f, " {version}"),
            None => Ok(()),
        }
    }
}

/// The names of packages.
pub(super) fn names(packages: &[Package]) -> Vec<String> {
    packages.iter().map(|one| one.name.clone()).collect()
}

/// Whether both are the same packages, in whatever order.
pub(super) fn same(ours: &[Package], theirs: &[Package]) -> bool {
    let (mut ours, mut theirs) = (ours.to_vec(), theirs.to_vec());
    ours.sort();
    theirs.sort();
    ours == theirs
}

/// What would be installed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installation {
    /// The packages, in the manager's order.
    pub packages: Vec<Package>,
    /// What is downloaded for them, in bytes.
    pub download_bytes: u64,
    /// What they take on the disk, in bytes.
    pub disk_bytes: u64,
}

/// All that a manager says that it would do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Transaction {
    pub(super) installs: Vec<Package>,
    pub(super) removals: Vec<Package>,
    /// Other changes of what is installed, by name.
    pub(super) changes: Vec<(Change, String)>,
}

impl Transaction {
    /// What it installs, if it does nothing else.
    pub(super) fn only_installs(
        self,
        manager: PackageManager,
        wanted: &[String],
    ) -> Result<Vec<Package>, ToolchainError> {
        let changed = |change, packages| ToolchainError::WouldChange {
            manager,
            change,
            wanted: wanted.to_vec(),
            packages,
        };
        if !self.removals.is_empty() {
            return Err(changed(Change::Remove, names(&self.removals)));
        }
        match self.changes.first() {
            Some(&(first, _)) => {
                let alike = self.changes.into_iter().filter(|(change, _)| *change == first);
                Err(changed(first, alike.map(|(_, name)| name).collect()))
            }
            None => Ok(self.installs),
        }
    }

    /// Whether it removes just these.
    pub(super) fn only_removes(self, packages: &[Package]) -> Result<(), ToolchainError> {
        let removed = self.removals.into_iter().filter(|one| !one.is_among(packages));
        let others = removed.chain(self.installs).map(|one| one.name);
        let by: Vec<String> = others.chain(self.changes.into_iter().map(|(_, name)| name)).collect();
        if by.is_empty() {
            return Ok(());
        }
        Err(ToolchainError::Needed {
            packages: names(packages),
            by,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rpm(name: &str, version: &str) -> Package {
        Package::rpm(name, version, "noarch").unwrap()
    }

    #[test]
    fn names_are_plain() {
        assert_eq!(Package::rpm("a", "0:1-1", "noarch"), Package::rpm("a", "1-1", "noarch"));
        assert!(Package::rpm("libstdc++6", "1:13.2.1~rc1^git+1-2.fc39", "x86_64").is_some());
        for (name, version, arch) in [
            ("--root=/", "1-1", "noarch"),
            ("a*", "1-1", "noarch"),
            ("a", "1-1 2", "noarch"),
            ("a", "1-1", ""),
            ("", "1-1", "noarch"),
        ] {
            assert_eq!(Package::rpm(name, version, arch), None, "{name}");
        }
    }

    #[test]
    fn nothing_but_installations() {
        let of = |transaction: Transaction| transaction.only_installs(PackageManager::Dnf, &["make".to_owned()]);
        let installs = || vec![rpm("make", "4.3-2")];
        let transaction = |removals, changes| Transaction {
            installs: installs(),
            removals,
            changes,
        };
        assert_eq!(of(transaction(vec![], vec![])).unwrap(), installs());
        let check = |removals, changes, expected: &str| {
            let error = of(transaction(removals, changes)).unwrap_err().to_string();
            assert_eq!(error, expected);
        };
        check(
            vec![rpm("old", "1-1")],
            vec![(Change::Upgrade, "libc".to_owned())],
            "dnf would have to remove old for make: nothing was installed",
        );
        check(
            vec![],
            vec![
                (Change::Downgrade, "libc".to_owned()),
                (Change::Upgrade, "other".to_owned()),
            ],
            "dnf would have to downgrade libc for make: nothing was installed",
        );
    }

    #[test]
    fn nothing_but_removals_of_what_was_installed() {
        let ours = [Package::named("kbuild"), rpm("make", "4.3-2")];
        let of = |removals: Vec<Package>| {
            let transaction = Transaction {
                removals,
                ..Transaction::default()
            };
            transaction.only_removes(&ours).map_err(|error| error.to_string())
        };
        assert_eq!(of(ours.to_vec()), Ok(()));
        assert_eq!(of(vec![rpm("kbuild", "1-1")]), Ok(()));
        let needed = "kbuild, make stay installed: make would have to be changed with them";
        assert_eq!(of(vec![rpm("make", "4.4-1")]), Err(needed.to_owned()));
    }
}
