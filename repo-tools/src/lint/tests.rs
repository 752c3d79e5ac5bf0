//! One bad package for each problem.

use dkms_index::document::manifest::Manifest;
use serde_json::json;

use super::*;
use crate::package::{self, Vendors};

/// A package that nothing is wrong with, changed by `change`.
fn staged(change: impl FnOnce(&mut StagedPackage)) -> StagedPackage {
    let pattern = "pci:v000010EEd0000FAE3sv*sd*bc*sc*i*";
    let manifest: Manifest = serde_json::from_value(json!({
        "schema": 1, "name": "x", "version": "1.0", "scope": "by-id/pci-10ee", "summary": "a driver", "license": "MIT",
        "bundle": { "sha256": "0".repeat(64), "length": 1, "format": "tar-zst" },
        "modules": [{ "name": "x", "aliases": [pattern], "declared": [pattern] }]
    }))
    .unwrap();
    let fact = serde_json::from_value(json!({
        "kernel": "6.1.0", "arch": "x86_64", "compiler": "gcc", "date": "2026-01-01", "outcome": "built"
    }))
    .unwrap();
    let mut package = package::staged(manifest, vec![fact], None, &Vendors::these(["by-id/pci-10ee"]));
    change(&mut package);
    package
}

fn problems_of(package: StagedPackage) -> Vec<Problem> {
    lint(&[package], &[])
        .into_iter()
        .map(|finding| finding.problem)
        .collect()
}

fn check(change: impl FnOnce(&mut StagedPackage), expected: &[&str]) {
    let shown: Vec<String> = problems_of(staged(change)).iter().map(Problem::to_string).collect();
    assert_eq!(shown, expected);
}

fn aliases(patterns: &[&str]) -> impl FnOnce(&mut StagedPackage) {
    let aliases: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
    move |package| {
        package.manifest.modules[0].declared.clear();
        package.manifest.modules[0].aliases = aliases;
        *package = package::staged(
            package.manifest.clone(),
            package.record.builds.clone(),
            None,
            &Vendors::default(),
        );
    }
}

#[test]
fn a_good_package_has_no_problem() {
    check(|_| {}, &[]);
}

#[test]
fn patterns_are_examined() {
    check(
        aliases(&["pci:v*d*sv*sd*bc02sc80i*"]),
        &["the pattern pci:v*d*sv*sd*bc02sc80i* claims devices of every vendor"],
    );
    check(
        aliases(&["pci:v000010ecd00008168sv*sd*bc*sc*i*"]),
        &[
            "the pattern pci:v000010ecd00008168sv*sd*bc*sc*i* has lower-case hexadecimal digits and never matches: the kernel writes capitals",
        ],
    );
    check(
        aliases(&["*"]),
        &[
            "pattern \"*\" has no three literal bytes in a row",
            "the pattern * matches devices of every kind",
        ],
    );
    let long = format!("pci:{}", "x".repeat(5000));
    let unusable = problems_of(staged(aliases(&[&long])));
    assert!(
        matches!(unusable.as_slice(), [Problem::Invalid { why }] if why.contains("xxxx")),
        "{unusable:?}"
    );
}

#[test]
fn scope_metadata_and_scripts_are_examined() {
    let elsewhere = problems_of(staged(|package| {
        package.manifest.scope = "by-id/usb-10ee".to_owned();
        package.record.manifest = package.manifest.target_path();
    }));
    assert!(
        matches!(elsewhere.as_slice(), [Problem::Invalid { why }] if why.ends_with("is not literally of usb-10ee")),
        "{elsewhere:?}"
    );
    check(
        |package| {
            package.manifest.license.clear();
            package.manifest.summary.clear();
            package.manifest.recipe.root_scripts = vec!["post_install".to_owned()];
        },
        &[
            "no license is known",
            "it runs scripts as root: post_install",
            "it has no summary",
        ],
    );
}

#[test]
fn builds_are_examined() {
    check(
        |package| package.record.builds.clear(),
        &["it was never built: its patterns are a guess"],
    );
    check(
        |package| package.record.builds[0].outcome = BuildOutcome::Failed,
        &["it builds on none of 6.1.0"],
    );
    check(
        |package| {
            package.manifest.modules[0]
                .declared
                .push("pci:v000010EEd00000001sv*sd*bc*sc*i*".to_owned())
        },
        &["1 patterns of its source are not in the built modules, 0 of the modules not in the source"],
    );
    check(
        |package| {
            package.manifest.scope = "curated".to_owned();
            package.record.manifest = package.manifest.target_path();
            package.manifest.modules[0].other_aliases = vec!["char-major-10-200".to_owned(), "fs-x".to_owned()];
        },
        &["its modules have aliases of no device, which only the curated role may sign: char-major-10-200, fs-x"],
    );
}

#[test]
fn the_kernels_own_drivers_are_named() {
    let kernel = InTree::parse(
        "6.1.0",
        "# comment\nalias pci:v000010EEd0000FAE3sv000010EEsd*bc*sc*i* other\nalias pci:v*d*sv*sd*bc01sc06i01* ahci\n\
         alias hid:b*g*v*p* hid_generic\nalias i2c:eeprom at24\n",
    );
    let findings = lint(&[staged(|_| {})], std::slice::from_ref(&kernel));
    assert_eq!(findings[0].severity, Severity::Warning);
    assert_eq!(
        findings[0].problem.to_string(),
        "6.1.0 claims 1 of its 1 patterns itself (other)"
    );
    let claims = |pattern| kernel.claims(&BTreeSet::from([pattern])).1;
    assert_eq!(claims("pci:v000010EEd0000FAE3sv000010EFsd*bc*sc*i*"), 0);
    assert_eq!(claims("hid:b0003g*v00005543p00000042"), 0);
    assert_eq!(claims("i2c:eeprom"), 1);
}

#[test]
fn versions_that_share_a_place_are_named() {
    let packages = ["1.0-1", "1.0-2"].map(|version| {
        staged(|package| {
            package.manifest.version = version.to_owned();
            package.manifest.dkms_version = Some("1.0".to_owned());
            *package = package::staged(
                package.manifest.clone(),
                package.record.builds.clone(),
                None,
                &Vendors::default(),
            );
        })
    });
    let shown: Vec<String> = lint(&packages, &[]).iter().map(|f| f.problem.to_string()).collect();
    assert_eq!(
        shown,
        [
            "in the DKMS tree it is 1.0, and so is 1.0-2",
            "in the DKMS tree it is 1.0, and so is 1.0-1"
        ]
    );
}
