//! Debian's *-dkms packages are added, built, installed and removed alike by Debian's dkms and by ours.

use std::collections::BTreeSet;

use dkms_tests::dkms::{Difference, Documented, package};
use dkms_tests::inputs;

/// So many sources that a second kernel would double the suite's time and show nothing that the others do not.
const HUGE: [&str; 5] = ["openafs", "dahdi", "lttng", "jool", "xtables-addons"];

#[test]
fn every_package_of_debian_is_installed_as_by_debian() {
    let documented = Documented::of_workspace();
    let only = std::env::var("DKMS_PACKAGE").ok();
    let (mut found, mut played, mut installed) = (BTreeSet::<Difference>::new(), BTreeSet::new(), [0, 0]);
    for deb in inputs::all_debs() {
        let name = deb.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if only.as_deref().is_some_and(|only| !name.starts_with(only)) {
            continue;
        }
        let count = if HUGE.iter().any(|huge| name.starts_with(huge)) {
            1
        } else {
            2
        };
        for package in package::play(&deb, count, &documented) {
            eprintln!(
                "{name}: {}, installed by both: {:?}",
                package.story, package.installed_by_both
            );
            for (by_both, installed) in package.installed_by_both.iter().zip(&mut installed) {
                *installed += usize::from(*by_both);
            }
            for difference in &package.differences {
                eprintln!("{}", difference.row());
            }
            found.extend(package.differences);
            played.insert(package.story);
        }
    }
    assert_eq!(documented.disagreements(&found, |story| played.contains(story)), "");
    let least = if only.is_some() { [0, 0] } else { [20, 5] };
    assert!(
        installed[0] >= least[0] && installed[1] >= least[1],
        "installed by both, of {} packages: {installed:?}",
        played.len()
    );
}
