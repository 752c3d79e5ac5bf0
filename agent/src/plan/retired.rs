//! Installed packages that a newer kernel has made needless: it has drivers of its own for all their devices.

use super::InstalledPackage;
use crate::intree::Claims;

/// A package that a kernel needs no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retired {
    /// Its name in the DKMS tree.
    pub name: String,
    /// The version in the DKMS tree.
    pub dkms_version: String,
    /// A module of the kernel that drives one of its devices.
    pub module: String,
}

/// Finds them among the packages that are installed for a kernel. `new` and `running` are what claims each device under that kernel and under
/// the running one.
///
/// A package whose devices the running kernel drives too was installed in spite of that, and stays.
pub fn find_retired(installed: &[InstalledPackage], new: &[Claims], running: &[Claims]) -> Vec<Retired> {
    let mut retired = Vec::new();
    for package in installed {
        let is_its = |claims: &Claims| {
            let mut modules = claims.installed.iter().map(|claim| claim.module.replace('-', "_"));
            modules.any(|module| package.modules.contains(&module))
        };
        let mut devices = new.iter().zip(running).filter(|(new, _)| is_its(new)).peekable();
        let first = devices.peek().and_then(|(new, _)| new.own.first());
        let Some(module) = first.map(|claim| claim.module.clone()) else {
            continue;
        };
        if devices.all(|(new, running)| !new.own.is_empty() && running.own.is_empty()) {
            retired.push(Retired {
                name: package.name.clone(),
                dkms_version: package.dkms_version.clone(),
                module,
            });
        }
    }
    retired
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intree::KernelClaim;

    fn claims(own: &[&str], installed: &[&str]) -> Claims {
        let claim = |module: &&str| KernelClaim {
            module: (*module).to_owned(),
            pattern: String::new(),
        };
        Claims {
            own: own.iter().map(claim).collect(),
            installed: installed.iter().map(claim).collect(),
        }
    }

    #[test]
    fn a_package_goes_when_the_kernel_drives_all_its_devices() {
        let package = InstalledPackage {
            name: "wifi".into(),
            dkms_version: "1.0".into(),
            source: None,
            bundle_sha256: String::new(),
            modules: vec!["rtl_wifi".into()],
        };
        let check = |new: &[Claims], running: &[Claims], expected: Option<&str>| {
            let found = find_retired(std::slice::from_ref(&package), new, running);
            let module = found.first().map(|one| one.module.as_str());
            assert_eq!(module, expected, "{new:?} {running:?}");
        };
        let ours = || claims(&[], &["rtl-wifi"]);
        let both = || claims(&["rtw88"], &["rtl-wifi"]);
        check(&[both()], &[ours()], Some("rtw88"));
        check(
            &[both(), claims(&["ahci"], &[])],
            &[ours(), claims(&["ahci"], &[])],
            Some("rtw88"),
        );
        // The kernel has a driver for one of two.
        check(&[both(), ours()], &[ours(), ours()], None);
        check(&[ours(), both()], &[ours(), ours()], None);
        // The running kernel has one as well, and somebody wanted the package.
        check(&[both()], &[both()], None);
        // Nothing here is its device.
        check(&[claims(&["ahci"], &[])], &[claims(&[], &[])], None);
        check(&[claims(&["rtw88"], &["other"])], &[claims(&[], &["other"])], None);
    }
}
