//! Packages that their repository revokes after they were installed.

use std::fs;

use dkms_index::document::revocation::{Action, Revocation, Subject};
use dkms_repo::authority::revoke;
use dkms_tests::story::{Source, Story, program};

/// A machine with the driver 1.0 installed.
fn installed() -> Story {
    let story = Story::with_driver();
    story.auto(&[]).assert(0, &["installed edu 1.0"]);
    story
}

fn withdraw(story: &Story, action: Action) {
    let revocation = Revocation {
        subject: Subject::Package {
            name: "edu".into(),
            from: None,
            to: Some("1.0".into()),
        },
        reason: "it eats disks".into(),
        action,
    };
    revoke(&story.repo.repository, revocation, jiff::Timestamp::now()).expect("revoked");
}

#[test]
fn what_is_to_go_goes_and_the_next_takes_its_place() {
    let story = installed();
    withdraw(&story, Action::Uninstall);

    let before = story.files();
    let check = story.auto(&["--check", "--detailed-exitcode"]);
    check.assert(
        10,
        &["would remove edu 1.0 from", "revoked by test: it eats disks", "refused"],
    );
    let check = story.auto(&["--check", "--json"]).document();
    assert_eq!(check["kernels"][0]["removals"][0]["outcome"], "planned");
    story.assert_unchanged(&before);

    // Done, and the device has no driver now.
    let run = story.auto(&["--detailed-exitcode"]);
    run.assert(
        6,
        &[
            "removed edu 1.0 from",
            "revoked by test: it eats disks",
            "revoked by its repository: it eats disks",
        ],
    );
    assert!(!story.module("edu").exists());
    assert!(!story.path("usr/src/edu-1.0").exists(), "its source went too");
    let alias = story.path(&format!("lib/modules/{}/modules.alias", story.kernel));
    assert!(
        !fs::read_to_string(alias)
            .expect("depmod ran")
            .contains("v00001234d000011E8")
    );
    let history = story.run(&["history", "--json"]).document();
    let last = history["entries"]
        .as_array()
        .and_then(|entries| entries.last())
        .cloned();
    let last = last.expect("an entry");
    assert_eq!(
        (&last["action"], &last["outcome"]),
        (&"remove".into(), &"done".into()),
        "{last}"
    );
    assert_eq!(last["detail"], "revoked by test: it eats disks");
    story.auto(&["--detailed-exitcode"]).assert(0, &["refused"]);

    // A version that mends it is not revoked.
    story.add("edu", "1.1", 0x11e8, Source::Good);
    story.publish();
    story.auto(&[]).assert(0, &["installed edu 1.1"]);
}

#[test]
fn removal_and_the_new_version_come_in_one_run() {
    let story = installed();
    story.add("edu", "1.1", 0x11e8, Source::Good);
    story.publish();
    withdraw(&story, Action::Uninstall);
    let run = story.auto(&["--json"]);
    run.assert(0, &[]);
    let kernel = &run.document()["kernels"][0];
    assert_eq!(kernel["removals"][0]["outcome"], "removed");
    assert_eq!(kernel["removals"][0]["revoked"], "it eats disks");
    assert_eq!(kernel["packages"][0]["version"], "1.1");
    assert_eq!(kernel["devices"][0]["package"]["version"], "1.1");
    assert!(!story.path("usr/src/edu-1.0").exists());
}

#[test]
fn what_is_only_blocked_stays_where_it_is() {
    let story = installed();
    withdraw(&story, Action::Block);
    story.auto(&["--detailed-exitcode"]).assert(0, &["1 installed"]);
    assert!(story.module("edu").is_file());
}

#[test]
fn what_the_owner_holds_stays_and_he_is_told() {
    let story = installed();
    story.run(&["hold", "edu"]).assert(0, &[]);
    withdraw(&story, Action::Uninstall);
    let said = [
        "edu 1.0 was revoked by test (it eats disks) and stays: it is held on this machine",
        "hint: dkms-fetch unhold edu && dkms-fetch --auto",
    ];
    story.auto(&[]).assert(0, &said);
    assert!(story.module("edu").is_file());
    story.run(&["unhold", "edu"]).assert(0, &[]);
    story.auto(&[]).assert(6, &["removed edu 1.0"]);
    assert!(!story.module("edu").exists());
}

#[test]
fn what_somebody_else_installed_stays_with_a_warning() {
    let story = Story::with_driver();
    let source = story.repo.scratch().join("edu-1.0").display().to_string();
    let dkms = |words: &[&str]| {
        let arguments = story.arguments(&[&["dkms"], words].concat());
        dkms_tests::story::Run::of(&mut program(&arguments)).assert(0, &[]);
    };
    dkms(&["add", &source]);
    dkms(&["install", "edu/1.0", "-k", &story.kernel]);
    withdraw(&story, Action::Uninstall);
    let said = [
        "edu 1.0 was revoked by test (it eats disks) and stays: it was not installed by dkms-fetch",
        "hint: dkms remove edu/1.0 --all",
    ];
    let run = story.auto(&["--detailed-exitcode"]);
    run.assert(0, &said);
    assert!(story.module("edu").is_file());
    let report = story.auto(&["--json"]).document();
    assert_eq!(report["kernels"][0]["removals"].as_array().map(Vec::len), Some(0));
    assert!(
        report["warnings"][0]["text"]
            .as_str()
            .is_some_and(|text| text.contains("revoked"))
    );
}
