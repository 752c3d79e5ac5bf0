//! The shape of the workspace: which crate may depend on which, and that no files depend on each other in a circle.

mod circles;
mod paths;
mod source;

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::MetadataCommand;
use dkms_tests::inputs;

/// Who may depend on whom; docs/architecture.md says why.
fn allowed() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    BTreeMap::from([
        ("dkms-support", BTreeSet::new()),
        ("dkms-native", BTreeSet::new()),
        ("dkms-index", BTreeSet::new()),
        ("dkms-engine", BTreeSet::from(["dkms-support"])),
        (
            "dkms-fetch",
            BTreeSet::from(["dkms-support", "dkms-index", "dkms-engine"]),
        ),
        (
            "dkms-repo",
            BTreeSet::from(["dkms-support", "dkms-index", "dkms-engine"]),
        ),
        (
            "dkms-tests",
            BTreeSet::from(["dkms-index", "dkms-engine", "dkms-fetch", "dkms-repo", "dkms-native"]),
        ),
        (
            "dkms-fuzz-targets",
            BTreeSet::from(["dkms-index", "dkms-engine", "dkms-fetch", "dkms-repo", "dkms-native"]),
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

#[test]
fn no_circles_between_files() {
    let workspace = inputs::workspace();
    let metadata = MetadataCommand::new()
        .manifest_path(workspace.join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata answers");
    let libraries = metadata
        .packages
        .iter()
        .flat_map(|package| &package.targets)
        .filter(|target| target.is_lib());
    let found: BTreeSet<String> = libraries
        .flat_map(|target| circles::circles(target.src_path.as_std_path(), &workspace))
        .map(|circle| circle.join(" -> "))
        .collect();
    assert!(found.is_empty(), "files that need each other in a circle: {found:#?}");
}

#[test]
fn circles_are_found_through_re_exports() {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        std::fs::write(path, text).expect("a file");
    };
    write("lib.rs", "mod a;\npub mod b;\npub mod c;\n");
    write(
        "a/mod.rs",
        "//! use crate::c::C;\nmod inner;\npub(crate) use inner::{self as other, Inner};\npub struct A;\n",
    );
    write(
        "a/inner.rs",
        "use super::A;\nuse crate::b::{B, c::{self}};\npub struct Inner(A, &'static str);\n",
    );
    write(
        "b.rs",
        "use crate::a::Inner;\n#[cfg(test)]\nmod tests {\n    use crate::c::C;\n}\n",
    );
    write(
        "c.rs",
        "pub fn c() -> &'static str { let _ = '\"'; \"use crate::a::A;\" }\npub struct C(crate::b::B);\n",
    );
    let expected = ["a/inner.rs", "b.rs", "a/inner.rs"].map(str::to_owned).to_vec();
    assert_eq!(circles::circles(&dir.path().join("lib.rs"), dir.path()), [expected]);
}
