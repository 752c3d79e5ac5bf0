//! A sample of Debian's dkms.confs means to us what it means to Debian's dkms. All of them: `make test-full`.

use dkms_tests::dkms::upstream_conf::differences;
use dkms_tests::inputs;

#[test]
fn confs_with_logic_in_them_evaluate_as_by_debian() {
    // Sources the kernel's .config; many modules; patches; nothing but assignments.
    let sample = [
        "v4l2loopback-dkms_0.12.7",
        "xtrx-dkms",
        "langford-dkms_0.0.20130228-6.3",
        "tp-smapi-dkms_0.43",
        "r8168-dkms",
    ];
    let (compared, different) = differences(&sample.map(inputs::deb));
    assert_eq!(compared, sample.len() * 2);
    assert!(different.is_empty(), "{}", different.join("\n"));
}
