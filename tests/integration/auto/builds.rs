//! What becomes of builds that fail, here or elsewhere.

use std::fs;

use dkms_index::document::record::BuildOutcome;
use dkms_tests::story::{EDU, EDU2, Source, Story};

#[test]
fn what_is_known_to_fail_is_not_tried_and_said() {
    let story = Story::new();
    story.add("edu", "2.0", 0x11e8, Source::Broken);
    story.fact("edu", "2.0", BuildOutcome::Failed);
    story.publish();
    let run = story.auto(&[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    // Where lines break depends on the length of the kernel's name.
    let words: Vec<&str> = run.stdout.split_whitespace().collect();
    let kernel = &story.kernel;
    let expected = format!("edu 2.0: known not to build on {kernel} (tried 2026-01-01): strlcpy is gone");
    assert!(words.join(" ").contains(&expected), "{}", run.stdout);
    let mut reasons = run.stdout.lines().filter(|line| line.starts_with(' '));
    assert!(reasons.all(|line| line.chars().count() <= 80), "{}", run.stdout);
    assert!(!story.path("var/lib/dkms/edu").exists(), "nothing was built");

    // An older version that is proven to build beats it.
    story.add("edu", "1.0", 0x11e8, Source::Good);
    story.fact("edu", "1.0", BuildOutcome::Built);
    story.publish();
    let run = story.auto(&["--json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run.document()["kernels"][0]["packages"][0]["version"], "1.0");
}

#[test]
fn a_broken_dkms_conf_is_shown_with_its_line() {
    let story = Story::new();
    story.add("edu", "1.0", 0x11e8, Source::Good);
    // No tool of ours publishes such a source.
    let dir = story.repo.scratch().join("broken/edu-1.0");
    fs::create_dir_all(&dir).expect("a directory");
    fs::write(
        dir.join("dkms.conf"),
        "PACKAGE_NAME=edu\nPACKAGE_VERSION=1.0\nif then\n",
    )
    .expect("a file");
    story.swap_source("edu", "1.0", &dir);
    story.publish();
    for run in [story.auto(&[]), story.run(&["install", "edu"])] {
        assert_eq!(run.code, 5, "{}", run.stderr);
        assert!(
            run.stderr.contains("\n  |\n3 | if then\n  |    ^\nhint: "),
            "{}",
            run.stderr
        );
        story.assert_nothing_half_done("edu");
    }
}

#[test]
fn a_failed_build_gives_the_next_candidate_its_turn() {
    let story = Story::new();
    story.add("edu", "2.0", 0x11e8, Source::Broken);
    story.add("edu", "1.0", 0x11e8, Source::Good);
    story.publish();
    let run = story.auto(&["--json"]);
    assert_eq!(run.code, 0, "{}\n{}", run.stdout, run.stderr);
    let kernel = run.document()["kernels"][0].clone();
    assert_eq!(kernel["packages"][0]["outcome"], "failed");
    assert_eq!(kernel["packages"][1]["outcome"], "installed");
    assert_eq!(kernel["devices"][0]["package"]["version"], "1.0");
    assert!(story.module("edu").is_file());
    let status = story.run(&["status", "--json"]);
    let quarantined = status.document()["quarantined"][0].clone();
    assert_eq!(quarantined["version"], "2.0");
    let left = serde_json::json!(["/usr/src/edu-2.0", "/var/lib/dkms/edu/2.0"]);
    assert_eq!(quarantined["left"], left);
    let said = "left of it: /usr/src/edu-2.0, /var/lib/dkms/edu/2.0; `dkms-fetch remove edu=2.0` removes that";
    story.run(&["status"]).assert(0, &[said]);
    story.run(&["remove", "edu=2.0"]).assert(0, &["removed edu/2.0"]);
    assert!(!story.path("usr/src/edu-2.0").exists() && !story.path("var/lib/dkms/edu/2.0").exists());
    assert!(story.module("edu").is_file());
    assert!(story.run(&["status", "--json"]).document()["quarantined"][0]["left"].is_null());
}

#[test]
fn all_builds_failed_is_5_and_some_is_6() {
    let story = Story::new();
    story.add("edu", "2.0", 0x11e8, Source::Broken);
    story.publish();
    let run = story.auto(&[]);
    assert_eq!(run.code, 5, "{}\n{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("this does not compile"), "{}", run.stdout);
    // It is not tried again: that is where the machine stays.
    let again = story.auto(&[]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(again.stdout.contains("failed here before"), "{}", again.stdout);
    // Unless the owner says so; and another device may be luckier.
    assert_eq!(story.run(&["unhold", "edu"]).code, 0);
    story.add("edu2", "1.0", 0x11e9, Source::Good);
    story.publish();
    story.devices(&[EDU, EDU2]);
    let partly = story.auto(&[]);
    assert_eq!(partly.code, 6, "{}\n{}", partly.stdout, partly.stderr);
    assert!(story.module("edu2").is_file());
}
