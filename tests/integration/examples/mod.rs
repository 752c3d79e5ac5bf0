//! The examples for installers and provisioning systems, each checked by the system's own tool.

mod cloud_init;
mod driver_disk;
mod images;
mod without_systemd;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dkms_tests::dkms::ours;
use dkms_tests::process::program;
use dkms_tests::story::Story;
use dkms_tests::{inputs, published};
use sha2::{Digest, Sha256};

fn example(name: &str) -> PathBuf {
    inputs::workspace().join("docs/examples").join(name)
}

/// A program that pip has installed beside the tests' Python, started by that Python.
fn tool(name: &str) -> Command {
    let python = inputs::python();
    let program = python.parent().expect("a directory").join(name);
    let mut command = Command::new(python);
    command.arg(program);
    command
}

fn text(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    format!("{out}\n{err}")
}

/// Our own parser takes these words.
fn assert_is_ours(words: &[&str]) {
    let root = tempfile::tempdir().expect("a directory");
    // In an empty root each of them ends with what is missing there, and not with a mistake of the command line.
    let run = Command::new(ours())
        .args(["--root", &root.path().display().to_string(), "--offline", "--check"])
        .args(words.iter().map(|word| match word {
            // Nobody listens there.
            word if word.starts_with("https://") => "http://127.0.0.1:9/",
            word => word,
        }))
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(said.contains("hint:") && !said.contains("Usage:"), "{words:?}: {said}");
}

/// Our command lines in an example: our own parser takes them.
fn assert_commands_are_ours(example: &Path, commands: usize) {
    let text = fs::read_to_string(example).expect("readable");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut found = 0;
    for command in lines.flat_map(|line| line.split([';', '|'])) {
        let Some((_, words)) = command.split_once("dkms-fetch ") else {
            continue;
        };
        if !(["repo add", "--auto", "plan"]
            .iter()
            .any(|start| words.starts_with(start)))
        {
            continue;
        }
        found += 1;
        assert_is_ours(&words.split_whitespace().collect::<Vec<_>>());
    }
    assert_eq!(found, commands, "{text}");
}

#[test]
fn the_kickstart_file_is_valid() {
    let file = example("kickstart/dkms-fetch.ks");
    let run = tool("ksvalidator")
        .args(["--version", "RHEL9"])
        .arg(&file)
        .output()
        .expect("ksvalidator runs");
    assert!(run.status.success(), "{}", text(&run));
    assert_commands_are_ours(&file, 2);
}

#[test]
fn the_preseed_file_is_valid() {
    let file = example("preseed/dkms-fetch.cfg");
    let run = Command::new("debconf-set-selections")
        .args(["--checkonly", "--verbose"])
        .arg(&file)
        .output()
        .expect("debconf-set-selections runs");
    assert!(
        run.status.success() && !text(&run).contains("warning"),
        "{}",
        text(&run)
    );
    assert_commands_are_ours(&file, 2);
}

#[test]
fn the_ansible_role_says_what_it_would_do_does_it_and_then_changes_nothing() {
    let story = Story::with_driver();
    fs::remove_file(story.path("etc/dkms-fetch/repos.d/test.toml")).expect("a file");
    let role = published::copy_of(&example("ansible"));
    let root = story.path("").display().to_string();
    let fingerprint = hex::encode(Sha256::digest(story.repo.pinned().expect("a root")));
    let devices = story.device_list().display().to_string();
    // It ends as where a key or a reboot is pending, whether or not it installed something.
    let program = role.path().join("dkms-fetch");
    let pending = format!(
        "#!/bin/sh\n'{}' \"$@\"; code=$?\ncase \" $* \" in *' --auto '*) exit 7;; *) exit $code;; esac\n",
        ours().display()
    );
    fs::write(&program, pending).expect("a file");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a program");
    let variables = serde_json::json!({
        "dkms_fetch_become": false,
        "dkms_fetch_url": story.own_mirror(),
        "dkms_fetch_fingerprint": fingerprint,
        "dkms_fetch_program": program.display().to_string(),
        "dkms_fetch_options": ["--root", root],
        "dkms_fetch_auto_options": ["--kernel", story.kernel, "--devices", devices],
        "dkms_fetch_etc": story.path("etc/dkms-fetch").display().to_string(),
        "ansible_connection": "local",
        "ansible_python_interpreter": inputs::python().display().to_string(),
    });
    let play = |more: &[&str]| {
        let run = tool("ansible-playbook")
            .current_dir(role.path())
            .env("ANSIBLE_LOCAL_TEMP", role.path().join("tmp"))
            .env("ANSIBLE_REMOTE_TEMP", role.path().join("tmp"))
            .env("ANSIBLE_NOCOLOR", "1")
            .env("LC_ALL", "C.UTF-8")
            .args(["-i", "localhost,", "site.yml", "--extra-vars", &variables.to_string()])
            .args(more)
            .output()
            .expect("ansible-playbook runs");
        assert!(run.status.success(), "{}", text(&run));
        text(&run)
    };
    let before = story.files();
    let said = play(&["--check"]);
    assert!(said.contains("changed=1") && said.contains("failed=0"), "{said}");
    story.assert_unchanged(&before);
    let said = play(&[]);
    assert!(said.contains("changed=2") && said.contains("failed=0"), "{said}");
    assert!(story.module("edu").is_file());
    let said = play(&["--check"]);
    assert!(said.contains("changed=0"), "{said}");
    let said = play(&[]);
    assert!(said.contains("changed=0") && said.contains("failed=0"), "{said}");
}

/// Scripts that other systems run: sound shell, and commands that our parser takes.
#[test]
fn the_scripts_of_fai_and_maas_are_sound() {
    for (name, commands) in [("fai/DKMSFETCH.sh", 2), ("maas/50-dkms-fetch.sh", 2)] {
        let file = example(name);
        let checked = Command::new("bash").arg("-n").arg(&file).output().expect("bash runs");
        assert!(checked.status.success(), "{}", text(&checked));
        assert_commands_are_ours(&file, commands);
    }
    // MAAS reads what is between the two lines as YAML.
    let script = fs::read_to_string(example("maas/50-dkms-fetch.sh")).expect("readable");
    let (_, rest) = script
        .split_once("# --- Start MAAS 1.0 script metadata ---\n")
        .expect("a beginning");
    let (metadata, _) = rest
        .split_once("# --- End MAAS 1.0 script metadata ---")
        .expect("an end");
    let metadata: String = metadata
        .lines()
        .map(|line| format!("{}\n", line.trim_start_matches("# ")))
        .collect();
    let read = "import sys, yaml; found = yaml.safe_load(sys.stdin); print(found['script_type'], found['name'])";
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("metadata"), &metadata).expect("a file");
    let run = Command::new(inputs::python())
        .args(["-c", read])
        .stdin(fs::File::open(dir.path().join("metadata")).expect("a file"))
        .output()
        .expect("python runs");
    assert!(
        text(&run).starts_with("commissioning 50-dkms-fetch\n"),
        "{}",
        text(&run)
    );
}

/// FAI runs the script for its class; the new system is the root of the story.
#[test]
fn fai_installs_drivers_into_its_target() {
    let story = Story::with_driver();
    let unit = inputs::workspace().join("agent/units/dkms-fetch-first-boot.service.in");
    let there = story.path("usr/lib/systemd/system/dkms-fetch-first-boot.service");
    fs::create_dir_all(there.parent().expect("a directory")).expect("a directory");
    fs::write(there.with_file_name("multi-user.target"), "[Unit]\n").expect("a file");
    fs::copy(unit, there).expect("a file");
    let configured = story.path("etc/dkms-fetch/repos.d");
    let fai = |script: &str| {
        fs::remove_dir_all(&configured).expect("a directory");
        let space = tempfile::tempdir().expect("a directory");
        let place = |name: &str, text: &str| program(&space.path().join(name), text);
        place("scripts/DKMSFETCH/10-drivers", script);
        // In the place of a chroot.
        // systemctl takes a path with `..` in it for one outside of itself.
        let root = fs::canonicalize(story.path("")).expect("a directory");
        let devices = story.device_list();
        let (root, devices) = (root.display(), devices.display());
        let program = ours();
        let program = program.display();
        place(
            "rootcmd",
            &format!(
                "#!/bin/sh\ncase $1 in systemctl) shift; exec systemctl --root '{root}' \"$@\";; esac\nshift\n\
                 case $1 in --auto) set -- \"$@\" --devices '{devices}';; esac\nexec '{program}' --root '{root}' \"$@\"\n"
            ),
        );
        Command::new("bash")
            .arg(inputs::peer("fai-client").join("usr/bin/fai-do-scripts"))
            .arg(space.path().join("scripts"))
            .env("classes", "DEFAULT DKMSFETCH LAST")
            .env("LOGDIR", space.path())
            .env("ROOTCMD", space.path().join("rootcmd"))
            .output()
            .map(|run| {
                (
                    run,
                    fs::read_to_string(space.path().join("scripts.log")).unwrap_or_default(),
                )
            })
            .expect("it runs")
    };
    let script = fs::read_to_string(example("fai/DKMSFETCH.sh")).expect("readable");
    let fingerprint = hex::encode(Sha256::digest(story.repo.pinned().expect("a root")));
    let ours = script
        .replace("https://drivers.example.org/public/", &story.own_mirror())
        .replace(&"0".repeat(64), &fingerprint);
    let (run, log) = fai(&ours);
    assert!(
        run.status.success() && text(&run).contains("OK."),
        "{}{log}",
        text(&run)
    );
    assert!(story.module("edu").is_file(), "{log}");
    assert!(configured.is_dir());
    let wanted = story.path("etc/systemd/system/multi-user.target.wants/dkms-fetch-first-boot.service");
    assert!(wanted.symlink_metadata().is_ok(), "{log}");

    // Another root than the one whose fingerprint the installation has: FAI says that the script failed.
    let (run, log) = fai(&ours.replace(&fingerprint, &"1".repeat(64)));
    assert!(text(&run).contains("FAILED with exit code"), "{}{log}", text(&run));
}
