//! The house keeps its shape: which crate may depend on which.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::MetadataCommand;
use dkms_tests::inputs;

/// Who may depend on whom; docs/architecture.md says why.
fn allowed() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    BTreeMap::from([
        ("dkms-index", BTreeSet::new()),
        ("dkms-engine", BTreeSet::new()),
        ("dkms-fetch", BTreeSet::from(["dkms-index", "dkms-engine"])),
        ("dkms-repo", BTreeSet::from(["dkms-index", "dkms-engine"])),
        (
            "dkms-tests",
            BTreeSet::from(["dkms-index", "dkms-engine", "dkms-fetch", "dkms-repo"]),
        ),
    ])
}

#[test]
fn dependencies_point_one_way() {
    let metadata = MetadataCommand::new()
        .manifest_path(inputs::workspace().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata answers");
    let allowed = allowed();
    let names: BTreeSet<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, allowed.keys().copied().collect(), "the crates of the workspace");
    for package in &metadata.packages {
        let ours: BTreeSet<&str> = package
            .dependencies
            .iter()
            .map(|d| d.name.as_str())
            .filter(|name| names.contains(name))
            .collect();
        let may = &allowed[package.name.as_str()];
        assert!(
            ours.is_subset(may),
            "{} depends on {ours:?}, may only on {may:?}",
            package.name
        );
    }
}
