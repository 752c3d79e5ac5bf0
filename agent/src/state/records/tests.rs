use std::fs;

use dkms_engine::root::Root;
use jiff::Timestamp;
use rusqlite::Connection;

use super::*;
use crate::state::Paths;

fn at(day: u8) -> Timestamp {
    format!("2026-05-{day:02}T12:00:00Z").parse().unwrap()
}

fn machine() -> (tempfile::TempDir, Paths) {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::of(&Root::at(dir.path()));
    (dir, paths)
}

fn hold(package: &str, day: u8) -> Hold {
    Hold {
        package: package.into(),
        reason: "black screen".into(),
        at: at(day),
    }
}

#[test]
fn decisions_outlive_the_run() {
    let (_dir, paths) = machine();
    let quarantined = Quarantined {
        bundle_sha256: "11".into(),
        package: "r8168".into(),
        version: "8.051".into(),
        kernel: "6.12.1".into(),
        reason: "did not bind".into(),
        at: at(2),
    };
    let installed = InstallRecord {
        package: "ddcci".into(),
        name: "ddcci".into(),
        scope: "curated".into(),
        kernel: "6.1.0".into(),
        version: "0.4.5-1".into(),
        dkms_version: "0.4.5".into(),
        repository: "acme".into(),
        bundle_sha256: "00".into(),
        root_scripts: vec!["post_add".to_owned(), "post_remove".to_owned()],
        at: at(3),
    };
    {
        let records = Records::open(&paths).unwrap();
        records.hold(&hold("ddcci", 1)).unwrap();
        records.hold(&hold("xtrx", 1)).unwrap();
        assert!(records.unhold("xtrx").unwrap());
        assert!(!records.unhold("xtrx").unwrap());
        records.quarantine(&quarantined).unwrap();
        records.note_installed(&installed).unwrap();
    }
    let records = Records::open_to_read(&paths).unwrap();
    assert_eq!(records.holds().unwrap(), [hold("ddcci", 1)]);
    assert_eq!(records.quarantined().unwrap(), [quarantined]);
    assert_eq!(records.installed().unwrap(), [installed]);
    assert!(records.hold(&hold("x", 1)).is_err(), "reading must not write");
    let records = Records::open(&paths).unwrap();
    assert_eq!(records.never_bound("6.1.0").unwrap().len(), 1);
    records.note_bound("ddcci", "6.1.0").unwrap();
    assert_eq!(records.never_bound("6.1.0").unwrap(), []);
    assert_eq!(records.release("r8168").unwrap(), 1);
    assert!(records.note_removed("ddcci", "6.1.0").unwrap());
    assert_eq!(records.installed().unwrap(), []);
}

#[test]
fn an_older_database_is_brought_up_to_date() {
    let (_dir, paths) = machine();
    fs::create_dir_all(paths.records().parent().unwrap()).unwrap();
    let old = Connection::open(paths.records()).unwrap();
    old.execute_batch(open::STEPS[0]).unwrap();
    let row =
        "INSERT INTO installed VALUES ('ddcci', '6.1.0', '0.4.5-1', '0.4.5', 'acme', '00', '2026-05-03T12:00:00Z')";
    old.execute_batch(row).unwrap();
    old.pragma_update(None, "application_id", open::APPLICATION_ID).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    drop(old);
    assert_eq!(Records::open_to_read(&paths).unwrap().installed().unwrap().len(), 1);
    assert_eq!(Records::open(&paths).unwrap().never_bound("6.1.0").unwrap().len(), 1);
    assert_eq!(Records::open(&paths).unwrap().installed().unwrap().len(), 1);
}

#[test]
fn the_bundle_of_a_source_is_remembered() {
    let (_dir, paths) = machine();
    let records = Records::open(&paths).unwrap();
    let check = |directory: &str, expected: Option<&str>| {
        let found = records.source_of(directory).unwrap();
        assert_eq!(found.as_deref(), expected, "{directory}");
    };
    check("ddcci-0.4.5", None);
    records.note_source("ddcci-0.4.5", "aa", at(1)).unwrap();
    records.note_source("ddcci-0.4.5", "bb", at(2)).unwrap();
    check("ddcci-0.4.5", Some("bb"));
    check("ddcci-0.4", None);
    records.forget_source("ddcci-0.4.5").unwrap();
    check("ddcci-0.4.5", None);
}

#[test]
fn reading_makes_nothing() {
    let (dir, paths) = machine();
    let records = Records::open_to_read(&paths).unwrap();
    assert_eq!(records.holds().unwrap(), []);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn history_is_newest_first() {
    let (_dir, paths) = machine();
    let records = Records::open(&paths).unwrap();
    let entry = |day| Entry {
        at: at(day),
        run: "r1".into(),
        action: "install".into(),
        package: "ddcci".into(),
        scope: "curated".into(),
        version: "0.4.5".into(),
        kernel: "6.1".into(),
        outcome: "done".into(),
        detail: String::new(),
    };
    for day in 1..=5 {
        records.log(&entry(day)).unwrap();
    }
    assert_eq!(records.history(2).unwrap(), [entry(5), entry(4)]);
    assert_eq!(records.history(usize::MAX).unwrap().len(), 5);
}

#[test]
fn a_database_that_is_not_ours_is_refused_with_a_way_out() {
    let check = |content: &[u8]| {
        let (_dir, paths) = machine();
        fs::create_dir_all(paths.records().parent().unwrap()).unwrap();
        fs::write(paths.records(), content).unwrap();
        let error = Records::open(&paths).err().expect("refused");
        assert!(error.is_damaged(), "{error}");
        assert!(error.hint().unwrap().starts_with("set it aside: `mv "), "{error}");
        assert!(Records::open_to_read(&paths).is_err());
    };
    check(&[7; 4096]);
    check(b"SQLite format 3\0 and then nonsense, and then more of it, until the header of a database is full ......");
}

#[test]
fn a_newer_database_is_left_alone() {
    let (_dir, paths) = machine();
    drop(Records::open(&paths).unwrap());
    Connection::open(paths.records())
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let error = Records::open(&paths).err().expect("refused");
    assert!(matches!(error, StateError::Newer { found: 99, .. }), "{error}");
}

#[test]
fn a_fifo_in_their_place_is_refused_and_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::of(&Root::at(dir.path()));
    std::fs::create_dir_all(paths.records().parent().unwrap()).unwrap();
    let made = std::process::Command::new("mkfifo").arg(paths.records()).status();
    assert!(made.unwrap().success());
    for opened in [Records::open(&paths), Records::open_to_read(&paths)] {
        let error = opened.err().expect("refused");
        assert!(matches!(error, StateError::NotRegular { .. }), "{error}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn a_statement_that_fails_is_no_damage() {
    let error = |sql: &str| {
        let db = Connection::open_in_memory().unwrap();
        let failed = db.prepare(sql).map(drop).expect_err(sql);
        StateError::sqlite("/x", failed)
    };
    // Both are SQLITE_ERROR.
    assert!(!error("SELECT count(1, 2, 3)").is_damaged());
    assert!(!error("SELEC").is_damaged());
    assert!(error("SELECT * FROM installed").is_damaged());
}
