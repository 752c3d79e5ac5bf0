//! The same calls on Debian's `dkms` and on ours; what differs must be in docs/dkms-compat.md, with the reason.

mod scenarios;

use std::collections::BTreeSet;

use dkms_tests::dkms::{Difference, Documented, package};
use dkms_tests::inputs;

#[test]
fn every_difference_from_debian_is_documented_and_every_documented_one_is_there() {
    let documented = Documented::of_workspace();
    let only = std::env::var("DKMS_SCENARIO").ok();
    let is_played = |name: &str| !package::is_story(name) && only.as_deref().is_none_or(|only| only == name);
    let found: BTreeSet<Difference> = scenarios::all()
        .filter(|scenario| is_played(scenario.name))
        .flat_map(|scenario| scenario.play_on_both(&documented).differences)
        .collect();
    assert_eq!(documented.disagreements(&found, is_played), "");
}

/// One of one module, one of seven with a script after its build. All of Debian's: `make test-full`.
#[test]
fn debian_s_packages_are_installed_alike() {
    let documented = Documented::of_workspace();
    for deb in ["adv-17v35x-dkms", "digimend-dkms"].map(inputs::deb) {
        for played in package::play(&deb, 1, &documented) {
            let found = played.differences.into_iter().collect();
            assert_eq!(documented.disagreements(&found, |name| name == played.story), "");
            assert_eq!(played.installed_by_both, [true], "{}", played.story);
        }
    }
}
