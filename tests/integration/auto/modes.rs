//! `--check`, `--offline`, `--json`, pipes and terminals.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use dkms_tests::story::{Run, Source, Story, program};

/// Everything below a root: names, kinds, modes, owners, times to the nanosecond, and where links lead.
fn snapshot(story: &Story) -> BTreeMap<PathBuf, String> {
    let entries = walkdir::WalkDir::new(story.path("")).into_iter().flatten();
    let state = |entry: walkdir::DirEntry| {
        let m = entry.metadata().expect("metadata");
        let link = fs::read_link(entry.path()).unwrap_or_default();
        let text = format!(
            "{:o} {} {} {} {}.{} {}",
            m.mode(),
            m.uid(),
            m.gid(),
            m.len(),
            m.mtime(),
            m.mtime_nsec(),
            link.display()
        );
        (entry.into_path(), text)
    };
    entries.map(state).collect()
}

#[test]
fn check_writes_nothing_whatever_is_asked() {
    let story = Story::with_driver();
    let check = |words: &[&str], code: i32| {
        let before = snapshot(&story);
        let mut words = words.to_vec();
        words.push("--check");
        story.run(&words).assert(code, &[]);
        let after = snapshot(&story);
        let changed: Vec<_> = after
            .iter()
            .filter(|(path, state)| before.get(*path) != Some(state))
            .chain(before.iter().filter(|(path, _)| !after.contains_key(*path)))
            .collect();
        assert!(changed.is_empty(), "{words:?} changed {changed:?}");
    };
    let devices = story.device_list().display().to_string();
    let machine = ["--kernel", &story.kernel, "--devices", &devices];
    let with = |words: &[&'static str]| [words, &machine[..]].concat();
    let auto: Vec<&str> = with(&["--auto"]);
    // On a machine that has nothing yet, on one that knows the index, and on one that is served.
    check(&auto, 0);
    check(&["sync"], 0);
    check(&["hold", "edu"], 0);
    check(&["fetch", "edu"], 3);
    story.run(&["sync"]).assert(0, &[]);
    check(&auto, 0);
    check(&["fetch", "edu"], 0);
    check(&["install", "edu", "--kernel", &story.kernel], 0);
    for words in [&["devices"][..], &["plan"], &["explain", "1234:11e8"]] {
        check(&[words, &machine[..]].concat(), 0);
    }
    story.auto(&[]).assert(0, &["installed edu 1.0"]);
    story.add("edu", "1.1", 0x11e8, Source::Good);
    story.publish();
    check(&auto, 0);
    check(&["remove", "edu"], 0);
    check(&["unhold", "edu"], 0);
    for words in [&["status"][..], &["history"], &["search", "edu"]] {
        check(words, 0);
    }
}

#[test]
fn after_a_sync_and_a_fetch_no_network_is_needed() {
    let story = Story::with_driver();
    story.run(&["fetch", "edu"]).assert(0, &[]);
    // Nobody listens there, and nobody is asked.
    story.use_mirror("http://127.0.0.1:9/");
    let offline = |words: &[&str]| story.run(&[words, &["--offline"]].concat());
    let devices = story.device_list().display().to_string();
    let machine = ["--kernel", &story.kernel, "--devices", &devices];
    offline(&["sync"]).assert(0, &[]);
    offline(&["search", "edu"]).assert(0, &["edu 1.0"]);
    offline(&[&["plan"], &machine[..]].concat()).assert(0, &["1 package would be installed"]);
    offline(&[&["explain", "1234:11e8"], &machine[..]].concat()).assert(0, &["driver available: edu 1.0"]);
    story
        .auto(&["--offline", "--check"])
        .assert(0, &["1 package would be installed"]);
    let run = story.auto(&["--offline"]);
    run.assert(0, &["installed edu 1.0"]);
    assert!(
        !run.stderr.contains("error:") && !run.stderr.contains("failed"),
        "{}",
        run.stderr
    );
    offline(&["install", "edu", "--kernel", &story.kernel]).assert(0, &[]);
}

#[test]
fn every_document_has_a_name_a_version_and_its_fields() {
    let story = Story::with_driver();
    let devices = story.device_list().display().to_string();
    let machine = ["--kernel", &story.kernel, "--devices", &devices];
    let check = |words: &[&str], name: &str, fields: &[&str]| {
        let run = story.run(&[words, &["--json"]].concat());
        for line in run.stdout.lines() {
            let value: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
            assert!(
                value.get("event").is_some() || value.get("document").is_some(),
                "{words:?}: {line}"
            );
        }
        let document = run.document();
        assert_eq!(document["document"], name, "{words:?}: {}", run.stdout);
        assert_eq!(document["schema"], 1, "{words:?}");
        assert_eq!(document["exit"], run.code, "{words:?}");
        let mut found: Vec<&str> = document
            .as_object()
            .expect("an object")
            .keys()
            .map(String::as_str)
            .collect();
        found.sort_unstable();
        let mut expected = [fields, &["document", "exit", "schema", "version"]].concat();
        expected.sort_unstable();
        assert_eq!(found, expected, "{words:?}");
    };
    let report = [
        "changed",
        "command",
        "duration_ms",
        "kernels",
        "repositories",
        "root",
        "time",
        "warnings",
    ];
    let on = |words: &[&'static str]| [words, &machine[..]].concat();
    check(&["search", "edu"], "failure", &["error", "hint"]);
    check(&["sync"], "sync", &["changed", "repositories"]);
    check(&["search", "edu"], "search", &["packages"]);
    check(&["fetch", "edu", "--check"], "fetch", &["packages"]);
    check(&["fetch", "edu"], "fetch", &["packages"]);
    check(&on(&["devices"]), "report", &report);
    check(&on(&["plan"]), "report", &report);
    check(&on(&["explain", "1234:11e8"]), "explain", &["explanations"]);
    check(&on(&["--auto"]), "report", &report);
    check(&["install", "edu", "--kernel", &story.kernel], "report", &report);
    check(&["status"], "status", &["held", "installed", "quarantined"]);
    check(&["history"], "history", &["entries"]);
    check(&["hold", "edu"], "hold", &["changed", "check", "packages"]);
    check(&["unhold", "edu"], "unhold", &["changed", "check", "packages"]);
    check(&["doctor", "--kernel", &story.kernel], "doctor", &["findings"]);
    check(&["remove", "edu", "--check"], "remove", &["check", "packages"]);
    check(&["remove", "edu"], "remove", &["check", "packages"]);
    check(&["remove", "edu"], "failure", &["error", "hint"]);
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    let story = Story::with_driver();
    story.auto(&[]).assert(0, &[]);
    for words in [
        &["status"][..],
        &["history"],
        &["doctor", "--kernel", &story.kernel],
        &["status", "--json"],
        &["search", "edu"],
    ] {
        let mut child = program(&story.arguments(words))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        // Both ends are closed before anything is said.
        drop(child.stdout.take());
        drop(child.stderr.take());
        let status = child.wait().expect("it ends");
        assert!(matches!(status.code(), Some(0 | 1)), "{words:?}: {status}");
    }
}

#[test]
fn a_terminal_sees_bars_and_colours_unless_it_does_not_want_them() {
    let story = Story::with_driver();
    let words = |arguments: &[String]| {
        let quoted = arguments.iter().map(|word| format!("'{word}'"));
        quoted.collect::<Vec<_>>().join(" ")
    };
    let on_a_terminal = |no_colour: bool| {
        let command = format!(
            "{} {}",
            dkms_tests::dkms::ours().display(),
            words(&story.auto_arguments(&[]))
        );
        let mut script = Command::new("script");
        script
            .args(["-qec", &command, "/dev/null"])
            .env("TERM", "xterm")
            .env_remove("NO_COLOR");
        if no_colour {
            script.env("NO_COLOR", "1");
        }
        Run::of(script.stdin(Stdio::null()))
    };
    let colourful = on_a_terminal(false);
    colourful.assert(0, &["installed"]);
    // The spinner's dots and the erasing of its line: only a terminal gets them.
    assert!(colourful.stdout.contains("\u{1b}[2K"), "{:?}", colourful.stdout);
    assert!(colourful.stdout.contains("\u{1b}[32m"), "{:?}", colourful.stdout);
    story.run(&["remove", "edu"]).assert(0, &[]);
    let plain = on_a_terminal(true);
    plain.assert(0, &["installed"]);
    let is_colour = |part: &str| {
        part.split_once('m')
            .is_some_and(|(code, _)| !code.is_empty() && code.bytes().all(|b| b.is_ascii_digit() || b == b';'))
    };
    assert!(
        !plain.stdout.split("\u{1b}[").skip(1).any(is_colour),
        "{:?}",
        plain.stdout
    );
    // Elsewhere a line a step.
    story.run(&["remove", "edu"]).assert(0, &[]);
    let piped = story.auto(&[]);
    assert!(
        !piped.stderr.contains('\u{1b}') && piped.stderr.contains("fetched edu 1.0\n"),
        "{}",
        piped.stderr
    );
}

#[test]
fn what_changes_nothing_is_not_in_the_history() {
    let story = Story::with_driver();
    story.run(&["sync"]).assert(0, &[]);
    let changed = |words: &[&str], said: &str, code: i32| {
        let run = story.run(&[words, &["edu", "--detailed-exitcode", "--json"]].concat());
        run.assert(code, &[said]);
        run.document()["changed"].clone()
    };
    let neither = "edu is neither held nor quarantined: nothing to do";
    assert_eq!(changed(&["unhold"], neither, 0), false);
    assert_eq!(changed(&["hold", "--check"], "edu: would hold", 10), true);
    assert_eq!(changed(&["hold"], "edu is held", 10), true);
    assert_eq!(changed(&["hold"], "edu is held already", 0), false);
    assert_eq!(changed(&["unhold"], "edu may be installed again", 10), true);
    assert_eq!(changed(&["unhold"], neither, 0), false);
    let history = story.run(&["history", "--json"]).document();
    let actions = history["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|one| one["action"].clone());
    assert_eq!(actions.collect::<Vec<_>>(), ["sync", "hold", "unhold"]);
    // Each entry is one line of columns, as no terminal is there.
    let shown = story.run(&["history"]).stdout;
    assert!(
        shown.contains("Z  hold    edu  done\n") && shown.contains("Z  sync         done\n"),
        "{shown}"
    );
}
