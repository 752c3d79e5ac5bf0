//! User data: checked and carried out by the real cloud-init, Debian's, unpacked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dkms_tests::inputs;
use dkms_tests::process::program;

use super::{assert_commands_are_ours, assert_is_ours, example, text};

/// cloud-init of Debian, unpacked: its own check of user data.
fn cloud_init_schema(file: &Path) {
    let run = Command::new(inputs::python())
        .args(["-m", "cloudinit.cmd.main", "schema", "--config-file"])
        .arg(file)
        .env(
            "PYTHONPATH",
            inputs::peer("cloud-init").join("usr/lib/python3/dist-packages"),
        )
        .output()
        .expect("cloud-init runs");
    assert!(
        run.status.success() && text(&run).contains("Valid cloud-config"),
        "{}",
        text(&run)
    );
}

#[test]
fn the_user_data_of_cloud_init_and_autoinstall_is_valid() {
    let file = example("cloud-init/user-data.yaml");
    cloud_init_schema(&file);
    // The words of its command are a list.
    let words = fs::read_to_string(&file).expect("readable");
    assert!(words.contains("[dkms-fetch, repo, add, "), "{words}");
    // cloud-init checks that there is an autoinstall of a version that it knows; what is in it is for Ubuntu's installer.
    let file = example("autoinstall/user-data.yaml");
    cloud_init_schema(&file);
    assert_commands_are_ours(&file, 2);
    // The check would find a mistake.
    let dir = tempfile::tempdir().expect("a directory");
    let wrong = dir.path().join("wrong.yaml");
    fs::write(&wrong, "#cloud-config\nruncmd: {a: b}\n").expect("a file");
    let run = Command::new(inputs::python())
        .args(["-m", "cloudinit.cmd.main", "schema", "--config-file"])
        .arg(&wrong)
        .env(
            "PYTHONPATH",
            inputs::peer("cloud-init").join("usr/lib/python3/dist-packages"),
        )
        .output()
        .expect("cloud-init runs");
    assert!(!run.status.success(), "{}", text(&run));
}

/// A machine that cloud-init finds: its `/etc`, `/var`, `/run` and `/tmp` are directories of the test, and what would change it are programs that
/// only write down how they were called. It has no network.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new(user_data: &Path) -> Self {
        let machine = Self {
            dir: tempfile::tempdir().expect("a directory"),
        };
        for dir in ["etc/cloud", "var/lib/cloud", "run", "tmp", "seed"] {
            fs::create_dir_all(machine.path(dir)).expect("a directory");
        }
        let write = |name: &str, text: &str| fs::write(machine.path(name), text).expect("a file");
        write("etc/cloud/cloud.cfg", &settings());
        write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
        write("etc/group", "root:x:0:\n");
        write("seed/meta-data", "instance-id: first\n");
        fs::copy(user_data, machine.path("seed/user-data")).expect("a file");
        for name in ["apt-get", "dkms-fetch", "systemctl"] {
            let note = format!("#!/bin/sh\nprintf '%s\\t' {name} \"$@\" >>/tmp/called\necho >>/tmp/called\n");
            program(&machine.path("programs").join(name), &note);
        }
        program(&machine.path("programs/eatmydata"), "#!/bin/sh\nexec \"$@\"\n");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The stages of a boot, as Debian's units run them.
    fn boot(&self) {
        let stages: [&[&str]; 4] = [
            &["init", "--local"],
            &["init"],
            &["modules", "--mode", "config"],
            &["modules", "--mode", "final"],
        ];
        for stage in stages {
            let run = self.cloud_init(stage);
            assert!(run.status.success(), "{stage:?}: {}", text(&run));
        }
        let result = fs::read_to_string(self.path("var/lib/cloud/data/result.json")).expect("a result");
        let result: serde_json::Value = serde_json::from_str(&result).expect("JSON");
        assert_eq!(result["v1"]["errors"], serde_json::json!([]), "{result}");
        let source = result["v1"]["datasource"].as_str().unwrap_or_default();
        assert!(source.starts_with("DataSourceNoCloud"), "{result}");
    }

    fn cloud_init(&self, words: &[&str]) -> Output {
        let mut command = Command::new("bwrap");
        command.args(["--unshare-all", "--die-with-parent", "--uid", "0", "--gid", "0"]);
        command.args([
            "--ro-bind",
            "/usr",
            "/usr",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            "--tmpfs",
            "/sys",
        ]);
        for dir in ["bin", "sbin", "lib", "lib64"] {
            command.args(["--symlink", &format!("usr/{dir}"), &format!("/{dir}")]);
        }
        for dir in ["etc", "var", "run", "tmp", "seed", "programs"] {
            command.arg("--bind").arg(self.path(dir)).arg(format!("/{dir}"));
        }
        let python = inputs::python();
        let venv = python.parent().and_then(Path::parent).expect("a directory").to_owned();
        let peer = inputs::peer("cloud-init");
        for dir in [&venv, &peer, &PathBuf::from(base_prefix())] {
            command.arg("--ro-bind").args([dir, dir]);
        }
        command
            .args(["--chdir", "/", "--clearenv", "--setenv", "HOME", "/root"])
            .args(["--setenv", "PATH", "/programs:/usr/sbin:/usr/bin"])
            .args(["--setenv", "PYTHONPATH"])
            .arg(peer.join("usr/lib/python3/dist-packages"))
            .arg(python)
            .args(["-m", "cloudinit.cmd.main"])
            .args(words)
            .output()
            .expect("bwrap runs")
    }

    /// What was called, in turn, each as its words.
    fn called(&self) -> Vec<Vec<String>> {
        let called = fs::read_to_string(self.path("tmp/called")).unwrap_or_default();
        let words = |line: &str| line.trim_end_matches('\t').split('\t').map(str::to_owned).collect();
        called.lines().map(words).collect()
    }
}

/// Where the Python of the tests has its library.
fn base_prefix() -> String {
    let run = Command::new(inputs::python())
        .args(["-c", "import sys; print(sys.base_prefix)"])
        .output()
        .expect("python runs");
    text(&run).trim().to_owned()
}

/// The settings of Debian with those modules alone that user data of ours has anything for, in Debian's order: others would look for disks, users and keys.
fn settings() -> String {
    let debian = fs::read_to_string(inputs::peer("cloud-init").join("etc/cloud/cloud.cfg")).expect("readable");
    let known = [
        "bootcmd",
        "write-files",
        "apt-configure",
        "runcmd",
        "package-update-upgrade-install",
        "scripts-user",
    ];
    let mut settings =
        "datasource_list: [NoCloud]\ndatasource: {NoCloud: {seedfrom: /seed/}}\nnetwork: {config: disabled}\n\
         apt: {preserve_sources_list: true}\n\
         system_info: {distro: debian, paths: {cloud_dir: /var/lib/cloud/, templates_dir: /etc/cloud/templates/}}\n"
            .to_owned();
    let mut found = 0;
    for section in ["cloud_init_modules", "cloud_config_modules", "cloud_final_modules"] {
        let (_, rest) = debian.split_once(&format!("\n{section}:\n")).expect("a section");
        let modules: Vec<String> = rest
            .lines()
            .map_while(|line| line.trim_start().strip_prefix("- "))
            .map(|name| name.replace('_', "-"))
            .filter(|name| known.contains(&name.as_str()))
            .collect();
        found += modules.len();
        settings += &format!("{section}: [{}]\n", modules.join(", "));
    }
    assert_eq!(found, known.len(), "{settings}");
    settings
}

/// The package is installed before its commands are called, which happens once.
#[test]
fn cloud_init_does_what_the_user_data_says() {
    let machine = Machine::new(&example("cloud-init/user-data.yaml"));
    machine.boot();
    let called = machine.called();
    let of = |program: &str| -> Vec<&Vec<String>> { called.iter().filter(|words| words[0] == program).collect() };
    let installed: Vec<&String> = of("apt-get").last().expect("a call").iter().rev().take(2).collect();
    assert_eq!(installed, ["dkms-fetch", "install"], "{called:?}");
    let names: Vec<&str> = called.iter().map(|words| words[0].as_str()).collect();
    assert!(names.ends_with(&["apt-get", "dkms-fetch", "systemctl"]), "{called:?}");

    let [ours] = of("dkms-fetch")[..] else {
        panic!("{called:?}")
    };
    assert_eq!(ours[1..4], ["repo", "add", "https://drivers.example.org/public/"]);
    assert_is_ours(&ours[1..].iter().map(String::as_str).collect::<Vec<_>>());
    let [systemctl] = of("systemctl")[..] else {
        panic!("{called:?}")
    };
    assert_eq!(systemctl[1..3], ["start", "--no-block"]);
    let unit = inputs::workspace()
        .join("agent/units")
        .join(format!("{}.in", systemctl[3]));
    assert!(unit.is_file(), "{}", unit.display());

    // The next boot of the same machine.
    machine.boot();
    assert_eq!(machine.called(), called);
}
