//! What is installed beside the program: settings, units and their scripts.

mod hotplug;
mod runs;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use dkms_engine::root::Root;
use dkms_fetch::config::Config;
use dkms_tests::inputs;
use dkms_tests::process::{self, run};

fn unit(name: &str) -> String {
    let path = inputs::workspace().join("agent/units").join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A program at `path` that runs `body`.
fn program(path: &Path, body: &str) {
    process::program(path, &format!("#!/bin/sh\n{body}\n"));
}

/// A directory with the units, hooks and settings as they are installed.
fn installed() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let script = inputs::workspace().join("scripts/install-units.sh");
    run(Command::new(script).arg(dir.path()).arg("/usr"));
    dir
}

/// The settings as installed are all switched off.
#[test]
fn the_installed_settings_change_nothing() {
    let dir = installed();
    let text = fs::read_to_string(dir.path().join("etc/dkms-fetch/config.toml")).expect("settings");
    assert!(text.contains("\n# deny = "), "{text}");
    let config = Config::read(&Root::at(dir.path())).expect("good settings");
    assert_eq!(config, Config::default());
}

/// `journalctl -x` and the documentation know every id that is sent, and no other.
#[test]
fn every_message_is_in_the_catalog() {
    let ids = |text: &str, before: &str| -> BTreeSet<String> {
        let id = |rest: &str| rest.chars().take(32).collect::<String>();
        text.split(before)
            .skip(1)
            .map(id)
            .filter(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()))
            .collect()
    };
    let mut sent = ids(&unit("run.in"), " id=");
    assert_eq!(sent.len(), 7);
    sent.extend(ids(
        &unit("recover.in"),
        "SYSLOG_IDENTIFIER=dkms-fetch\\nDKMS_FETCH_EXIT=%s\\n' \\\n  ",
    ));
    assert_eq!(sent.len(), 8);
    assert_eq!(ids(&unit("dkms-fetch.catalog"), "\n-- "), sent);
    let page = fs::read_to_string(inputs::workspace().join("docs/services.md")).expect("a page");
    assert_eq!(ids(&page, "| `"), sent);
}

/// Runs the script of the first boot in a directory of its own, with programs that only say how they were called; the runs of `--auto` end with
/// `codes`, one after another. Returns what was called, and the exit code.
fn first_boot(has_medium: bool, codes: &str) -> (String, Option<i32>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| dir.path().join(name).display().to_string();
    let log = at("log");
    let script = unit("first-boot.in")
        .replace("@libexec@", &at("bin"))
        .replace("/dev/disk/by-label", &at("labels"))
        .replace("/run/dkms-fetch/medium", &at("medium"))
        .replace("/var/lib/dkms-fetch", &at("state"));
    fs::write(at("first-boot"), script).expect("a script");
    fs::create_dir(at("bin")).expect("a directory");
    fs::write(at("codes"), codes.replace(' ', "\n")).expect("a file");
    let next = format!("$(head -n 1 {0}); sed -i 1d {0}; exit $code", at("codes"));
    for (name, code) in [
        ("run", next.as_str()),
        ("mount", "0"),
        ("mountpoint", "1"),
        ("systemctl", "0"),
        ("sleep", "0"),
    ] {
        let text = format!("#!/bin/sh\necho {name} \"$@\" >>{log}\ncode={code}\nexit $code\n");
        fs::write(at(&format!("bin/{name}")), text).expect("a program");
        let made = Command::new("chmod")
            .args(["755", &at(&format!("bin/{name}"))])
            .status();
        assert!(made.expect("chmod runs").success());
    }
    if has_medium {
        fs::create_dir(at("labels")).expect("a directory");
        fs::write(at("labels/DKMSFETCH"), "").expect("a file");
    }
    let path = format!("{}:{}", at("bin"), std::env::var("PATH").expect("a path"));
    let ended = Command::new("/bin/sh").arg(at("first-boot")).env("PATH", path).status();
    assert!(dir.path().join("state/first-boot-done").exists());
    let log = fs::read_to_string(log).expect("a log").replace(&at(""), "");
    (log, ended.expect("sh runs").code())
}

#[test]
fn the_first_boot_mounts_a_medium_and_uses_it() {
    let (plain, _) = first_boot(false, "0");
    assert!(
        plain.ends_with("run --network-budget 300 --install-toolchain\n"),
        "{plain}"
    );
    let (with, _) = first_boot(true, "0");
    assert!(
        with.contains("mount -o ro,nosuid,nodev,noexec labels/DKMSFETCH medium\n"),
        "{with}"
    );
    assert!(
        with.ends_with("run --network-budget 300 --install-toolchain --medium medium\n"),
        "{with}"
    );
}

/// A network that goes away in the middle is waited for. What does not build is not tried for ever.
#[test]
fn the_first_boot_tries_again() {
    for (codes, pauses, ended) in [
        ("0", "", 0),
        ("3 75 4 7", "15 30 60", 0),
        ("6 5 0", "15 30", 0),
        ("5 5 5 5", "15 30 60", 5),
        ("3 6 3 6 6 6", "15 30 60 120 240", 6),
        ("8", "", 8),
    ] {
        let (log, code) = first_boot(false, codes);
        let slept: Vec<&str> = log.lines().filter_map(|line| line.strip_prefix("sleep ")).collect();
        assert_eq!(
            (slept.join(" ").as_str(), code),
            (pauses, Some(ended)),
            "{codes}\n{log}"
        );
    }
}

/// What systemd says of the units as they are installed. Debian's own units, which they name, are not all here.
#[test]
fn systemd_finds_nothing_wrong() {
    let dir = installed();
    let units = dir.path().join("usr/lib/systemd/system");
    let mut names: Vec<_> = fs::read_dir(&units)
        .expect("units")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    names.sort();
    assert_eq!(names.len(), 9, "{names:?}");
    for path in &names {
        // The programs are not installed: only that would be missing.
        let text = fs::read_to_string(path).expect("a unit");
        let text = text
            .replace("/usr/libexec/dkms-fetch/", "/bin/true ")
            .replace("/usr/bin/dkms-fetch", "/bin/true");
        fs::write(path, text).expect("a unit");
    }
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(&names)
        .env("SYSTEMD_UNIT_PATH", format!("{}:", units.display()))
        .output()
        .expect("systemd-analyze");
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("dkms")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
}

/// A machine on which a kernel is installed: the script as it is installed, with a program in place of dkms-fetch that only says how it was
/// called.
struct Kernels {
    dir: tempfile::TempDir,
}

impl Kernels {
    fn new(has_repository: bool) -> Self {
        let kernels = Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
        };
        for dir in ["bin", "modules/6.1.0", "modules/6.12.0", "run", "repos.d"] {
            fs::create_dir_all(kernels.path(dir)).expect("a directory");
        }
        if has_repository {
            fs::write(kernels.path("repos.d/a.toml"), "").expect("a file");
        }
        let program = format!("#!/bin/sh\necho \"$*\" >>{}\nexit 8\n", kernels.path("log"));
        fs::write(kernels.path("bin/dkms-fetch"), program).expect("a program");
        let made = Command::new("chmod")
            .args(["755", &kernels.path("bin/dkms-fetch")])
            .status();
        assert!(made.expect("chmod runs").success());
        let script = unit("new-kernel.in")
            .replace("@bin@", &kernels.path("bin"))
            .replace("/lib/modules", &kernels.path("modules"))
            .replace("/etc/dkms-fetch/repos.d", &kernels.path("repos.d"))
            .replace("/usr/share/dkms-fetch/repos.d", "/nowhere");
        fs::write(kernels.path("new-kernel"), script).expect("a script");
        kernels
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Runs the script, and returns how the program was called in this run.
    fn call(&self, word: &str, is_within_apt: bool) -> String {
        let _ = fs::remove_file(self.path("log"));
        let mut command = Command::new("/bin/sh");
        command
            .args([&self.path("new-kernel"), word])
            .env("DKMS_FETCH_RUN", self.path("run"))
            .env("DKMS_FETCH_APT_CONF", "/dev/null");
        if is_within_apt {
            command.env("DPKG_FRONTEND_LOCKED", "true");
        }
        assert!(
            command.status().expect("sh runs").success(),
            "it never fails an installation"
        );
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

#[test]
fn a_kernel_that_is_installed_gets_its_drivers_and_is_checked() {
    let auto = |kernel: &str| format!("--auto --kernel {kernel} --network-budget 30 --install-toolchain=false\n");
    let kernels = Kernels::new(true);
    let both = |kernel: &str| format!("{}check-kernel {kernel}\n", auto(kernel));
    assert_eq!(kernels.call("6.12.0", false), both("6.12.0"));
    assert_eq!(kernels.call("6.99.0", false), "", "its modules are gone");
    // apt calls dpkg several times, and the hook of the image and of the headers.
    for kernel in ["6.12.0", "6.1.0", "6.12.0"] {
        assert_eq!(kernels.call(kernel, true), "");
    }
    assert_eq!(kernels.call("run", false), both("6.1.0") + &both("6.12.0"));
    assert_eq!(kernels.call("run", false), "");
    assert_eq!(Kernels::new(false).call("6.12.0", false), "check-kernel 6.12.0\n");
}

/// The real apt reads the file, and runs the script after dpkg.
#[test]
fn apt_runs_the_hook_after_dpkg() {
    let dir = installed();
    let conf = dir.path().join("etc/apt/apt.conf.d/70dkms-fetch");
    let output = Command::new("apt-config")
        .arg("dump")
        .env("APT_CONFIG", &conf)
        .output()
        .expect("apt-config");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && shown.contains("/usr/libexec/dkms-fetch/new-kernel run"),
        "{output:?}"
    );
    for hook in [
        "usr/lib/dracut/modules.d/90dkms-fetch/module-setup.sh",
        "usr/lib/initcpio/install/dkms-fetch",
    ] {
        let checked = Command::new("bash").arg("-n").arg(dir.path().join(hook)).status();
        assert!(checked.expect("bash").success(), "{hook}");
    }
    for hook in [
        "usr/share/initramfs-tools/hooks/dkms-fetch",
        "etc/kernel/postinst.d/zz-dkms-fetch",
        "etc/kernel/header_postinst.d/zz-dkms-fetch",
        "usr/lib/kernel/install.d/95-dkms-fetch.install",
        "usr/libexec/dkms-fetch/new-kernel",
    ] {
        let checked = Command::new("sh").arg("-n").arg(dir.path().join(hook)).status();
        assert!(checked.expect("sh").success(), "{hook}");
        // Where the package is removed and not purged, the hook does nothing.
        if hook.starts_with("etc/") {
            let run = Command::new("sh").arg(dir.path().join(hook)).arg("6.1.0").status();
            assert!(run.expect("sh").success(), "{hook}");
        }
    }
}

/// A real bus, and a server of notifications on it.
#[test]
fn a_session_shows_the_notification() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let user = run(Command::new("id").arg("-u"));
    let session = dir.path().join(user.trim());
    fs::create_dir(&session).expect("a directory");
    let address = format!("unix:path={}", session.join("bus").display());
    let mut bus = Child(
        Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--print-address=1"])
            .arg(format!("--address={address}"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("dbus-daemon starts"),
    );
    read_line(&mut bus.0);
    let notify = |text: &str| {
        let script = inputs::workspace().join("agent/units/notify.in");
        let mut command = Command::new("sh");
        command.arg(script).arg(text).env("DKMS_FETCH_USERS", dir.path());
        run(&mut command)
    };
    // Nobody listens: nothing is started, and nothing fails.
    notify("not heard");
    let server = inputs::workspace().join("tests/support/notifications.py");
    let mut server = Child(
        Command::new(inputs::python())
            .arg(server)
            .arg(&address)
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts"),
    );
    let lines = BufReader::new(server.0.stdout.take().expect("a pipe")).lines();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let next = || receiver.recv_timeout(Duration::from_secs(60)).expect("a line");
    assert_eq!(next(), "ready");
    notify("A driver was installed: $(id) \"quoted\"");
    assert_eq!(next(), "Drivers: A driver was installed: $(id) \"quoted\"");
}

/// A process that ends with the test.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn read_line(child: &mut std::process::Child) {
    let mut line = String::new();
    let stdout = child.stdout.as_mut().expect("a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    assert!(line.starts_with("unix:"), "{line}");
}
