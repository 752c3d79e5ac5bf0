//! How a run is told: in the journal, at logins and in sessions.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{program, unit};

/// The script of a run with programs that only say how they were called; `code` is how `dkms-fetch` ends.
fn service_run(dir: &Path, code: i32) -> (Option<i32>, String) {
    let at = |name: &str| dir.join(name).display().to_string();
    let script = unit("run.in")
        .replace("@libexec@", &at("bin"))
        .replace("@bin@", &at("bin"));
    fs::write(at("run"), script).expect("a script");
    for (name, code) in [("dkms-fetch", code), ("notify", 0), ("logger", 0)] {
        program(
            &dir.join("bin").join(name),
            &format!("echo {name} \"$@\" >>{}\nexit {code}", at("log")),
        );
    }
    fs::write(at("log"), "").expect("a file");
    let output = Command::new("sh")
        .arg(at("run"))
        .arg("--medium")
        .env("PATH", format!("{}:/usr/bin:/bin", at("bin")))
        .env("DKMS_FETCH_MOTD", dir)
        .output()
        .expect("sh");
    (output.status.code(), fs::read_to_string(at("log")).expect("a log"))
}

/// A login says what waits as long as it waits, and a session hears of it once.
#[test]
fn what_waits_for_a_person_is_told() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let pending = dir.path().join("dkms-fetch-pending");
    let (code, log) = service_run(dir.path(), 7);
    assert_eq!(code, Some(7));
    assert!(
        log.contains("dkms-fetch --auto --detailed-exitcode --medium\n"),
        "{log}"
    );
    assert!(
        log.contains("notify Drivers are installed and wait for a reboot"),
        "{log}"
    );
    assert!(log.contains("logger --journald\n"), "{log}");
    let text = fs::read_to_string(&pending).expect("a line for logins");
    assert!(text.ends_with(": dkms-fetch status; dkms-fetch mok status\n"), "{text}");
    let (_, log) = service_run(dir.path(), 7);
    assert!(!log.contains("notify"), "told already: {log}");
    let (code, log) = service_run(dir.path(), 10);
    assert_eq!(code, Some(0));
    assert!(log.contains("notify A driver was installed"), "{log}");
    assert!(!pending.exists());
    let (code, log) = service_run(dir.path(), 11);
    assert_eq!(code, Some(0));
    assert!(!log.contains("notify") && !log.contains("logger"), "{log}");
    let (code, log) = service_run(dir.path(), 5);
    assert_eq!(code, Some(5));
    assert!(log.contains("logger") && !log.contains("notify"), "{log}");
}
