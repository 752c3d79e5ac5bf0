//! The same calls on upstream's 3.2 and on ours; what differs must be in docs/dkms-compat.md, with the reason.

use std::collections::BTreeSet;

use dkms_tests::dkms::{Difference, Documented, Program, package};

#[path = "../integration/dkms_compat/scenarios/mod.rs"]
mod scenarios;

#[test]
fn every_difference_from_upstream_is_documented_and_every_documented_one_is_there() {
    let documented = Documented::of_workspace();
    let only = std::env::var("DKMS_SCENARIO").ok();
    let is_played = |name: &str| !package::is_story(name) && only.as_deref().is_none_or(|only| only == name);
    let found: BTreeSet<Difference> = scenarios::all()
        .filter(|scenario| is_played(scenario.name))
        .flat_map(|scenario| scenario.play_beside(Program::Upstream, &documented).differences)
        .collect();
    assert_eq!(documented.upstream_disagreements(&found, is_played), "");
}
