use super::*;

use std::collections::BTreeMap;

use crate::candidate::tests::{DEVICE, offer};
use crate::candidate::{Rules, TargetKernel, assess};

fn changed(name: &str, change: impl FnOnce(&mut Offer)) -> Arc<Offer> {
    let mut offer = offer(name, "1");
    change(&mut offer);
    Arc::new(offer)
}

fn needs(name: &str, names: &[&str]) -> Arc<Offer> {
    changed(name, |o| {
        o.record.recipe.build_depends = names.iter().map(|&n| n.to_owned()).collect()
    })
}

fn dependencies(offers: &[Arc<Offer>]) -> Dependencies {
    let mut dependencies: Dependencies = BTreeMap::new();
    for offer in offers {
        dependencies
            .entry(offer.id.name.clone())
            .or_default()
            .push(Arc::clone(offer));
    }
    dependencies
}

fn installed(name: &str, modules: &[&str]) -> InstalledPackage {
    InstalledPackage {
        name: name.into(),
        dkms_version: "0".into(),
        source: None,
        bundle_sha256: String::new(),
        modules: modules.iter().map(|&m| m.to_owned()).collect(),
    }
}

/// For each device the packages that match it. Expected: the steps by name, and each device's verdict in words.
fn check(
    devices: &[&[Arc<Offer>]],
    dependencies: &Dependencies,
    installed: &[InstalledPackage],
    expected_steps: &[&str],
    expected: &[&str],
) -> Plan {
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
    let situations: Vec<Situation> = devices
        .iter()
        .map(|offers| {
            let matches: Vec<_> = offers
                .iter()
                .map(|o| (Arc::clone(o), DEVICE.parse().unwrap()))
                .collect();
            Situation {
                already_served: None,
                assessment: assess(&matches, facts),
            }
        })
        .collect();
    let plan = plan(&situations, dependencies, installed, facts);
    let steps: Vec<&str> = plan.steps.iter().map(|step| step.offer.id.name.as_str()).collect();
    assert_eq!(steps, expected_steps);
    let verdicts: Vec<String> = plan
        .decisions
        .iter()
        .map(|d| format!("{} {}", d.verdict.label(), d.verdict.detail()))
        .collect();
    assert_eq!(verdicts, expected);
    for step in &plan.steps {
        assert!(!step.serves.is_empty() || plan.steps.iter().any(|s| !s.after.is_empty()));
    }
    plan
}

#[test]
fn one_package_serves_twins_and_is_installed_once() {
    let a = changed("a", |_| {});
    let plan = check(
        &[&[Arc::clone(&a)], &[], &[a]],
        &Dependencies::new(),
        &[],
        &["a"],
        &["installable a 1", "unknown no driver known", "installable a 1"],
    );
    assert_eq!(plan.steps[0].serves, [0, 2]);
}

#[test]
fn conflicts_are_resolved_over_the_machine_and_said() {
    let a = changed("a", |o| o.priority = 1);
    let b = changed("b", |_| {});
    let c = changed("c", |o| o.record.conflicts = vec!["a".into()]);
    let none = Dependencies::new();
    let plan = check(
        &[&[Arc::clone(&a), b], &[Arc::clone(&c)]],
        &none,
        &[],
        &["b", "c"],
        &["installable b 1", "installable c 1"],
    );
    assert_eq!(plan.decisions[0].losers[0].to_string(), "a 1: conflicts with c 1");
    check(
        &[&[a], &[c]],
        &none,
        &[],
        &["a"],
        &["installable a 1", "refused c 1: conflicts with a 1"],
    );
    // Packages with a module of the same name cannot be installed together either.
    let twin = |name: &str| changed(name, |o| o.record.modules = vec!["same".into()]);
    check(
        &[&[twin("x")], &[twin("y")]],
        &none,
        &[],
        &["x"],
        &["installable x 1", "refused y 1: conflicts with x 1"],
    );
}

#[test]
fn what_is_needed_is_built_before() {
    let top = needs("top", &["left", "right"]);
    let dependencies = dependencies(&[needs("left", &["base"]), needs("right", &["base"]), needs("base", &[])]);
    let plan = check(
        &[&[Arc::clone(&top)]],
        &dependencies,
        &[],
        &["base", "left", "right", "top"],
        &["installable top 1"],
    );
    assert_eq!(plan.steps[3].after, [1, 2]);
    assert_eq!(plan.steps[1].after, [0]);
    // What is installed already is not built again.
    check(
        &[&[top]],
        &dependencies,
        &[installed("left", &[])],
        &["base", "right", "top"],
        &["installable top 1"],
    );
}

#[test]
fn needs_that_cannot_be_met_are_said() {
    let dependencies = dependencies(&[
        needs("loop", &["top"]),
        changed("old", |o| o.record.upstream_since = Some("6.5".into())),
    ]);
    let refused = |top: Arc<Offer>, expected: &str| {
        check(&[&[top]], &dependencies, &[], &[], &[expected]);
    };
    refused(
        needs("top", &["gone"]),
        "refused top 1: needs gone built first: no repository offers it",
    );
    refused(
        needs("top", &["old"]),
        "refused top 1: needs old built first: 1 part of the kernel since 6.5",
    );
    refused(
        needs("top", &["loop"]),
        "refused top 1: needs loop built first: needs top built first: which needs it in turn (top → loop)",
    );
}

#[test]
fn nothing_is_put_beside_what_it_conflicts_with() {
    let a = changed("a", |o| o.record.conflicts = vec!["b".into()]);
    check(
        &[&[Arc::clone(&a)]],
        &Dependencies::new(),
        &[installed("b", &[])],
        &[],
        &["refused a 1: conflicts with b 0"],
    );
    check(
        &[&[Arc::clone(&a)]],
        &Dependencies::new(),
        &[installed("c", &["a"])],
        &[],
        &["refused a 1: conflicts with c 0"],
    );
    // Its own older version is replaced.
    check(
        &[&[a]],
        &Dependencies::new(),
        &[installed("a", &["a"])],
        &["a"],
        &["installable a 1"],
    );
}

#[test]
fn by_name_the_reason_comes_back() {
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
    let dependencies = dependencies(&[needs("base", &[])]);
    let plan = |offers: &[Arc<Offer>]| plan_for(offers, &dependencies, &[], facts).map_err(|e| e.to_string());
    let names = |plan: Plan| plan.steps.iter().map(|s| s.offer.id.name.clone()).collect::<Vec<_>>();
    assert_eq!(
        plan(&[needs("top", &["base"])]).map(names),
        Ok(vec!["base".to_owned(), "top".to_owned()])
    );
    let rival = changed("rival", |o| o.record.conflicts = vec!["base".into()]);
    assert_eq!(
        plan(&[needs("top", &["base"]), rival]).map(names),
        Err("rival 1: conflicts with base 1".to_owned())
    );
    let gone = changed("gone", |o| o.record.upstream_since = Some("5.0".into()));
    assert_eq!(
        plan(&[gone]).map(names),
        Err("gone 1: part of the kernel since 5.0".to_owned())
    );
}

/// A package of a vendor's role.
fn of_vendor(vendor: &str, name: &str, change: impl FnOnce(&mut Offer)) -> Arc<Offer> {
    changed(name, |offer| {
        offer.id.scope = format!("by-id/{vendor}");
        change(offer);
    })
}

#[test]
fn two_vendors_packages_of_one_name_are_two_packages() {
    let ours = of_vendor("pci-1234", "edu", |_| {});
    let theirs = of_vendor("pci-10ec", "edu", |o| {
        o.id.version = "999".into();
        o.record.modules = vec!["other".into()];
    });
    let plan = check(
        &[&[Arc::clone(&ours)], &[Arc::clone(&theirs)]],
        &Dependencies::new(),
        &[],
        &["edu", "edu"],
        &["installable edu 1", "installable edu 999"],
    );
    let names: Vec<&str> = plan.steps.iter().map(|step| step.tree_name.as_str()).collect();
    assert_eq!(names, ["edu", "edu.pci-10ec"]);
    // An installed package of one vendor does not serve the device of the other.
    let mut one = installed("edu", &["other"]);
    one.source = Some(theirs.id.clone());
    check(
        &[&[ours]],
        &Dependencies::new(),
        &[one],
        &["edu"],
        &["installable edu 1"],
    );
}

#[test]
fn a_conflict_that_a_vendor_lists_with_anothers_package_binds_its_own() {
    let ours = of_vendor("pci-1234", "edu", |_| {});
    let hostile = of_vendor("pci-10ec", "hostile", |o| o.record.conflicts = vec!["edu".into()]);
    let expected = ["installable edu 1", "refused hostile 1: conflicts with edu 1"];
    let none = Dependencies::new();
    check(
        &[&[Arc::clone(&ours)], &[Arc::clone(&hostile)]],
        &none,
        &[],
        &["edu"],
        &expected,
    );
    // Also where it serves more devices, and would win.
    check(
        &[&[Arc::clone(&ours)], &[Arc::clone(&hostile)], &[Arc::clone(&hostile)]],
        &none,
        &[],
        &["edu"],
        &[expected[0], expected[1], expected[1]],
    );
    // Without the other package nothing is in its way.
    check(&[&[hostile]], &none, &[], &["hostile"], &["installable hostile 1"]);
    // Modules of one name cannot both be loaded. The order of the roles decides, not the version or the number of devices.
    let squatter = of_vendor("usb-9999", "squatter", |o| o.record.modules = vec!["edu".into()]);
    check(
        &[&[Arc::clone(&squatter)], &[squatter], &[ours]],
        &none,
        &[],
        &["edu"],
        &[
            "refused squatter 1: conflicts with edu 1",
            "refused squatter 1: conflicts with edu 1",
            "installable edu 1",
        ],
    );
}

#[test]
fn a_package_is_built_with_those_of_its_own_and_the_curated_role() {
    let top = of_vendor("pci-1234", "top", |o| {
        o.record.recipe.build_depends = vec!["base".into()]
    });
    let foreign = of_vendor("pci-10ec", "base", |o| o.id.version = "999".into());
    let curated = changed("base", |_| {});
    let check = |offers: &[&Arc<Offer>], steps: &[&str], expected: &str| {
        let offers: Vec<Arc<Offer>> = offers.iter().map(|&offer| Arc::clone(offer)).collect();
        let dependencies = dependencies(&offers);
        let plan = check(&[&[Arc::clone(&top)]], &dependencies, &[], steps, &[expected]);
        assert!(plan.steps.iter().all(|step| step.offer.id.version != "999"));
    };
    check(
        &[&foreign],
        &[],
        "refused top 1: needs base built first: no repository offers it",
    );
    check(&[&foreign, &curated], &["base", "top"], "installable top 1");
}
