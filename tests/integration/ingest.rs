//! Real packages go in: the same bundle each time, patterns as the kernel's own tools see them.

use std::collections::BTreeSet;

use dkms_repo::ingest::bundle::{self, Bundle};
use dkms_repo::ingest::{self, Limits};
use dkms_repo::intake::Intake;
use dkms_repo::package::Vendors;
use dkms_tests::inputs;

#[test]
fn every_debian_package_becomes_the_same_bundle_twice() {
    let intake = Intake::on_this_machine(Vendors::default());
    let mut debs: Vec<_> = std::fs::read_dir(inputs::dir().join("debs"))
        .expect("the packages are there")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        // Large ones show nothing that small ones do not, and take long to compress.
        .filter(|path| path.metadata().is_ok_and(|meta| meta.len() < 60_000))
        .collect();
    debs.sort();
    assert!(debs.len() >= 8, "{debs:?}");
    let mut identities = BTreeSet::new();
    for deb in debs {
        let prepared = intake
            .prepare(&deb)
            .unwrap_or_else(|error| panic!("{}: {error}", deb.display()));
        let manifest = &prepared.package.manifest;
        let problems = manifest.problems();
        assert!(problems.is_empty(), "{}: {problems:?}", deb.display());
        assert_eq!(prepared.package.check().map_err(|e| e.to_string()), Ok(()));
        assert!(!manifest.summary.is_empty(), "{}", deb.display());
        assert!(
            identities.insert((manifest.name.clone(), manifest.version.clone())),
            "{}: {} {} is there twice",
            deb.display(),
            manifest.name,
            manifest.version
        );
        let again = ingest::ingest(&deb, Limits::default()).expect("it was taken in before");
        let top = format!("{}-{}", manifest.name, manifest.dkms_version());
        let repacked = Bundle::pack(&again.tree, &top).expect("it was packed before");
        assert_eq!(repacked.reference, manifest.bundle, "{}", deb.display());
        let unpacked = bundle::unpack(&prepared.bundle.bytes, Limits::default()).expect("our own bundle");
        assert_eq!(unpacked, again.tree, "{}", deb.display());
    }
}

#[test]
fn distributions_versions_of_one_source_stay_apart() {
    let intake = Intake::on_this_machine(Vendors::default());
    let prepare = |prefix: &str| {
        intake
            .prepare(&inputs::deb(prefix))
            .expect("it is a package")
            .package
            .manifest
    };
    let stable = prepare("langford-dkms_0.0.20130228-6.3");
    let backport = prepare("langford-dkms_0.0.20130228-7");
    assert_eq!(stable.dkms_version(), backport.dkms_version());
    assert_ne!(stable.version, backport.version);
    assert_ne!(stable.bundle, backport.bundle);
    // All of it is of one vendor, but that vendor has no role in a repository that was never published.
    assert_eq!(stable.scope, "curated");
    assert_eq!(stable.license, "GPL-2.0-or-later");
}
