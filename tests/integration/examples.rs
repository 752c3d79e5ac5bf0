//! The examples for installers and provisioning systems, each checked by the system's own tool.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dkms_tests::dkms::ours;
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

/// Our command lines in an example: our own parser takes them.
fn assert_commands_are_ours(example: &Path) {
    let text = fs::read_to_string(example).expect("readable");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut found = 0;
    for command in lines.flat_map(|line| line.split([';', '|'])) {
        let Some((_, words)) = command.split_once("dkms-fetch ") else {
            continue;
        };
        if !(words.starts_with("repo add") || words.starts_with("--auto")) {
            continue;
        }
        found += 1;
        let root = tempfile::tempdir().expect("a directory");
        // In an empty root each of them ends with what is missing there, and not with a mistake of the command line.
        let run = Command::new(ours())
            .args(["--root", &root.path().display().to_string(), "--offline", "--check"])
            .args(words.split_whitespace().map(|word| match word {
                // Nobody listens there.
                word if word.starts_with("https://") => "http://127.0.0.1:9/",
                word => word,
            }))
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(said.contains("hint:") && !said.contains("Usage:"), "{words}: {said}");
    }
    assert_eq!(found, 2, "{text}");
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
    assert_commands_are_ours(&file);
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
    assert_commands_are_ours(&file);
}

#[test]
fn the_ansible_role_says_what_it_would_do_does_it_and_then_changes_nothing() {
    let story = Story::with_driver();
    fs::remove_file(story.path("etc/dkms-fetch/repos.d/test.toml")).expect("a file");
    let role = published::copy_of(&example("ansible"));
    let root = story.path("").display().to_string();
    let fingerprint = hex::encode(Sha256::digest(story.repo.pinned().expect("a root")));
    let devices = story.device_list().display().to_string();
    let variables = serde_json::json!({
        "dkms_fetch_become": false,
        "dkms_fetch_url": story.own_mirror(),
        "dkms_fetch_fingerprint": fingerprint,
        "dkms_fetch_program": ours().display().to_string(),
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
