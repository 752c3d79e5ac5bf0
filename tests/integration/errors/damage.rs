//! What was kept and is not what it was: caches are made anew, decisions are never lost silently. And a disk that only reads.

use std::fs;
use std::path::{Path, PathBuf};

use dkms_tests::story::{Run, Story, in_namespace};
use snapbox::str;

/// Overwrites all but the first page of a file.
fn spoil(path: &Path) {
    let mut bytes = fs::read(path).expect("a file");
    assert!(bytes.len() > 4096, "{} has one page", path.display());
    bytes[4096..].fill(0xff);
    fs::write(path, bytes).expect("a file");
}

/// The only bundle in the store.
fn bundle(story: &Story) -> PathBuf {
    let pattern = story
        .path("var/cache/dkms-fetch/bundles/sha256/*/*")
        .display()
        .to_string();
    let mut found = glob::glob(&pattern).expect("a glob").flatten();
    found.next().expect("a bundle")
}

#[test]
fn a_damaged_index_is_made_anew() {
    let story = Story::with_driver();
    story.run(&["sync"]).assert(0, &[]);
    let index = story.path("var/cache/dkms-fetch/index/test.db");
    let whole = fs::read(&index).expect("an index");
    let devices = story.device_list().display().to_string();
    let plan = ["plan", "--kernel", &story.kernel, "--devices", &devices];

    // Those who only look are told, and nothing is made up.
    spoil(&index);
    story
        .run(&["search", "edu"])
        .assert(3, &["no index is cached for test", "hint: dkms-fetch sync"]);
    spoil_whole(&index, &whole);
    story.run(&["sync"]).assert(0, &[]);
    story.run(&plan).assert(0, &["1 package would be installed"]);

    // Even without a network: what it was made from is there.
    story.run(&["fetch", "edu"]).assert(0, &[]);
    spoil_whole(&index, &whole);
    story.use_mirror("http://127.0.0.1:9/");
    story.auto(&["--offline"]).assert(0, &["installed edu 1.0"]);
}

fn spoil_whole(index: &Path, whole: &[u8]) {
    fs::write(index, whole).expect("a file");
    spoil(index);
}

#[test]
fn damaged_records_stop_the_run_before_anything_is_forgotten() {
    let story = Story::with_driver();
    story.run(&["hold", "other"]).assert(0, &[]);
    let records = story.path("var/lib/dkms-fetch/state.db");
    let mut damaged = fs::read(&records).expect("records");
    damaged[..64].fill(7);
    fs::write(&records, &damaged).expect("a file");
    let run = story.auto(&[]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    story.assert_shows(
        &run.stderr,
        str![[r#"
error: the database [ROOT]/var/lib/dkms-fetch/state.db is damaged
hint: set it aside: `mv [ROOT]/var/lib/dkms-fetch/state.db [ROOT]/var/lib/dkms-fetch/state.db.damaged`

"#]],
    );
    story.assert_nothing_half_done("edu");
    assert_eq!(
        fs::read(&records).expect("records"),
        damaged,
        "they are left as they were"
    );
    for command in ["status", "history"] {
        story
            .run(&[command])
            .assert(1, &["state.db is damaged", "hint: set it aside"]);
    }
    fs::rename(&records, records.with_extension("db.damaged")).expect("set aside");
    story.auto(&[]).assert(0, &["installed edu 1.0"]);
}

#[test]
fn a_damaged_bundle_is_fetched_again() {
    let story = Story::with_driver();
    story.run(&["fetch", "edu"]).assert(0, &[]);
    let path = bundle(&story);
    let whole = fs::read(&path).expect("a bundle");
    let damage = || {
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 1;
        fs::write(&path, damaged).expect("a file");
    };
    damage();
    story.use_mirror("http://127.0.0.1:9/");
    story.auto(&["--offline"]).assert(
        3,
        &["is not cached, and the run is offline", "hint: run without `--offline`"],
    );
    story.assert_nothing_half_done("edu");
    damage();
    story.use_mirror(&story.own_mirror());
    story.auto(&[]).assert(0, &["installed edu 1.0"]);
    assert_eq!(fs::read(&path).expect("a bundle"), whole);
}

#[test]
fn damaged_metadata_is_fetched_again() {
    let story = Story::with_driver();
    story.run(&["sync"]).assert(0, &[]);
    let pattern = story.path("var/lib/dkms-fetch/trust/test/*.json").display().to_string();
    for path in glob::glob(&pattern).expect("a glob").flatten() {
        fs::write(&path, "{ \"signed\": ").expect("a file");
    }
    story.auto(&[]).assert(0, &["installed edu 1.0"]);
}

#[test]
fn what_can_only_be_read_is_named() {
    let story = Story::with_driver();
    story.run(&["sync"]).assert(0, &[]);
    let read_only = |place: &str, arguments: &[String]| {
        let directory = story.path(place).display().to_string();
        let script =
            format!("mount --bind '{directory}' '{directory}'; mount -o remount,bind,ro '{directory}'; exec \"$@\"");
        Run::of(&mut in_namespace(&script, arguments))
    };
    let run = read_only("var", &story.auto_arguments(&[]));
    run.assert(1, &["Read-only file system", "hint: `findmnt --target"]);
    let run = read_only("lib/modules", &story.auto_arguments(&[]));
    run.assert(5, &["is on a read-only file system", "hint: findmnt --target"]);
    assert!(!run.stderr.contains("building"), "{}", run.stderr);
    story.write("run/ostree-booted", "");
    let run = read_only("lib/modules", &story.auto_arguments(&["--install-toolchain"]));
    run.assert(
        5,
        &[
            "this system is an image of ostree",
            "hint: until the next restart: ostree admin unlock",
        ],
    );
    let run = read_only("lib/modules", &story.arguments(&["doctor", "--kernel", &story.kernel]));
    run.assert(1, &["bad modules no driver can be installed: ", "ostree admin unlock"]);
    assert!(!story.module("edu").exists());
    // Looking needs no writing.
    let devices = story.device_list().display().to_string();
    let plan = story.arguments(&["plan", "--kernel", &story.kernel, "--devices", &devices]);
    read_only("", &plan).assert(0, &["1 package would be installed"]);
    story.auto(&[]).assert(0, &["installed edu 1.0"]);
}
