//! Every dkms.conf of Debian's *-dkms packages means to us what it means to Debian's dkms.

use dkms_tests::dkms::upstream_conf::differences;
use dkms_tests::inputs;

#[test]
fn every_conf_of_debian_evaluates_as_by_debian() {
    let (compared, different) = differences(&inputs::all_debs());
    assert!(compared >= 20, "only {compared} confs were compared");
    assert!(different.is_empty(), "of {compared}:\n{}", different.join("\n"));
}
