//! How a run is told: in the journal, at logins and in sessions.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{program, unit};

/// The script of a run and that of a boot, with programs that only say how they were called, over boots.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
        };
        let bin = machine.path("bin");
        for script in ["run", "pending"] {
            let text = unit(&format!("{script}.in"))
                .replace("@libexec@", &bin.display().to_string())
                .replace("@bin@", &bin.display().to_string());
            program(&bin.join(script), &text);
        }
        let log = machine.path("log").display().to_string();
        for name in ["notify", "logger"] {
            program(&bin.join(name), &format!("echo {name} \"$@\" >>{log}"));
        }
        // `mok status` ends with 7 while a key is needed that is not enrolled.
        program(
            &bin.join("dkms-fetch"),
            &format!("echo dkms-fetch \"$@\" >>{log}\n[ \"$1\" != mok ] || exit \"$MOK\"\nexit \"$CODE\""),
        );
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a script. Returns how it ended and what it called.
    fn call(&self, script: &str, code: i32, mok: i32) -> (Option<i32>, String) {
        fs::write(self.path("log"), "").expect("a file");
        let ended = Command::new(self.path("bin").join(script))
            .arg("--medium")
            .env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()))
            .env("CODE", code.to_string())
            .env("MOK", mok.to_string())
            .env("DKMS_FETCH_MOTD", self.path("run/motd.d"))
            .env("DKMS_FETCH_RUN", self.path("run/dkms-fetch"))
            .env("DKMS_FETCH_STATE", self.path("var"))
            .status();
        let log = fs::read_to_string(self.path("log")).expect("a log");
        (ended.expect("sh runs").code(), log)
    }

    fn boot(&self, mok: i32) {
        let _ = fs::remove_dir_all(self.path("run"));
        // The condition of the unit.
        if self.path("var/pending").exists() {
            assert_eq!(self.call("pending", 0, mok).0, Some(0));
        }
    }

    /// What a login is told.
    fn told(&self) -> Option<String> {
        fs::read_to_string(self.path("run/motd.d/dkms-fetch-pending")).ok()
    }
}

/// What a run calls, by how it ended.
#[test]
fn what_a_run_did_is_told() {
    let machine = Machine::new();
    let (code, log) = machine.call("run", 7, 7);
    assert_eq!(code, Some(7));
    assert!(
        log.contains("dkms-fetch --auto --detailed-exitcode --medium\n"),
        "{log}"
    );
    assert!(log.contains("logger --journald\n"), "{log}");
    let text = machine.told().expect("a line for logins");
    assert!(text.ends_with(": dkms-fetch status; dkms-fetch mok status\n"), "{text}");
    let (code, log) = machine.call("run", 10, 0);
    assert_eq!(code, Some(0));
    assert!(log.contains("notify A driver was installed"), "{log}");
    let (code, log) = machine.call("run", 11, 0);
    assert_eq!(code, Some(0));
    assert!(!log.contains("notify") && !log.contains("logger"), "{log}");
    let (code, log) = machine.call("run", 5, 0);
    assert_eq!(code, Some(5));
    assert!(log.contains("logger") && !log.contains("notify"), "{log}");
}

/// Runs with exit codes and boots, in turn, and whether logins are told after each.
#[test]
fn logins_are_told_as_long_as_something_waits() {
    enum Step {
        /// A run with this exit code.
        Run(i32),
        /// A start of the machine.
        Boot,
        /// From now on the key is enrolled, or none is needed.
        KeyAccepted,
    }
    use Step::{Boot, KeyAccepted, Run};
    let check = |steps: &[(Step, bool)]| {
        let machine = Machine::new();
        let mut mok = 7;
        for (n, (step, is_told)) in steps.iter().enumerate() {
            match step {
                Run(code) => {
                    let ended = if matches!(code, 10 | 11) { 0 } else { *code };
                    assert_eq!(machine.call("run", *code, mok).0, Some(ended));
                }
                Boot => machine.boot(mok),
                KeyAccepted => mok = 0,
            }
            assert_eq!(machine.told().is_some(), *is_told, "after step {n}");
        }
        if steps
            .last()
            .is_some_and(|(step, is_told)| matches!(step, Boot) && !is_told)
        {
            assert!(!machine.path("var/pending").exists(), "the note is gone too");
        }
    };
    // What says nothing about what waits changes nothing, within a boot and over boots.
    for code in [1, 2, 3, 4, 5, 6, 8, 75, 129, 130, 137, 143] {
        check(&[(Run(code), false), (Run(7), true), (Run(code), true), (Run(code), true)]);
        check(&[
            (Run(7), true),
            (Run(code), true),
            (Boot, true),
            (Run(code), true),
            (Run(7), true),
        ]);
    }
    for code in [0, 10, 11] {
        check(&[
            (Run(7), true),
            (Run(75), true),
            (Run(code), false),
            (Run(75), false),
            (Boot, false),
        ]);
    }
    // Declined, over two boots, and then enrolled.
    check(&[
        (Run(7), true),
        (Boot, true),
        (Boot, true),
        (KeyAccepted, true),
        (Boot, false),
        (Boot, false),
    ]);
    // A reboot is what was waited for.
    check(&[
        (KeyAccepted, false),
        (Run(7), true),
        (Run(3), true),
        (Boot, false),
        (Boot, false),
    ]);
    // First a key, and then only a reboot.
    check(&[(Run(7), true), (KeyAccepted, true), (Run(7), true), (Boot, false)]);
}

/// A session hears once in each boot of what waits, and a boot says what a reboot cannot end.
#[test]
fn a_session_is_told_once_a_boot() {
    let machine = Machine::new();
    let hears = || {
        machine
            .call("run", 7, 7)
            .1
            .contains("notify Drivers are installed and wait for a reboot")
    };
    assert!(hears());
    assert!(!hears(), "told already");
    assert_eq!(machine.call("run", 75, 7).0, Some(75));
    assert!(!hears(), "told already");
    machine.boot(7);
    let line = machine.told().expect("a line");
    assert!(
        line.contains("wait for the enrolment of a key: dkms-fetch mok status"),
        "{line}"
    );
    assert!(hears(), "another boot");
    assert_eq!(machine.call("run", 0, 7).0, Some(0));
    assert!(hears(), "something else waits");
    // What cannot be asked is not taken for enrolled.
    let (ended, log) = machine.call("pending", 0, 1);
    assert_eq!((ended, log.as_str()), (Some(0), "dkms-fetch mok status\n"));
    assert!(machine.told().is_some() && machine.path("var/pending").exists());
}
