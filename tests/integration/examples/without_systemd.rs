//! The examples for OpenRC and cron, each started by the real thing: Debian's OpenRC, unpacked, and run-parts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use dkms_tests::inputs;
use dkms_tests::process::program;

use super::{example, text};

/// A directory with an example in which our programs are others that only say that they were called.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self {
            dir: tempfile::tempdir().expect("a directory"),
        };
        for name in ["first-boot", "pending", "logger"] {
            machine.program(name, "exit 0");
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program that writes down how it was called and then runs `body`.
    fn program(&self, name: &str, body: &str) {
        let log = self.path("called").display().to_string();
        program(
            &self.path("bin").join(name),
            &format!("#!/bin/sh\necho {name} \"$@\" >>{log}\n{body}\n"),
        );
    }

    /// The example with the paths of this machine.
    fn install(&self, name: &str, at: &Path) {
        let here = |name: &str| self.path(name).display().to_string();
        let script = fs::read_to_string(example(name))
            .expect("readable")
            .replace("/usr/libexec/dkms-fetch", &here("bin"))
            .replace("/var/lib/dkms-fetch", &here("state"))
            .replace("/var/log", &here("log"))
            .replace("/run/dkms-fetch-first-boot.pid", &here("first-boot.pid"));
        fs::create_dir_all(self.path("log")).expect("a directory");
        program(at, &script);
        let checked = Command::new("sh").arg("-n").arg(at).output().expect("sh runs");
        assert!(checked.status.success(), "{}", text(&checked));
    }

    fn called(&self) -> String {
        fs::read_to_string(self.path("called")).unwrap_or_default()
    }

    /// Waits until a line with `word` was written down.
    fn wait_for(&self, word: &str) {
        let started = Instant::now();
        while !self.called().lines().any(|line| line.starts_with(word)) {
            assert!(started.elapsed() < Duration::from_secs(60), "{word}: {}", self.called());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The shell part of Debian's OpenRC, which is what runs a service's script. Its own directory is where it was unpacked.
fn openrc(machine: &Machine, word: &str) -> Output {
    let rc = machine.path("rc");
    if !rc.exists() {
        let there = inputs::peer("openrc").join("lib/rc");
        let copied = Command::new("cp").arg("-r").args([&there, &rc]).status();
        assert!(copied.expect("cp runs").success());
        for entry in fs::read_dir(rc.join("sh")).expect("a directory") {
            let path = entry.expect("an entry").path();
            let script = fs::read_to_string(&path).expect("readable");
            let script = script.replace("/lib/rc/", &format!("{}/", rc.display()));
            fs::write(&path, script).expect("a file");
        }
        fs::create_dir_all(machine.path("services/options")).expect("a directory");
        fs::write(machine.path("services/softlevel"), "").expect("a file");
    }
    let libraries: Vec<_> = glob::glob(&format!("{}/lib/*/", inputs::peer("openrc").display()))
        .expect("a pattern")
        .map(|path| path.expect("a path").display().to_string())
        .collect();
    Command::new("/bin/sh")
        .arg(rc.join("sh/openrc-run.sh"))
        .args([&machine.path("init.d/dkms-fetch"), Path::new(word)])
        .env_clear()
        .env("LD_LIBRARY_PATH", libraries.join(":"))
        .env(
            "PATH",
            format!("{0}/bin:{0}/sbin:/usr/sbin:/usr/bin:/sbin:/bin", rc.display()),
        )
        .env("RC_SVCNAME", "dkms-fetch")
        .env("RC_SVCDIR", machine.path("services"))
        .env("RC_LIBEXECDIR", &rc)
        .env("RC_SYS", "PREFIX")
        .output()
        .expect("it runs")
}

/// The first boot's program runs in the background with its output in the log; later boots only look whether a key is waited for.
#[test]
fn openrc_starts_the_first_boot() {
    let machine = Machine::new();
    machine.program(
        "first-boot",
        &format!(
            "echo out\necho err >&2\nuntil [ -e {0} ]; do sleep 0.05; done",
            machine.path("go").display()
        ),
    );
    machine.install("openrc/dkms-fetch.initd", &machine.path("init.d/dkms-fetch"));
    let needs = openrc(&machine, "depend");
    assert!(
        text(&needs).contains("keyword -container -lxc -docker"),
        "{}",
        text(&needs)
    );

    let run = openrc(&machine, "start");
    assert!(run.status.success(), "{}", text(&run));
    machine.wait_for("first-boot");
    assert!(
        machine.called().starts_with("pending\nfirst-boot\n"),
        "{}",
        machine.called()
    );
    let pid = fs::read_to_string(machine.path("first-boot.pid")).expect("a number");
    let command = fs::read_to_string(format!("/proc/{}/cmdline", pid.trim())).expect("it runs still");
    assert!(command.contains("first-boot"), "{command}");
    // A second start finds it.
    let run = openrc(&machine, "start");
    assert!(!run.status.success(), "{}", text(&run));
    fs::write(machine.path("go"), "").expect("a file");
    let started = Instant::now();
    while Path::new("/proc").join(pid.trim()).exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "it does not end");
        thread::sleep(Duration::from_millis(20));
    }
    let log = fs::read_to_string(machine.path("log/dkms-fetch.log")).expect("a log");
    assert_eq!(log, "out\nerr\n");

    fs::create_dir(machine.path("state")).expect("a directory");
    fs::write(machine.path("state/first-boot-done"), "").expect("a file");
    fs::remove_file(machine.path("called")).expect("a file");
    let run = openrc(&machine, "start");
    assert!(
        run.status.success() && text(&run).contains("are installed"),
        "{}",
        text(&run)
    );
    assert_eq!(machine.called(), "pending\n");
}

/// run-parts goes on to the next job at once. What a run's end says is in the log, and in that of the system where somebody should look.
#[test]
fn cron_runs_the_daily_job_and_the_next_one() {
    for (code, is_told) in [
        (0, false),
        (3, false),
        (7, false),
        (75, false),
        (1, true),
        (5, true),
        (8, true),
    ] {
        let machine = Machine::new();
        let go = machine.path("go").display().to_string();
        machine.program("sleep", &format!("until [ -e {go} ]; do /bin/sleep 0.05; done"));
        machine.program("run", &format!("echo what it says\nexit {code}"));
        machine.program("ionice", "shift 2\nexec \"$@\"");
        let job = machine.path("daily/dkms-fetch");
        machine.install("cron/dkms-fetch", &job);
        machine.program("logrotate", "");
        let logrotate = fs::read_to_string(machine.path("bin/logrotate")).expect("readable");
        program(&machine.path("daily/logrotate"), &logrotate);
        let ran = Command::new("run-parts")
            .arg(machine.path("daily"))
            .env(
                "PATH",
                format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", machine.path("bin").display()),
            )
            .output()
            .expect("run-parts runs");
        assert!(ran.status.success() && ran.stdout.is_empty(), "{}", text(&ran));
        machine.wait_for("sleep");
        let called = machine.called();
        assert!(called.contains("logrotate\n") && !called.contains("run\n"), "{called}");
        let pause = called
            .lines()
            .find_map(|line| line.strip_prefix("sleep "))
            .expect("a pause");
        let pause: u32 = pause.parse().expect("a number");
        assert!(pause < 14400, "{pause}");
        fs::write(&go, "").expect("a file");
        machine.wait_for("run");
        if is_told {
            machine.wait_for("logger");
        }
        let called = machine.called();
        assert!(called.contains("ionice -c 3 "), "{called}");
        let log = machine.path("log/dkms-fetch.log");
        assert_eq!(fs::read_to_string(&log).expect("a log"), "what it says\n");
        let told = format!("logger -t dkms-fetch -p daemon.err the daily run ended with exit code {code}: see ");
        assert_eq!(called.contains(&told), is_told, "{code}: {called}");
    }
    // Where the package was removed and not purged, the job does nothing.
    let machine = Machine::new();
    machine.install("cron/dkms-fetch", &machine.path("daily/dkms-fetch"));
    let ran = Command::new(machine.path("daily/dkms-fetch"))
        .output()
        .expect("it runs");
    assert!(ran.status.success(), "{}", text(&ran));
    assert_eq!(machine.called(), "");
}
