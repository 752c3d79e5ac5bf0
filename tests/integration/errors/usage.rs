//! What is wrong with the call, the configuration or the machine, found before anything is done.

use std::fs::{self, File};
use std::process::Command;

use dkms_tests::story::{AHCI, Run, Story, program};
use snapbox::str;

#[test]
fn every_error_has_its_code_and_its_way_out() {
    let story = Story::new();
    let check = |run: Run, code: i32, expected: snapbox::data::Inline| {
        assert_eq!(run.code, code, "{}", run.stderr);
        story.assert_shows(&run.stderr, expected);
    };
    check(
        story.run(&["--kernel", "9.9.9-none", "devices", "--devices", "/dev/null"]),
        2,
        str![[r#"
error: no device is in the recorded machine /dev/null
hint: record a machine with `find /sys/devices -name modalias -exec cat {} + > FILE`, `lspci -nn > FILE`, `lsusb > FILE` or `umockdev-record --all > FILE`

"#]],
    );
    let devices = story.device_list();
    let devices = devices.to_str().expect("UTF-8");
    check(
        story.run(&["--kernel", "9.9.9-none", "--devices", devices, "--auto"]),
        2,
        str![[r#"
error: kernel 9.9.9-none has neither modules nor headers in [ROOT]/lib/modules
hint: there are: [KERNEL]

"#]],
    );
    check(
        story.run(&["remove", "nothing"]),
        2,
        str![[r#"
error: package nothing is not installed
hint: dkms-fetch status

"#]],
    );
    check(
        story.run(&["explain", "ffff:ffff", "--devices", devices]),
        2,
        str![[r#"
error: no device matches ffff:ffff
hint: dkms-fetch devices --all

"#]],
    );
    check(
        story.run(&["search", "edu"]),
        3,
        str![[r#"
error: no index is cached for test
hint: dkms-fetch sync

"#]],
    );
    // Another run has the lock.
    let lock = story.path("var/lib/dkms-fetch/lock");
    fs::create_dir_all(lock.parent().expect("a parent")).expect("a directory");
    let file = File::create(&lock).expect("a file");
    file.lock().expect("a lock");
    check(
        story.auto(&[]),
        75,
        str![[r#"
error: another dkms-fetch is running and holds the lock [ROOT]/var/lib/dkms-fetch/lock
hint: wait for it to end; `fuser -v [ROOT]/var/lib/dkms-fetch/lock` names its process

"#]],
    );
    drop(file);
    fs::remove_file(story.path("etc/dkms-fetch/repos.d/test.toml")).expect("a file");
    check(
        story.auto(&[]),
        2,
        str![[r#"
error: no repository is configured in [ROOT]/etc/dkms-fetch/repos.d
hint: dkms-fetch repo add URL

"#]],
    );
    assert_eq!(story.run(&["--no-such-option"]).code, 2);
}

#[test]
fn a_configuration_that_cannot_be_read_is_shown_with_a_mark() {
    let story = Story::new();
    let check = |text: &str, expected: snapbox::data::Inline| {
        let before = story.files();
        story.write("etc/dkms-fetch/repos.d/bad.toml", text);
        let run = story.auto(&[]);
        fs::remove_file(story.path("etc/dkms-fetch/repos.d/bad.toml")).expect("it was there");
        assert_eq!(run.code, 2, "{}", run.stderr);
        story.assert_shows(&run.stderr, expected);
        story.assert_unchanged(&before);
    };
    check(
        "name = \"bad\"\nulrs = [\"https://x.example/\"]\nroot = \"r\"\n",
        str![[r#"
error: [ROOT]/etc/dkms-fetch/repos.d/bad.toml, line 2: unknown field `ulrs`, expected one of `name`, `urls`, `root`, `priority`, `enabled`
    ulrs = ["https://x.example/"]
    ^^^^
hint: `${EDITOR:-vi} +2 [ROOT]/etc/dkms-fetch/repos.d/bad.toml`

"#]],
    );
    check(
        "name = \"bad\nurls = []\n",
        str![[r#"
error: [ROOT]/etc/dkms-fetch/repos.d/bad.toml, line 1: [..]
    name = "bad
[..]^
hint: `${EDITOR:-vi} +1 [ROOT]/etc/dkms-fetch/repos.d/bad.toml`

"#]],
    );
    check(
        "name = \"../../etc\"\nurls = [\"https://x.example/\"]\nroot = \"r\"\n",
        str![[r#"
error: [ROOT]/etc/dkms-fetch/repos.d/bad.toml, line 1: a name is 1 to 64 letters, digits, `-`, `_` and `.`; "../../etc" is not
    name = "../../etc"
           ^^^^^^^^^^^
hint: `${EDITOR:-vi} +1 [ROOT]/etc/dkms-fetch/repos.d/bad.toml`

"#]],
    );
    check(
        "name = \"test\"\nurls = [\"https://x.example/\"]\nroot = \"r\"\n",
        str![[r#"
error: [ROOT]/etc/dkms-fetch/repos.d/test.toml: `name`: [ROOT]/etc/dkms-fetch/repos.d/bad.toml has the name `test` already
hint: `${EDITOR:-vi} [ROOT]/etc/dkms-fetch/repos.d/test.toml`

"#]],
    );
}

#[test]
fn a_pinned_root_that_is_missing_is_asked_for() {
    let story = Story::with_driver();
    let root = story.path("etc/dkms-fetch/repos.d/test.root.json");
    let whole = fs::read(&root).expect("a root");
    fs::remove_file(&root).expect("a root");
    let run = story.auto(&[]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    story.assert_shows(
        &run.stderr,
        str![[r#"
syncing test
error: repository test: the pinned root [ROOT]/etc/dkms-fetch/repos.d/test.root.json cannot be read: No such file or directory (os error 2)
hint: get the repository's root.json from its publisher and put it at [ROOT]/etc/dkms-fetch/repos.d/test.root.json

"#]],
    );
    story.assert_nothing_half_done("edu");
    fs::write(&root, whole).expect("a file");
    story.auto(&[]).assert(0, &["installed edu 1.0"]);
}

#[test]
fn only_root_changes_a_machine() {
    let story = Story::with_driver();
    let before = story.files();
    // Somebody else, who can still reach what we can.
    let nobody = |arguments: &[String]| {
        let program = program(arguments);
        Run::of(
            Command::new("setpriv")
                .args(["--reuid=1000", "--regid=1000", "--clear-groups"])
                .args([
                    "--inh-caps=+dac_override,+dac_read_search",
                    "--ambient-caps=+dac_override,+dac_read_search",
                ])
                .arg(program.get_program())
                .args(arguments),
        )
    };
    let run = nobody(&story.auto_arguments(&[]));
    assert_eq!(run.code, 2, "{}", run.stderr);
    story.assert_shows(
        &run.stderr,
        str![[r#"
error: only root may change [ROOT]
hint: run it as root, or try it with --check

"#]],
    );
    for words in [
        vec!["sync"],
        vec!["fetch", "edu"],
        vec!["install", "edu"],
        vec!["hold", "edu"],
    ] {
        nobody(&story.arguments(&words)).assert(2, &["only root may", "hint: run it as root"]);
    }
    story.assert_unchanged(&before);
    // Looking is everybody's.
    let devices = story.device_list().display().to_string();
    nobody(&story.arguments(&["devices", "--devices", &devices, "--kernel", &story.kernel])).assert(0, &["ahci"]);
    nobody(&story.auto_arguments(&["--check"])).assert(0, &["1 package would be installed"]);
}

#[test]
fn a_root_without_a_kernel_and_a_root_that_is_none() {
    let story = Story::with_driver();
    fs::rename(story.path("lib/modules"), story.path("lib/elsewhere")).expect("a directory");
    let devices = story.device_list().display().to_string();
    story.run(&["--auto", "--devices", &devices]).assert(
        2,
        &["no kernel is installed in", "hint: name one with --kernel RELEASE"],
    );
    let nowhere = ["--root", "/nowhere/at/all", "--auto"].map(str::to_owned);
    Run::of(&mut program(&nowhere)).assert(2, &["the root /nowhere/at/all is not a directory"]);
}

#[test]
fn nothing_that_matches_is_11_for_those_who_ask() {
    let story = Story::with_driver();
    story.devices(&[AHCI]);
    story.auto(&[]).assert(0, &["1 kernel driver"]);
    story.auto(&["--detailed-exitcode"]).assert(11, &["1 kernel driver"]);
    story
        .run(&["search", "nonsense", "--detailed-exitcode"])
        .assert(11, &[]);
}
