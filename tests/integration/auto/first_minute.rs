//! What a new user tries first: as an ordinary user, with what can be pasted, with names as other tools write them.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

use dkms_tests::dkms::ours;
use dkms_tests::story::{EDU, Run, Source, Story, program};

/// Runs the program with this standard input.
fn with_input(story: &Story, words: &[&str], input: &str) -> Run {
    let mut command = program(&story.arguments(words));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    child.wait_with_output().expect("it ends").into()
}

#[test]
fn an_ordinary_user_sees_what_root_sees() {
    let story = Story::with_driver();
    story.run(&["sync"]).assert(0, &[]);
    fs::set_permissions(story.path(""), fs::Permissions::from_mode(0o755)).expect("a mode");
    // Beside the root, where everybody may read it.
    let copy = story.path("program");
    fs::hard_link(ours(), &copy)
        .or_else(|_| fs::copy(ours(), &copy).map(drop))
        .expect("a copy");
    let list = story.path("devices");
    fs::write(&list, format!("{EDU}\n")).expect("a file");
    let devices = list.display().to_string();
    let machine = ["--kernel", &story.kernel, "--devices", &devices];
    // The repository itself is not for everybody: the plan comes from the cache.
    let as_user = |words: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&copy);
        command.args(story.arguments(words)).env("NO_COLOR", "1");
        Run::of(&mut command)
    };
    let with = |words: &[&'static str]| [words, &machine[..]].concat();
    as_user(&with(&["devices"])).assert(0, &["driver available", "edu 1.0"]);
    as_user(&["search", "edu"]).assert(0, &["edu 1.0"]);
    as_user(&with(&["explain", "1234:11e8"])).assert(0, &["driver available: edu 1.0"]);
    as_user(&with(&["plan", "--offline"])).assert(0, &["1 package would be installed"]);
    as_user(&with(&["--auto", "--check", "--offline"])).assert(0, &["1 package would be installed"]);
    as_user(&with(&["--auto"])).assert(2, &["only root may change"]);
    // What cannot be read is not called absent.
    let index = story.path("var/cache/dkms-fetch/index/test.db");
    fs::set_permissions(&index, fs::Permissions::from_mode(0o600)).expect("a mode");
    as_user(&with(&["devices"])).assert(0, &["test.db", "cannot be used", "it is not used"]);
}

#[test]
fn what_people_paste_is_read_from_standard_input() {
    let story = Story::with_driver();
    story.run(&["sync"]).assert(0, &[]);
    let devices = ["devices", "--kernel", &story.kernel, "--devices", "-"];
    let look = |input: &str| with_input(&story, &devices, input);
    look(&format!("{EDU}\n")).assert(0, &["driver available", "edu 1.0"]);
    look("00:04.0 Unclassified device [00ff]: Device [1234:11e8] (rev 10)\n")
        .assert(0, &["driver available", "1234:11e8"]);
    look("Bus 001 Device 002: ID 1532:0099 Razer USA, Ltd Basilisk\n").assert(0, &["no driver known", "1532:0099"]);
    look("00:1f.2 SATA controller: Intel Corporation 82801HM\n").assert(2, &["lspci without numbers", "use lspci -nn"]);
    look("pci:8086-2829-1043-8677;works;sata;ahci;Intel\n").assert(2, &["hw-probe"]);
}

#[test]
fn names_are_understood_and_near_ones_offered() {
    let story = Story::with_driver();
    story.run(&["sync"]).assert(0, &[]);
    let devices = story.device_list().display().to_string();
    for name in ["edu", "edu/1.0", "edu=1.0", "edu@1.0", "edu-dkms"] {
        story
            .run(&["fetch", name, "--check"])
            .assert(0, &["would fetch edu 1.0"]);
    }
    for words in [
        &["hold", "edo"][..],
        &["install", "edo", "--kernel", &story.kernel],
        &["search", "edo"],
    ] {
        story.run(words).assert(2, &["edo", "hint: did you mean edu?"]);
    }
    story
        .run(&["install", "edu/9", "--kernel", &story.kernel])
        .assert(2, &["no repository offers package edu/9"]);
    story
        .run(&["explain", "edu", "--kernel", &story.kernel, "--devices", &devices])
        .assert(0, &["driver available: edu 1.0"]);
    story.devices(&[dkms_tests::story::AHCI]);
    story
        .run(&["explain", "edu", "--kernel", &story.kernel, "--devices", &devices])
        .assert(0, &["no device of this machine asks for edu"]);
}

#[test]
fn a_removal_says_when_the_package_comes_back() {
    let story = Story::with_driver();
    let devices = story.device_list().display().to_string();
    let machine = ["--kernel", &story.kernel, "--devices", &devices];
    story.auto(&[]).assert(0, &["installed edu 1.0"]);
    story
        .run(&[&["remove", "edu"], &machine[..]].concat())
        .assert(0, &["removed edu/1.0", "installs edu again", "--hold"]);
    story.auto(&[]).assert(0, &["installed edu 1.0"]);
    let held = story.run(&[&["remove", "--hold", "edu"], &machine[..]].concat());
    held.assert(0, &["removed edu/1.0"]);
    assert!(!held.stderr.contains("again"), "{}", held.stderr);
    story.auto(&[]).assert(0, &["held", "1234:11e8"]);
    assert!(!story.module("edu").exists());
    story
        .run(&["remove", "edu"])
        .assert(2, &["package edu is not installed"]);
}

#[test]
fn what_another_package_needs_goes_with_it_or_not_at_all() {
    let story = Story::with_driver();
    story.auto(&[]).assert(0, &["installed edu 1.0"]);
    // Built with it by hand.
    let (kernel, arch) = (story.kernel.as_str(), std::env::consts::ARCH);
    story.write(
        "usr/src/top-1/dkms.conf",
        "PACKAGE_NAME=top\nPACKAGE_VERSION=1\nDEST_MODULE_LOCATION=/extra\nBUILD_DEPENDS=edu\n",
    );
    story.write(&format!("var/lib/dkms/top/1/{kernel}/{arch}/module/top.ko"), "");
    symlink("/usr/src/top-1", story.path("var/lib/dkms/top/1/source")).expect("link");
    let mark = story.path(&format!("var/lib/dkms/top/kernel-{kernel}-{arch}"));
    symlink(format!("1/{kernel}/{arch}"), mark).expect("link");
    for words in [&["remove", "edu"][..], &["remove", "edu", "--check"]] {
        story.run(words).assert(
            2,
            &[
                "edu/1.0 cannot be removed: top/1 needs it",
                "hint: dkms-fetch remove top edu",
            ],
        );
    }
    assert!(story.module("edu").exists());
    story
        .run(&["remove", "top", "edu"])
        .assert(0, &["removed top/1", "removed edu/1.0"]);
    assert!(!story.module("edu").exists());
}

#[test]
fn a_factory_can_require_drivers() {
    let story = Story::new();
    story.add("edu", "1.0", 0x11e8, Source::Broken);
    story.publish();
    story
        .auto(&["--check", "--require-all"])
        .assert(8, &["1 required device", "1234:11e8"]);
    story.auto(&["--check", "--require-all=8086:2829"]).assert(0, &[]);
    story.auto(&["--check", "--require-all=usb"]).assert(0, &[]);
    story.auto(&["--require-all"]).assert(5, &["1 required device"]);
    // Refused since it failed: without the option that is no error.
    story.auto(&[]).assert(0, &["refused"]);
    story
        .auto(&["--require-all=pci"])
        .assert(8, &["hint: dkms-fetch explain 1234:11e8"]);
    // An address without a repository is a mistake, and not something that passes.
    let empty = story.repo.scratch().join("empty");
    fs::create_dir_all(&empty).expect("a directory");
    story.use_mirror(&format!("file://{}/", empty.display()));
    let _ = fs::remove_dir_all(story.path("var/lib/dkms-fetch/trust"));
    story.auto(&[]).assert(2, &["there is no repository at this address"]);
}
