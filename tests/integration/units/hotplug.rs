//! A device that is plugged in starts a run, and what no run can serve starts no more of them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{program, unit};

/// A machine with USB devices, and programs that only say how they were called. The scripts are those that are installed.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    /// `dkms-fetch` runs `during`, and ends with `code`.
    fn new(code: i32, during: &str) -> Self {
        let machine = Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
        };
        fs::create_dir_all(machine.path("sys/bus/usb/devices")).expect("a directory");
        let bin = machine.path("bin");
        for script in ["hotplug", "run"] {
            let text = unit(&format!("{script}.in"))
                .replace("@libexec@", &bin.display().to_string())
                .replace("@bin@", &bin.display().to_string());
            program(&bin.join(script), &text);
        }
        program(&bin.join("dkms-fetch"), &format!("{during}\nexit {code}"));
        for name in ["notify", "logger"] {
            program(&bin.join(name), "exit 0");
        }
        // No unit is active.
        program(
            &bin.join("systemctl"),
            &format!(
                "echo \"$@\" >>{}\n[ \"$1\" != is-active ]",
                machine.path("log").display()
            ),
        );
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn device(&self, name: &str, modalias: &str) -> PathBuf {
        let path = self.path("sys/bus/usb/devices").join(name);
        fs::create_dir_all(&path).expect("a directory");
        fs::write(path.join("modalias"), format!("{modalias}\n")).expect("a file");
        path
    }

    fn call(&self, word: &str) -> Option<i32> {
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        let state = self.path("state");
        fs::create_dir_all(&state).expect("a directory");
        let ended = Command::new(self.path("bin/hotplug"))
            .arg(word)
            .env("PATH", path)
            .env("DKMS_FETCH_SYS", self.path("sys"))
            .env("DKMS_FETCH_RUN", self.path("run"))
            .env("DKMS_FETCH_STATE", &state)
            .env("DKMS_FETCH_MOTD", self.path("motd"))
            .status();
        ended.expect("sh runs").code()
    }

    /// Whether a run would be started.
    fn check(&self) -> bool {
        match self.call("check") {
            Some(0) => true,
            Some(1) => false,
            other => panic!("hotplug check ended with {other:?}"),
        }
    }

    fn known(&self) -> String {
        fs::read_to_string(self.path("state/without-driver")).unwrap_or_default()
    }
}

fn bind(device: &Path) {
    fs::create_dir(device.join("driver")).expect("a directory");
}

/// A run is started for a device without a driver that the last run did not know.
#[test]
fn a_device_without_a_driver_is_noticed_once() {
    let machine = Machine::new(0, "");
    let bound = machine.device("1-1:1.0", "usb:v0001p0001");
    fs::create_dir_all(machine.path("sys/bus/usb/drivers/x")).expect("a directory");
    symlink("../../drivers/x", bound.join("driver")).expect("a link");
    assert!(!machine.check(), "every device has a driver");
    machine.device("1-2:1.0", "usb:v0002p0002");
    assert!(machine.check());
    assert_eq!(machine.call("run"), Some(0));
    assert_eq!(machine.known(), "usb:v0002p0002\n");
    assert!(!machine.check(), "known since the last run");
    machine.device("1-3:1.0", "usb:v0003p0003");
    assert!(machine.check(), "one more");
}

/// By each exit code of the program: how the service ends, and whether a boot after it starts another run.
#[test]
fn a_run_knows_the_devices_that_it_was_done_with() {
    for (code, ended, is_known) in [
        (0, 0, true),
        (1, 1, false),
        (2, 2, false),
        (3, 3, false),
        (4, 4, false),
        (5, 5, true),
        (6, 6, true),
        (7, 7, true),
        (8, 8, true),
        (10, 0, true),
        (11, 0, true),
        (75, 75, false),
        (129, 129, false),
        (130, 130, false),
        (143, 143, false),
        // Killed, or not there.
        (137, 137, false),
        (127, 127, false),
    ] {
        let machine = Machine::new(code, "");
        machine.device("1-1:1.0", "usb:v0001p0001");
        assert_eq!(machine.call("run"), Some(ended), "{code}");
        assert_eq!(machine.check(), !is_known, "after {code}");
        assert_eq!(machine.known().is_empty(), !is_known, "after {code}");
    }
}

/// The unit fails as the daily one does: what a person should look at. That is once for a device, since what the run knew starts none.
#[test]
fn the_unit_fails_where_the_daily_one_does() {
    for service in ["dkms-fetch.service.in", "dkms-fetch-hotplug.service.in"] {
        let text = unit(service);
        let codes: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("SuccessExitStatus="))
            .collect();
        assert_eq!(codes, ["3 7 75"], "{service}");
    }
}

/// A device that comes during the run was not seen by it: it starts another one, and is not taken for known. One that got its driver is not kept.
#[test]
fn a_device_that_comes_during_a_run_has_its_turn() {
    let late = "mkdir -p \"$DKMS_FETCH_SYS/bus/usb/devices/1-9:1.0\"; echo usb:v0009p0009 >\"$DKMS_FETCH_SYS/bus/usb/devices/1-9:1.0/modalias\"";
    let served = "mkdir \"$DKMS_FETCH_SYS/bus/usb/devices/1-2:1.0/driver\"";
    let machine = Machine::new(6, &format!("{late}\n{served}"));
    machine.device("1-1:1.0", "usb:v0001p0001");
    machine.device("1-2:1.0", "usb:v0002p0002");
    bind(&machine.device("1-3:1.0", "usb:v0003p0003"));
    assert_eq!(machine.call("run"), Some(6));
    assert_eq!(machine.known(), "usb:v0001p0001\n");
    assert!(machine.check(), "the one that came late");
    let log = fs::read_to_string(machine.path("log")).expect("a log");
    assert!(log.contains("--no-block start dkms-fetch-hotplug.timer\n"), "{log}");
}
