//! Which kernels a *-dkms package is built for when it is installed or upgraded.

use crate::version;

/// The kernels of a system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelsHere {
    /// What `uname -r` says; may be another system's, as in a chroot.
    pub running: String,
    /// The directories of /lib/modules.
    pub installed: Vec<String>,
    /// The releases of /boot/config-*.
    pub bootable: Vec<String>,
}

/// Why these kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The administrator wants all.
    AllByConfiguration,
    /// The running kernel is here.
    RunningAndNewest,
    /// The running kernel belongs to another system, and this is an upgrade.
    NewestInChroot,
    /// The running kernel belongs to another system, and this is the first installation.
    AllInChroot,
}

/// Chooses as Debian's common.postinst does: the running kernel and the newest bootable one; where the running kernel is
/// not of this system, the newest on an upgrade and all on a first installation. Kernels older than the running one are never
/// the newest, so in a chroot on a machine with a newer kernel all are chosen.
#[must_use]
pub fn kernels_for_package(here: &KernelsHere, is_upgrade: bool, all_kernels: bool) -> (Vec<String>, Reason) {
    let is_installed = |release: &&String| here.installed.contains(release);
    let newest = here
        .bootable
        .iter()
        .filter(is_installed)
        .filter(|release| version::compare(abi(release), abi(&here.running)).is_ge())
        .max_by(|a, b| version::compare(a, b));
    if all_kernels {
        return (here.installed.clone(), Reason::AllByConfiguration);
    }
    if here.installed.contains(&here.running) {
        let mut kernels = vec![here.running.clone()];
        kernels.extend(newest.filter(|newest| **newest != here.running).cloned());
        return (kernels, Reason::RunningAndNewest);
    }
    match newest {
        Some(newest) if is_upgrade => (vec![newest.clone()], Reason::NewestInChroot),
        _ => (here.installed.clone(), Reason::AllInChroot),
    }
}

/// The release without its flavour: what comes before the second hyphen.
fn abi(release: &str) -> &str {
    release
        .match_indices('-')
        .nth(1)
        .map_or(release, |(at, _)| &release[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(running: &str, bootable: &[&str], upgrade: bool, all: bool, expected: &[&str], reason: Reason) {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let installed = own(&["6.1.0-47-amd64", "6.1.0-56-amd64", "6.12.9-amd64"]);
        let here = KernelsHere {
            running: running.to_owned(),
            installed,
            bootable: own(bootable),
        };
        assert_eq!(
            kernels_for_package(&here, upgrade, all),
            (own(expected), reason),
            "{here:?}"
        );
    }

    #[test]
    fn kernels_are_chosen_as_packages_expect() {
        let all = ["6.1.0-47-amd64", "6.1.0-56-amd64", "6.12.9-amd64"];
        check(all[0], &all, false, false, &[all[0], all[2]], Reason::RunningAndNewest);
        check(all[2], &all, true, false, &[all[2]], Reason::RunningAndNewest);
        check(all[0], &[], false, false, &[all[0]], Reason::RunningAndNewest);
        check(all[0], &["7.0-gone"], false, false, &[all[0]], Reason::RunningAndNewest);
        check("5.10.0-9-amd64", &all, true, false, &[all[2]], Reason::NewestInChroot);
        check(
            "6.1.0-56-cloud",
            &all[..2],
            true,
            false,
            &[all[1]],
            Reason::NewestInChroot,
        );
        check("6.18.44-host", &all, true, false, &all, Reason::AllInChroot);
        check("5.10.0-9-amd64", &all, false, false, &all, Reason::AllInChroot);
        check("5.10.0-9-amd64", &[], true, false, &all, Reason::AllInChroot);
        check(all[0], &all, false, true, &all, Reason::AllByConfiguration);
    }
}
