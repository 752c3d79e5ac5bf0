//! The same calls on Debian's `dkms` and on ours; what differs must be in docs/dkms-compat.md, with the reason.

mod scenarios;

use std::collections::BTreeSet;

use dkms_tests::dkms::{Difference, Documented};
use dkms_tests::inputs;

#[test]
fn every_difference_from_debian_is_documented_and_every_documented_one_is_there() {
    let documented = Documented::read(&inputs::workspace().join("docs/dkms-compat.md"));
    let only = std::env::var("DKMS_SCENARIO").ok();
    let played: Vec<_> = scenarios::ALL
        .iter()
        .filter(|scenario| only.as_deref().is_none_or(|name| name == scenario.name))
        .collect();
    let found: BTreeSet<Difference> = played
        .iter()
        .flat_map(|scenario| scenario.differences(&documented))
        .collect();
    let ours: BTreeSet<&str> = played.iter().map(|scenario| scenario.name).collect();
    let listed = documented
        .behaviour
        .iter()
        .filter(|row| ours.contains(row.scenario.as_str()) || only.is_none());
    let listed: BTreeSet<Difference> = listed.cloned().collect();
    let new: Vec<String> = found.difference(&listed).map(Difference::row).collect();
    let gone: Vec<String> = listed.difference(&found).map(Difference::row).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "not in docs/dkms-compat.md:\n{}\n\nin docs/dkms-compat.md, but not so:\n{}",
        new.join("\n"),
        gone.join("\n")
    );
}
