//! The three-way check: is a driver bound to the device now, does a module of the kernel claim it, is a package for it installed.

use dkms_index::specificity::Specificity;

use super::InstalledPackage;
use crate::candidate::{Assessment, OfferId};
use crate::device::Binding;
use crate::intree::{Claims, KernelClaim};
use crate::verdict::Verdict;

/// The verdict of a device that needs nothing, or `None` when a package is to be found for it.
///
/// `binding` is what is bound to it. `live` says that the device is here and the target is the running kernel, so that
/// what is bound now counts. `claims` are the modules for the device. `matching` are all packages that match it.
pub fn already_served(
    binding: &Binding,
    live: bool,
    claims: &Claims,
    installed: &[InstalledPackage],
    matching: &[&OfferId],
    assessment: &Assessment,
) -> Option<Verdict> {
    let is_for_it = |package: &&InstalledPackage| matching.iter().any(|id| package.is_package(id));
    if let Some(package) = installed.iter().find(is_for_it) {
        let package = package.id();
        return Some(if live && *binding == Binding::Unbound {
            Verdict::Unbound { package }
        } else {
            Verdict::Installed { package }
        });
    }
    // No repository offers it, and its module claims the device. Whether it drives it is known only on the running machine.
    let claimed_by = |package: &&InstalledPackage| {
        let mut modules = claims.installed.iter().map(|claim| &claim.module);
        modules.any(|module| package.modules.contains(module))
    };
    if let Some(package) = installed.iter().find(claimed_by).filter(|_| !live) {
        return Some(Verdict::Installed { package: package.id() });
    }
    let claims = &claims.own[..];
    let named = assessment
        .ranked
        .iter()
        .any(|candidate| candidate.rank.specificity >= Specificity::Device);
    // A fallback driver counts only where no package names the device.
    let counts = |claim: &&KernelClaim| !(named && claim.is_fallback());
    if *binding == Binding::NeverBinds {
        return all_in_tree(claims, assessment);
    }
    if live && let Binding::Bound { driver, module } = binding {
        let by_fallback = claims
            .iter()
            .any(|claim| Some(&claim.module) == module.as_ref() && claim.is_fallback());
        if !(by_fallback && named) {
            return Some(Verdict::Works { driver: driver.clone() });
        }
    }
    let claim = claims.iter().find(counts)?;
    Some(Verdict::WorksInTree {
        module: claim.module.clone(),
    })
}

/// Any number of modules are loaded for a modalias of the machine itself (`dmi:`, `input:`). A module of the kernel makes a package
/// unnecessary only where the package has no other module.
fn all_in_tree(claims: &[KernelClaim], assessment: &Assessment) -> Option<Verdict> {
    let claimed = |module: &String| claims.iter().any(|claim| claim.module == module.replace('-', "_"));
    let adds = |modules: &[String]| modules.iter().any(|module| !claimed(module));
    if assessment
        .ranked
        .iter()
        .any(|candidate| adds(&candidate.offer.record.modules))
    {
        return None;
    }
    let claim = claims.first()?;
    Some(Verdict::WorksInTree {
        module: claim.module.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use crate::candidate::tests::{DEVICE, offer};
    use crate::candidate::{Facts, Rules, TargetKernel, assess};

    fn claim(module: &str, pattern: &str) -> KernelClaim {
        KernelClaim {
            module: module.into(),
            pattern: pattern.into(),
        }
    }

    fn bound(driver: &str) -> Binding {
        Binding::Bound {
            driver: driver.into(),
            module: Some(driver.replace('-', "_")),
        }
    }

    fn check(
        binding: Binding,
        claims: &[KernelClaim],
        matching: &[&str],
        installed: &[&str],
        expected: [Option<&str>; 2],
    ) {
        let device = crate::device::Device {
            path: String::new(),
            subsystem: String::new(),
            modaliases: Vec::new(),
            vendor: None,
            model: None,
            class: None,
            binding,
        };
        let kernel = TargetKernel {
            release: "6.12.1".into(),
            arch: "x86_64".into(),
            config: None,
            compiler: None,
            own_modules: Default::default(),
            modules_in_use: Default::default(),
        };
        let rules = Rules::default();
        let facts = Facts {
            kernel: &kernel,
            machine: None,
            rules: &rules,
        };
        let matches: Vec<_> = matching
            .iter()
            .map(|name| (Arc::new(offer(name, "1")), DEVICE.parse().unwrap()))
            .collect();
        let assessment = assess(&matches, facts);
        let installed: Vec<InstalledPackage> = installed
            .iter()
            .map(|&name| InstalledPackage {
                name: name.into(),
                dkms_version: "1".into(),
                source: None,
                bundle_sha256: String::new(),
                modules: vec![name.into()],
            })
            .collect();
        let matching: Vec<&OfferId> = matches.iter().map(|(offer, _)| &offer.id).collect();
        for (live, expected) in [true, false].into_iter().zip(expected) {
            let claims = Claims {
                own: claims.to_vec(),
                installed: Vec::new(),
            };
            let found = already_served(&device.binding, live, &claims, &installed, &matching, &assessment);
            let found = found.map(|verdict| format!("{} {}", verdict.label(), verdict.detail()));
            assert_eq!(
                found.as_deref(),
                expected,
                "live: {live}, {:?} {claims:?}",
                device.binding
            );
        }
    }

    #[test]
    fn bound_in_tree_and_installed_devices_need_nothing() {
        let own = || [claim("ahci", "pci:v*d*sv*sd*bc01sc06i01*")];
        let generic = || [claim("hid_generic", "hid:b*g*v*p*")];
        // Bound counts only on the machine itself, under the kernel that runs.
        check(bound("e1000"), &[], &[], &[], [Some("works e1000"), None]);
        check(
            bound("ahci"),
            &own(),
            &["a"],
            &[],
            [Some("works ahci"), Some("works in-tree ahci")],
        );
        check(Binding::Unbound, &own(), &["a"], &[], [Some("works in-tree ahci"); 2]);
        check(Binding::Unbound, &[], &["a"], &[], [None; 2]);
        check(
            Binding::Unbound,
            &[],
            &["a"],
            &["a"],
            [Some("unbound a 1"), Some("installed a 1")],
        );
        // A package that names the device goes before a fallback driver.
        check(bound("hid-generic"), &generic(), &["a"], &[], [None; 2]);
        check(
            bound("hid-generic"),
            &generic(),
            &[],
            &[],
            [Some("works hid-generic"), Some("works in-tree hid_generic")],
        );
    }

    #[test]
    fn a_package_of_no_repository_serves_what_its_module_claims() {
        let claims = Claims {
            own: Vec::new(),
            installed: vec![claim("edu", "pci:v1234*")],
        };
        let package = |module: &str| InstalledPackage {
            name: "by-hand".into(),
            dkms_version: "1".into(),
            source: None,
            bundle_sha256: String::new(),
            modules: vec![module.into()],
        };
        let check = |live: bool, module: &str, expected: Option<&str>| {
            let none = Assessment::default();
            let found = already_served(&Binding::Unbound, live, &claims, &[package(module)], &[], &none);
            let found = found.map(|verdict| format!("{} {}", verdict.label(), verdict.detail()));
            assert_eq!(found.as_deref(), expected, "{live} {module}");
        };
        check(false, "edu", Some("installed by-hand 1"));
        check(false, "other", None);
        // Nothing drives the device: another package may.
        check(true, "edu", None);
    }

    #[test]
    fn a_modalias_of_the_machine_loads_many_modules() {
        let own = |module: &str| [claim(module, "dmi:*:svnLENOVO:*")];
        check(
            Binding::NeverBinds,
            &own("thinkpad_acpi"),
            &["tp_smapi"],
            &[],
            [None; 2],
        );
        check(
            Binding::NeverBinds,
            &own("tp_smapi"),
            &["tp_smapi"],
            &[],
            [Some("works in-tree tp_smapi"); 2],
        );
        check(
            Binding::NeverBinds,
            &own("thinkpad_acpi"),
            &[],
            &[],
            [Some("works in-tree thinkpad_acpi"); 2],
        );
        check(Binding::NeverBinds, &[], &[], &[], [None; 2]);
    }
}
