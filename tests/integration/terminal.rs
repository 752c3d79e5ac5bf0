//! Text of packages and devices on a real terminal: what a terminal would act on is shown as an escape, and never sent. Through a pipe
//! colours are removed, so each program runs on a pseudo-terminal of script(1) here.

use std::fs;
use std::process::{Command, Output};

use dkms_tests::dkms::{Hello, Machine, Program};
use dkms_tests::inputs;
use dkms_tests::story::{EDU, Source, Story, program};

/// What writes the clipboard, moves the cursor, hides text (by C0 and C1), rings, and turns the order of a line around.
const ATTACK: &str = "A\u{1b}]52;c;RVZJTA==\u{7}B\u{1b}[5;5HC\u{1b}[8mD\u{9b}8mE\u{202e}F\u{2066}G\u{8}\u{8}H";
/// The attack without the bytes that a document may not have.
const BIDI: &str = "E\u{202e}F\u{2066}G";

/// `command` as a line for the shell that script(1) starts.
fn shell_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted = words.map(|word| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''")));
    quoted.collect::<Vec<_>>().join(" ")
}

/// What `command` writes to a terminal, on both outputs.
fn on_terminal(command: &Command) -> String {
    let mut script = Command::new("script");
    script.args(["-qefc", &shell_line(command), "/dev/null"]);
    script
        .env("TERM", "xterm-256color")
        .env("COLUMNS", "200")
        .env_remove("NO_COLOR");
    text(script.output().expect("script(1) of util-linux runs"))
}

fn text(output: Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Nothing of [`ATTACK`] was sent, and the text around it was shown.
#[track_caller]
fn check(shown: &str, what: &str) {
    check_nothing_sent(shown, what);
    assert!(
        shown.contains("E\\u{202e}F\\u{2066}G"),
        "{what} is not shown: {shown:?}"
    );
}

#[track_caller]
fn check_nothing_sent(shown: &str, what: &str) {
    let sent = [
        "\u{1b}]",
        "\u{7}",
        "\u{1b}[5;5H",
        "\u{1b}[8m",
        "\u{9b}",
        "\u{202e}",
        "\u{2066}",
        "\u{8}",
    ];
    for control in sent {
        assert!(!shown.contains(control), "{control:?} of {what} was sent: {shown:?}");
    }
}

/// The same for JSON, which has escapes of its own.
#[track_caller]
fn check_json(shown: &str, what: &str) {
    assert!(
        !shown.contains('\u{202e}') && !shown.contains('\u{2066}'),
        "{what}: {shown:?}"
    );
    assert!(shown.contains("E\\u202eF\\u2066G"), "{what} is not shown: {shown:?}");
}

/// A package whose dkms.conf and files are these, on a machine with a kernel.
fn machine(conf: &'static str, files: &[(&str, &str)]) -> Machine {
    let machine = Machine::new(Program::Ours);
    let [release, _] = inputs::kernels();
    machine.add_kernel(&release);
    Hello::quick("hello", "1").with(conf).put(&machine);
    for (name, text) in files {
        machine.write(&format!("src/hello-1/{name}"), text);
        machine.make_executable(&format!("src/hello-1/{name}"));
    }
    machine
}

fn dkms(machine: &Machine, words: &str) -> String {
    let mut command = machine.command(&["script", "-qefc", words, "/dev/null"]);
    text(command.env("TERM", "xterm-256color").output().expect("script(1) runs"))
}

#[test]
fn dkms_shows_what_a_package_writes_and_sends_nothing_of_it() {
    let [release, _] = inputs::kernels();
    let printed = format!("#!/bin/bash\nprintf '%s\\n' 'evil.c:1:1: error: {ATTACK}' >&2\nexit 1\n");
    let build = format!("dkms build hello/1 -k {release}");

    let make = machine("MAKE[0]=\"'bash' ./evil.sh\"\n", &[("evil.sh", &printed)]);
    check(&dkms(&make, &build), "make's output");

    let pre_build = machine("PRE_BUILD=evil.sh\n", &[("evil.sh", &printed)]);
    check(&dkms(&pre_build, &build), "a script's output");

    let post_add = machine("POST_ADD=evil.sh\n", &[("evil.sh", &printed)]);
    check(&dkms(&post_add, "dkms add hello/1"), "the output of a script of root");

    let conf = format!("printf '%s\\n' '{ATTACK}' >&2; exit 3\n");
    let conf = machine(Box::leak(conf.into_boxed_str()), &[]);
    check(&dkms(&conf, "dkms add hello/1"), "dkms.conf's standard error");

    let excerpt = format!(") {ATTACK}\n");
    let excerpt = machine(Box::leak(excerpt.into_boxed_str()), &[]);
    check(&dkms(&excerpt, "dkms add hello/1"), "an excerpt of dkms.conf");
}

#[test]
fn the_agent_shows_what_packages_and_devices_say_and_sends_nothing_of_it() {
    let story = Story::new();
    story.add_changed("edu", "1.0", 0x11e8, Source::Good, |dir| {
        let makefile = format!("all:\n\t@printf '%s\\n' 'evil.c:1:1: error: {ATTACK}' >&2; exit 1\n");
        fs::write(dir.join("Makefile"), makefile).expect("a file");
        let conf = fs::read_to_string(dir.join("dkms.conf")).expect("a file");
        fs::write(dir.join("dkms.conf"), format!("{conf}MAKE[0]=\"make all\"\n")).expect("a file");
    });
    let stage = dkms_repo::stage::Stage::of(&story.repo.repository);
    let mut package = stage.get("edu", "1.0").expect("staged");
    package.manifest.summary = BIDI.to_owned();
    package.record.summary = BIDI.to_owned();
    stage.put(&package).expect("staged");
    story.publish();

    let auto = program(&story.auto_arguments(&[]));
    check(&on_terminal(&auto), "make's output");
    let run = |words: &[&str]| on_terminal(&program(&story.arguments(words)));
    check(&run(&["status"]), "the reason of a quarantine");
    check(&run(&["history"]), "a reason in the history");
    check(&run(&["search", "edu"]), "a summary");
    check_json(&run(&["search", "edu", "--json"]), "a summary in JSON");

    // A device's own strings, as udev would report them.
    let mut device = serde_json::json!({
        "path": "/devices/1", "subsystem": "usb", "modaliases": [EDU], "vendor": ATTACK, "model": ATTACK, "binding": {"state": "unknown"},
    });
    let recorded = story.repo.scratch().join("recorded.json");
    let report = serde_json::to_string(&serde_json::json!({"devices": [device.take()]})).expect("JSON");
    fs::write(&recorded, report).expect("a file");
    let devices = recorded.display().to_string();
    check(
        &run(&["devices", "--all", "--devices", &devices, "--kernel", &story.kernel]),
        "a device's name",
    );
    check(
        &run(&["explain", EDU, "--devices", &devices, "--kernel", &story.kernel]),
        "a device's name",
    );
}

#[test]
fn the_agent_sends_nothing_of_what_a_mirror_says() {
    let story = Story::with_driver();
    let timestamp = story.repo.public().join("metadata/timestamp.json");
    let text = serde_json::to_string(ATTACK).expect("JSON");
    for document in [
        format!("{{\"signed\":{{\"_type\":{text}}},\"signatures\":[]}}"),
        format!(
            "{{\"signed\":{{\"_type\":\"timestamp\",{text}:1}},\"signatures\":[{{\"keyid\":{text},\"sig\":{text}}}]}}"
        ),
        ATTACK.to_owned(),
    ] {
        fs::write(&timestamp, &document).expect("write");
        let shown = on_terminal(&program(&story.arguments(&["sync"])));
        assert!(shown.contains("error:") && shown.contains("hint:"), "{shown:?}");
        check_nothing_sent(&shown, &document);
    }
}

#[test]
fn the_publisher_shows_what_packages_say_and_sends_nothing_of_it() {
    let story = Story::new();
    let repository = story.repo.repository.path().display().to_string();
    let repo = |words: &[&str]| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("dkms-repo"));
        command.args(["-C", &repository]).args(words);
        on_terminal(&command)
    };
    let dir = story.repo.scratch().join("evil");
    fs::create_dir_all(&dir).expect("a directory");
    for conf in [
        format!("printf '%s\\n' '{ATTACK}' >&2; exit 3\n"),
        format!(") {ATTACK}\n"),
    ] {
        fs::write(dir.join("dkms.conf"), conf).expect("a file");
        check(&repo(&["add", &dir.display().to_string()]), "dkms.conf");
    }
    story.add("edu", "1.0", 0x11e8, Source::Good);
    let stage = dkms_repo::stage::Stage::of(&story.repo.repository);
    let mut package = stage.get("edu", "1.0").expect("staged");
    package.manifest.summary = BIDI.to_owned();
    package.record.summary = BIDI.to_owned();
    stage.put(&package).expect("staged");
    check(&repo(&["show", "edu"]), "a summary");
    check(&repo(&["show", &format!("--{}", ATTACK.replace('=', ""))]), "an option");
    check(&repo(&[ATTACK]), "a command");
    check_json(&repo(&["show", "edu", "--json"]), "a summary in JSON");
}

#[test]
fn the_programs_send_nothing_of_their_arguments() {
    let fetch = |words: &[&str]| on_terminal(&program(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>()));
    check(&fetch(&[ATTACK]), "a command");
    // What follows `=` is a value, and is not repeated.
    let option = format!("--{}", ATTACK.replace('=', ""));
    check(&fetch(&["devices", &option]), "an option");
    check(&fetch(&["history", "--last", ATTACK]), "a value");
    check(&fetch(&["dkms", "status", &option]), "an option of dkms");
    check(&fetch(&["dkms", ATTACK]), "a verb of dkms");
    check(&fetch(&["dkms", "build", "a/1", "-j", ATTACK]), "a value of dkms");
}
