//! Devices as libudev shows them beside the same machine read from its recording.

use std::process::Command;

use dkms_fetch::device::{self, Device, recorded};
use dkms_tests::inputs;

/// umockdev pretends that the recorded machine is this one; libudev must then find what our own reader finds in the file.
#[test]
fn a_mocked_machine_is_the_same_through_libudev_and_from_its_file() {
    const UNDER_UMOCKDEV: &str = "DKMS_TEST_UNDER_UMOCKDEV";
    let file = inputs::workspace().join("fixtures/machines/workbench.umockdev");
    if std::env::var_os(UNDER_UMOCKDEV).is_some() {
        let mut found = device::scan().expect("libudev answers");
        let mut expected = recorded::read(&file).expect("a recorded machine");
        for devices in [&mut found, &mut expected] {
            devices.iter_mut().for_each(forget_modules);
            devices.sort_by(|a, b| a.path.cmp(&b.path));
        }
        assert_eq!(found, expected);
        assert!(found.len() > 5, "a machine has devices");
        return;
    }
    let output = Command::new("umockdev-run")
        .arg("--device")
        .arg(&file)
        .arg("--")
        .arg(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            "device::a_mocked_machine_is_the_same_through_libudev_and_from_its_file",
        ])
        .env(UNDER_UMOCKDEV, "1")
        .output()
        .expect("umockdev-run runs (`make setup` installs it)");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// A recording does not say which module a driver came from, and the mocked `/sys` has no modules.
fn forget_modules(device: &mut Device) {
    if let device::Binding::Bound { module, .. } = &mut device.binding {
        *module = None;
    }
}

#[test]
fn every_recorded_machine_can_be_read_and_twins_stay_twins() {
    let check = |name: &str, count: usize| {
        let path = inputs::workspace().join("fixtures/machines").join(name);
        let devices = recorded::read(&path).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(devices.len(), count, "{name}");
    };
    check("laptop-fujitsu-p8010.modaliases", 22);
    check("laptop-thinkpad.modaliases", 108);
    check("server-2-socket.modaliases", 63);
    check("touchpad-synaptics.modaliases", 6);
    check("usb-fido2-key.modaliases", 8);
}
