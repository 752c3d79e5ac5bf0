//! Going back to an earlier entry of the history.

use std::fs;
use std::time::Duration;

use dkms_engine::root::Root;
use dkms_fetch::state::Paths;
use dkms_fetch::state::records::Records;
use dkms_tests::story::{Source, Story, program};

/// A machine with two versions of a driver on offer, the older one installed first (entry 1 of the history), then the newer one (entry 2).
fn updated() -> Story {
    let story = Story::new();
    story.add("edu", "1.0", 0x11e8, Source::Good);
    story.add("edu", "2.0", 0x11e8, Source::Good);
    story.publish();
    story.run(&["install", "edu/1.0"]).assert(0, &["installed edu 1.0"]);
    story.run(&["install", "edu/2.0"]).assert(0, &["installed edu 2.0"]);
    story
}

/// The version of the module that is installed; none where there is no module.
fn version(story: &Story) -> Option<&'static str> {
    let module = fs::read(story.module("edu")).ok()?;
    ["1.0", "2.0"].into_iter().find(|version| {
        let wanted = format!("version={version}");
        module.windows(wanted.len()).any(|bytes| bytes == wanted.as_bytes())
    })
}

fn records(story: &Story) -> Records {
    Records::open(&Paths::of(&Root::at(story.path("")))).expect("records")
}

#[test]
fn the_build_before_an_update_comes_back_and_the_update_too() {
    let story = updated();
    let history = story.run(&["history"]);
    for start in ["    1  20", "\n    2  20"] {
        assert!(history.stdout.contains(start), "{}", history.stdout);
    }

    let before = story.files();
    let check = story.run(&["rollback", "1", "--check", "--detailed-exitcode"]);
    let would = format!("would install edu 1.0 in place of 2.0 for kernel {}", story.kernel);
    check.assert(10, &[&would]);
    story.assert_unchanged(&before);

    // The tree has the build: nothing has to be served.
    story.use_mirror("file:///nowhere/");
    let run = story.run(&["rollback", "--last"]);
    run.assert(0, &["installed edu 1.0 in place of 2.0 for kernel"]);
    assert_eq!(version(&story), Some("1.0"));
    assert!(!story.path("var/lib/dkms/edu/2.0").exists() && !story.path("usr/src/edu-2.0").exists());
    let quarantined = records(&story).quarantined().expect("records");
    assert_eq!(quarantined.len(), 1, "{quarantined:?}");
    assert_eq!(
        (&*quarantined[0].version, &*quarantined[0].reason),
        ("2.0", "taken back to entry 1 of the history")
    );
    story
        .run(&["rollback", "1"])
        .assert(0, &["nothing to do: this is the state after entry 1"]);

    // The last run was that one: its undoing needs the source, which is gone here and fetched again.
    story.use_mirror(&story.own_mirror());
    let run = story.run(&["rollback", "--last"]);
    run.assert(0, &["installed edu 2.0 in place of 1.0 for kernel"]);
    assert_eq!(version(&story), Some("2.0"));
    let quarantined = records(&story).quarantined().expect("records");
    assert_eq!(quarantined.iter().map(|one| &*one.version).collect::<Vec<_>>(), ["1.0"]);

    story
        .run(&["rollback", "0"])
        .assert(0, &["removed edu 2.0 from kernel"]);
    assert_eq!(version(&story), None);
    assert!(!story.path("usr/src/edu-2.0").exists());
    // What was taken away stays away.
    story.auto(&[]).assert(0, &["taken back to entry 0 of the history"]);
    assert_eq!(version(&story), None);
}

#[test]
fn what_cannot_be_brought_back_changes_nothing() {
    let story = updated();
    story.run(&["remove", "edu=1.0"]).assert(0, &["removed edu/1.0"]);
    story
        .run(&["rollback", "7"])
        .assert(2, &["entry 7 of the history cannot be gone back to: there are 0 to "]);
    fs::remove_file(story.path("etc/dkms-fetch/repos.d/test.toml")).expect("a repository");
    let run = story.run(&["rollback", "1"]);
    run.assert(
        1,
        &[
            "edu 1.0 for kernel",
            "it is not built any more, and no repository offers it",
        ],
    );
    assert_eq!(version(&story), Some("2.0"));
    assert_eq!(records(&story).quarantined().expect("records"), []);
}

#[test]
fn a_version_that_does_not_build_any_more_leaves_the_newer_one() {
    let story = updated();
    story.run(&["remove", "edu=1.0"]).assert(0, &["removed edu/1.0"]);
    // The headers went with an update of the system.
    fs::remove_file(story.path(&format!("lib/modules/{}/build", story.kernel))).expect("a link");
    let run = story.run(&["rollback", "1"]);
    assert_ne!(run.code, 0, "{}", run.stdout);
    assert_eq!(version(&story), Some("2.0"), "{}", run.stderr);
    assert_eq!(records(&story).unfinished_rollback().expect("records"), None);
}

#[test]
fn a_kernel_can_be_chosen() {
    let story = updated();
    let other = story.second_kernel("6.1.0-99-amd64");
    let run = story.run(&["rollback", "1", "--kernel", &other]);
    run.assert(0, &["nothing to do"]);
    assert_eq!(version(&story), Some("2.0"));
}

/// Killed at any moment, there is the one version or the other, and the next run that writes ends what was begun.
#[test]
fn a_rollback_that_is_killed_is_gone_on_with() {
    let story = updated();
    for delay in [0, 10, 20, 30, 40, 60, 80, 120] {
        let mut run = program(&story.arguments(&["rollback", "1"]));
        let mut child = run.spawn().expect("the program starts");
        std::thread::sleep(Duration::from_millis(delay));
        child.kill().expect("it is killed");
        child.wait().expect("it ends");
        let found = version(&story);
        assert!(found.is_some(), "after {delay} ms");
        let was_begun = records(&story).unfinished_rollback().expect("records").is_some();
        story.run(&["recover"]).assert(0, &[]);
        assert_eq!(records(&story).unfinished_rollback().expect("records"), None);
        if was_begun || found == Some("1.0") {
            assert_eq!(version(&story), Some("1.0"), "after {delay} ms");
            story.run(&["install", "edu/2.0"]).assert(0, &[]);
        }
        assert_eq!(version(&story), Some("2.0"));
    }
    // The very moment after it was begun, and `--last` means the same one.
    for words in [&["recover"][..], &["rollback", "--last"]] {
        let records = records(&story);
        records.begin_rollback(1, story.repo.now).expect("records");
        drop(records);
        story.run(words).assert(0, &[]);
        assert_eq!(version(&story), Some("1.0"), "{words:?}");
        story.run(&["install", "edu/2.0"]).assert(0, &[]);
    }
}

/// A run was killed while it removed the source of a package: what is left of it is in nobody's way.
#[test]
fn a_source_that_was_half_removed_is_replaced() {
    let story = Story::new();
    story.add("edu", "1.0", 0x11e8, Source::Good);
    story.publish();
    let left = story.path("usr/src/edu-1.0");
    let leave = |is_ours: bool| {
        fs::create_dir_all(&left).expect("a directory");
        fs::write(left.join("edu.c"), "").expect("a file");
        if is_ours {
            let noted = records(&story).note_source("edu-1.0", &"0".repeat(64), story.repo.now);
            noted.expect("records");
        }
    };
    // Somebody else's directory stays.
    leave(false);
    let refused = story.run(&["install", "edu/1.0"]);
    assert_ne!(refused.code, 0);
    assert!(left.join("edu.c").exists());
    leave(true);
    story.run(&["install", "edu/1.0"]).assert(0, &["installed edu 1.0"]);
    assert_eq!(version(&story), Some("1.0"));
}

#[test]
fn a_rollback_without_a_goal_and_one_to_a_word_name_the_way_out() {
    let story = Story::new();
    story.run(&["rollback"]).assert(2, &["<ENTRY|--last>"]);
    story
        .run(&["rollback", "yesterday"])
        .assert(2, &["'yesterday'", "`dkms-fetch history` shows", "--last"]);
    story
        .run(&["rollback", "1", "--last"])
        .assert(2, &["cannot be used with"]);
}
