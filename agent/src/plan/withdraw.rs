//! What a repository wants gone: packages that it revoked with the action `uninstall`.
//!
//! Only what came from that repository, through us, is taken away. Anything else of the same name is somebody's own work and is
//! only warned about, and so is what the owner of the machine holds.

use dkms_index::document::revocation::{Action, Revocation};

use super::InstalledPackage;
use crate::candidate::{OfferId, Rules};

/// A package to take away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The package.
    pub package: OfferId,
    /// The version in the DKMS tree.
    pub dkms_version: String,
    /// The names of its modules.
    pub modules: Vec<String>,
    /// Why, in the repository's words.
    pub reason: String,
}

/// A package that was revoked and stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remaining {
    /// The package.
    pub package: OfferId,
    /// Which repository revoked it.
    pub revoked_by: String,
    /// Why, in the repository's words.
    pub reason: String,
    /// Whether it stays because the owner holds it; else because it did not come through us.
    pub held: bool,
}

/// All that was revoked of what is installed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Withdrawal {
    /// What goes.
    pub removals: Vec<Removal>,
    /// What stays, to be warned about.
    pub remaining: Vec<Remaining>,
}

/// Decides about everything that is installed for one kernel.
pub fn withdraw(standing: &[InstalledPackage], rules: &Rules) -> Withdrawal {
    let mut withdrawal = Withdrawal::default();
    for one in standing {
        let Some((repository, revocation)) = revocation(one, rules) else {
            continue;
        };
        let reason = revocation.reason.clone();
        let held = rules.held.contains(&one.name);
        if one.source.is_none() || held {
            withdrawal.remaining.push(Remaining {
                package: one.id(),
                revoked_by: repository.to_owned(),
                reason,
                held,
            });
        } else {
            withdrawal.removals.push(Removal {
                package: one.id(),
                dkms_version: one.dkms_version.clone(),
                modules: one.modules.clone(),
                reason,
            });
        }
    }
    withdrawal
}

/// Who wants it gone: its own repository, or any of them where nobody knows where it came from.
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
                list.denies(&one.name, &versions, &one.bundle_sha256)?,
            ))
        })
        .find(|(_, revocation)| revocation.action == Action::Uninstall)
}

impl Withdrawal {
    /// What is installed when all that goes is gone.
    pub fn staying(&self, standing: &[InstalledPackage]) -> Vec<InstalledPackage> {
        let goes = |one: &&InstalledPackage| self.removals.iter().any(|removal| removal.package == one.id());
        standing.iter().filter(|one| !goes(one)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use dkms_index::document::revocation::{Revocations, Subject};

    fn standing(version: &str, repository: Option<&str>, bundle_sha256: &str) -> InstalledPackage {
        InstalledPackage {
            name: "edu".into(),
            dkms_version: version.into(),
            source: repository.map(|repository| OfferId {
                name: "edu".into(),
                version: format!("{version}-1"),
                repository: repository.into(),
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

    /// Expected: how many go and how many stay with a warning.
    fn check(one: InstalledPackage, subject: Subject, action: Action, held: bool, expected: (usize, usize)) {
        let revocation = Revocation {
            subject,
            reason: "it burns".into(),
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
        let withdrawal = withdraw(&all, &rules);
        let found = (withdrawal.removals.len(), withdrawal.remaining.len());
        assert_eq!(found, expected, "{all:?} {rules:?}");
        assert_eq!(withdrawal.staying(&all).len(), 1 - expected.0);
    }

    #[test]
    fn only_what_came_from_the_repository_goes() {
        use Action::{Block, Uninstall};
        let ours = || standing("1.0", Some("acme"), "ab");
        check(ours(), versions("1.0", "1.5"), Uninstall, false, (1, 0));
        check(ours(), Subject::Bundle("ab".into()), Uninstall, false, (1, 0));
        check(ours(), Subject::Bundle("cd".into()), Uninstall, false, (0, 0));
        check(ours(), versions("1.0", "1.5"), Block, false, (0, 0));
        check(ours(), versions("2.0", "2.5"), Uninstall, false, (0, 0));
        // The owner's word is stronger, and he is told.
        check(ours(), versions("1.0", "1.5"), Uninstall, true, (0, 1));
        // Another repository has no say in it.
        check(
            standing("1.0", Some("other"), "ab"),
            versions("1.0", "1.5"),
            Uninstall,
            false,
            (0, 0),
        );
        // What somebody put there by hand is his.
        check(
            standing("1.0", None, ""),
            versions("1.0", "1.5"),
            Uninstall,
            false,
            (0, 1),
        );
    }
}
