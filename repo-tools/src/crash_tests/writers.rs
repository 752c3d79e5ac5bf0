//! What writes, killed and done again.

use std::fs;
use std::path::{Path, PathBuf};

use dkms_index::document::revocation::{Action, Revocation, Subject};
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::{Work, base, init, leftovers, moments, now, offered, open, publish_all, staged, tempdir};
use crate::authority;
use crate::gc::{self, Policy};
use crate::intake::{self, Intake};
use crate::package::Vendors;
use crate::publish::{Extent, publish};
use crate::stage::{Stage, StageError};

#[test]
fn a_publication_is_seen_as_a_whole_or_not_at_all() {
    let check = |work: Work, before: &[&str], after: &[&str]| {
        let base = base();
        assert_eq!(offered(base.path()), before);
        for (at, state) in moments(base.path(), work).iter().enumerate() {
            let seen = offered(state.path());
            assert!(seen == before || seen == after, "moment {at}: {seen:?}");
            work(state.path());
            assert_eq!(offered(state.path()), after, "moment {at}, and then again");
            assert_eq!(leftovers(state.path()), [""; 0], "moment {at}");
        }
    };
    check(publish_all, &["1", "2"], &["1", "2", "3"]);
    check(
        |path| {
            let revocation = Revocation {
                subject: Subject::Package {
                    name: "x".into(),
                    from: None,
                    to: Some("1".into()),
                },
                reason: "it burns".into(),
                action: Action::Block,
            };
            authority::revoke(&open(path), revocation, now()).unwrap();
        },
        &["1", "2"],
        &["1", "2"],
    );
    check(
        |path| {
            let repository = open(path);
            let lock = crate::recovery::lock(repository.path()).unwrap();
            let policy = Policy {
                keep: 1,
                younger_than: SignedDuration::ZERO,
            };
            // States are as old as their files.
            let found = gc::find(&repository, &lock, policy, Timestamp::now()).unwrap();
            gc::remove(&repository, &lock, &found).unwrap();
        },
        &["1", "2"],
        &["1", "2"],
    );
}

#[test]
fn an_interrupted_init_goes_on_with_its_keys() {
    let empty = tempdir();
    let keys = |path: &Path| -> Vec<String> {
        let entries = fs::read_dir(path.join("keys")).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let states = moments(empty.path(), init);
    let expected = keys(states.last().unwrap().path());
    assert_eq!(expected.len(), 16, "a private and a public half of each: {expected:?}");
    for (at, state) in states.iter().enumerate() {
        init(state.path());
        assert_eq!(offered(state.path()), [""; 0], "moment {at}");
        assert_eq!(keys(state.path()), expected, "moment {at}");
        assert_eq!(leftovers(state.path()), [""; 0], "moment {at}");
    }
}

#[test]
fn a_package_is_staged_as_a_whole_or_not_at_all() {
    let source = tempdir();
    let write = |text: &str| fs::write(source.path().join("x.c"), text).unwrap();
    let conf = "PACKAGE_NAME=src\nPACKAGE_VERSION=1\nBUILT_MODULE_NAME=src\nDEST_MODULE_LOCATION=/updates\n";
    fs::write(source.path().join("dkms.conf"), conf).unwrap();
    write("int one;\n");
    // `Work` is a plain function, so the source lies where it can find it: beside the staging area.
    let add: Work = |path| {
        let stage = Stage::of(&open(path));
        let source = PathBuf::from(fs::read_to_string(path.join("source-is-at")).unwrap());
        let prepared = Intake::on_this_machine(Vendors::default()).prepare(&source).unwrap();
        intake::stage(&stage, &prepared, &source, true).unwrap();
    };
    let base = base();
    fs::write(base.path().join("source-is-at"), source.path().to_str().unwrap()).unwrap();
    for text in ["int one;\n", "int two;\n"] {
        write(text);
        let before = staged(base.path());
        let states = moments(base.path(), add);
        let after = staged(states.last().unwrap().path());
        assert_ne!(before, after);
        for (at, state) in states.iter().enumerate() {
            let seen = staged(state.path());
            assert!(seen == before || seen == after, "moment {at}: {seen:?}");
            add(state.path());
            assert_eq!(staged(state.path()), after, "moment {at}, and then again");
            assert_eq!(leftovers(state.path()), [""; 0], "moment {at}");
        }
        // The second time it replaces another source of the same version.
        add(base.path());
    }
}

#[test]
fn a_package_is_unstaged_as_a_whole_or_not_at_all() {
    let unstage: Work = |path| {
        let stage = Stage::of(&open(path));
        let _lock = crate::recovery::lock(path).unwrap();
        match stage.remove("x", "2") {
            Ok(()) | Err(StageError::NotStaged { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    };
    let base = base();
    let before = staged(base.path());
    let states = moments(base.path(), unstage);
    let after = staged(states.last().unwrap().path());
    assert_eq!((before.len(), after.len()), (3, 2));
    for (at, state) in states.iter().enumerate() {
        let seen = staged(state.path());
        assert!(seen == before || seen == after, "moment {at}: {seen:?}");
        unstage(state.path());
        assert_eq!(staged(state.path()), after, "moment {at}, and then again");
        assert_eq!(leftovers(state.path()), [""; 0], "moment {at}");
        publish_all(state.path());
        assert_eq!(offered(state.path()), ["1", "3"], "moment {at}");
    }
}

#[test]
fn a_key_that_is_lost_can_be_replaced_and_that_is_told() {
    let base = base();
    fs::remove_file(base.path().join("keys/timestamp-1.pem")).unwrap();
    let repository = open(base.path());
    let later = now().checked_add(1.hours()).unwrap();
    let error = publish(&repository, Extent::Timestamp, later).unwrap_err();
    let hint = error.hint().unwrap();
    assert!(hint.contains("timestamp-1.pem") && hint.contains("/keys"), "{hint}");
    let report = authority::rotate(&repository, "timestamp", None, now()).unwrap();
    assert_eq!(report.unbridged, ["timestamp"]);
    assert!(
        base.path().join("keys/timestamp-2.pem").exists(),
        "no number is used twice"
    );
    assert_eq!(offered(base.path()), ["1", "2"]);
}

/// By a key that is elsewhere: prepared, signed and merged, as far as that was not done before.
fn by_ceremony(path: &Path) {
    use crate::ceremony::{CeremonyError, Reading, merge, prepare};
    let (repository, away) = (open(path), path.join("away"));
    fs::create_dir_all(&away).unwrap();
    let key = path.join("keys/curated-1.pem");
    if key.exists() {
        fs::rename(&key, away.join("curated-1.pem")).unwrap();
    }
    match prepare(&repository, None, now()) {
        Ok(_) | Err(CeremonyError::NothingToSign(_) | CeremonyError::PreparedAlready { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    let ring = crate::keys::KeyRing::load(&away).unwrap();
    let waiting = merge(&repository, &[], true, now()).unwrap().waiting;
    for document in waiting.iter().flat_map(|set| &set.documents) {
        // A person signs on a stick.
        let stick = tempdir();
        let copy = std::process::Command::new("cp")
            .arg("-r")
            .arg(document.file.parent().unwrap())
            .arg(stick.path().join("set"))
            .status();
        assert!(copy.unwrap().success());
        let file = stick.path().join("set").join(document.file.file_name().unwrap());
        Reading::of(&file, None, now()).unwrap().sign(&ring).unwrap();
        let merged = merge(&repository, &[file], true, now()).unwrap();
        assert!(merged.waiting.is_empty(), "{merged:?}");
    }
}

#[test]
fn a_ceremony_is_seen_as_a_whole_or_not_at_all() {
    let base = base();
    for (at, state) in moments(base.path(), by_ceremony).iter().enumerate() {
        let seen = offered(state.path());
        assert!(seen == ["1", "2"] || seen == ["1", "2", "3"], "moment {at}: {seen:?}");
        by_ceremony(state.path());
        assert_eq!(offered(state.path()), ["1", "2", "3"], "moment {at}, and then again");
        assert_eq!(leftovers(state.path()), [""; 0], "moment {at}");
        assert_eq!(
            fs::read_dir(state.path().join("prepared")).unwrap().count(),
            0,
            "moment {at}"
        );
    }
}
