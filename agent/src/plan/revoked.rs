//! Installed packages that their repository revoked with the action `uninstall`.
//!
//! Only a package that this program installed from that repository is removed. For another one of the same name, and for one that
//! is held, there is only a warning.

use dkms_index::document::revocation::{Action, Revocation};

use super::InstalledPackage;
use crate::candidate::{OfferId, Rules};

/// A package to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The package.
    pub package: OfferId,
    /// Its name in the DKMS tree.
    pub tree_name: String,
    /// The version in the DKMS tree.
    pub dkms_version: String,
    /// The names of its modules.
    pub modules: Vec<String>,
    /// Why, as the repository says.
    pub reason: String,
}

/// A revoked package that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptInstall {
    /// The package.
    pub package: OfferId,
    /// Which repository revoked it.
    pub revoked_by: String,
    /// Why, as the repository says.
    pub reason: String,
    /// Whether it is kept because it is held; otherwise because this program did not install it.
    pub held: bool,
}

/// The installed packages that were revoked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RevokedInstalls {
    /// Those to remove.
    pub removals: Vec<Removal>,
    /// Those that are kept, with a warning.
    pub kept: Vec<KeptInstall>,
}

/// Finds them among the packages that are installed for one kernel.
pub fn find_revoked(installed: &[InstalledPackage], rules: &Rules) -> RevokedInstalls {
    let mut revoked = RevokedInstalls::default();
    for one in installed {
        let Some((repository, revocation)) = revocation(one, rules) else {
            continue;
        };
        let reason = revocation.reason.clone();
        let held = rules.held.contains(&one.id().name);
        if one.source.is_none() || held {
            revoked.kept.push(KeptInstall {
                package: one.id(),
                revoked_by: repository.to_owned(),
                reason,
                held,
            });
        } else {
            revoked.removals.push(Removal {
                package: one.id(),
                tree_name: one.name.clone(),
                dkms_version: one.dkms_version.clone(),
                modules: one.modules.clone(),
                reason,
            });
        }
    }
    revoked
}

/// The revocation that asks for its removal: by its own repository, or by any where its repository is not known.
fn revocation<'a>(one: &InstalledPackage, rules: &'a Rules) -> Option<(&'a str, &'a Revocation)> {
    let id = one.id();
    let versions = [id.version.as_str(), one.dkms_version.as_str()];
    rules
        .revocations
        .iter()
        .filter(|(repository, _)| {
            one.source
                .as_ref()
                .is_none_or(|source| source.repository == **repository)
        })
        .filter_map(|(repository, list)| {
            Some((
                repository.as_str(),
                list.denies(&id.name, &versions, &one.bundle_sha256)?,
            ))
        })
        .find(|(_, revocation)| revocation.action == Action::Uninstall)
}

impl RevokedInstalls {
    /// What is installed after the removals.
    pub fn after_removals(&self, installed: &[InstalledPackage]) -> Vec<InstalledPackage> {
        let is_removed = |one: &&InstalledPackage| self.removals.iter().any(|removal| removal.package == one.id());
        installed.iter().filter(|one| !is_removed(one)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use dkms_index::document::revocation::{Revocations, Subject};

    fn installed(version: &str, repository: Option<&str>, bundle_sha256: &str) -> InstalledPackage {
        InstalledPackage {
            name: "edu".into(),
            dkms_version: version.into(),
            source: repository.map(|repository| OfferId {
                name: "edu".into(),
                version: format!("{version}-1"),
                repository: repository.into(),
                scope: String::new(),
            }),
            bundle_sha256: bundle_sha256.into(),
            modules: vec!["edu".into()],
        }
    }

    fn versions(from: &str, to: &str) -> Subject {
        Subject::Package {
            name: "edu".into(),
            from: Some(from.into()),
            to: Some(to.into()),
        }
    }

    /// Expected: how many are removed, and how many are kept with a warning.
    fn check(one: InstalledPackage, subject: Subject, action: Action, held: bool, expected: (usize, usize)) {
        let revocation = Revocation {
            subject,
            reason: "it corrupts memory".into(),
            action,
        };
        let list = Revocations {
            schema: 1,
            revoked: vec![revocation],
        };
        let mut rules = Rules::default();
        rules.revocations.insert("acme".into(), list);
        rules.held.extend(held.then(|| "edu".to_owned()));
        let all = [one];
        let revoked = find_revoked(&all, &rules);
        let found = (revoked.removals.len(), revoked.kept.len());
        assert_eq!(found, expected, "{all:?} {rules:?}");
        assert_eq!(revoked.after_removals(&all).len(), 1 - expected.0);
    }

    #[test]
    fn only_what_came_from_the_repository_goes() {
        use Action::{Block, Uninstall};
        let ours = || installed("1.0", Some("acme"), "ab");
        check(ours(), versions("1.0", "1.5"), Uninstall, false, (1, 0));
        check(ours(), Subject::Bundle("ab".into()), Uninstall, false, (1, 0));
        check(ours(), Subject::Bundle("cd".into()), Uninstall, false, (0, 0));
        check(ours(), versions("1.0", "1.5"), Block, false, (0, 0));
        check(ours(), versions("2.0", "2.5"), Uninstall, false, (0, 0));
        // A hold goes before a revocation, with a warning.
        check(ours(), versions("1.0", "1.5"), Uninstall, true, (0, 1));
        // Another repository cannot revoke it.
        check(
            installed("1.0", Some("other"), "ab"),
            versions("1.0", "1.5"),
            Uninstall,
            false,
            (0, 0),
        );
        // A package that was installed by hand is kept.
        check(
            installed("1.0", None, ""),
            versions("1.0", "1.5"),
            Uninstall,
            false,
            (0, 1),
        );
    }
}
