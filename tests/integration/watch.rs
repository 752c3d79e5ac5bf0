//! `watch`, as far as it can be tried without a device that is plugged in: `scripts/e2e/unattended` plugs one in.

use std::process::Command;

use dkms_tests::sources;

#[test]
fn an_image_is_not_watched() {
    let dir = sources::open_tempdir();
    let output = Command::new(assert_cmd::cargo::cargo_bin("dkms-fetch"))
        .arg("--root")
        .arg(dir.path())
        .arg("watch")
        .output()
        .expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("watch is for the machine that it runs on"), "{stderr}");
    assert!(stderr.contains("hint: leave out --root"), "{stderr}");
    assert!(output.stdout.is_empty());
}
