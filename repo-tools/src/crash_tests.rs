//! Killed at any moment: every reader finds the old state or the new one, and doing it again completes it.
//!
//! A process that is killed leaves the files as they are at that moment. So each work is done once, with the whole
//! repository copied just before and just after every step that others can see, and every copy is then looked at and worked
//! on further.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use dkms_index::document::BundleFormat;
use dkms_index::document::revocation::{Action, Revocation, Subject};
use dkms_index::trust::{Answer, Exchange, Expiry, Kept, Refresh, SegmentWant};
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde_json::json;
use tempfile::TempDir;
use walkdir::WalkDir;

use crate::files::watch::watched;
use crate::gc::{self, Policy};
use crate::init::{self, Plan, Quorum};
use crate::intake::{self, Intake};
use crate::package::Vendors;
use crate::publish::{Extent, publish};
use crate::repository::{Config, Repository};
use crate::stage::{Stage, StagedPackage};
use crate::verify::{Tree, VerifyError, verify};
use crate::{authority, files};

/// Something that is done to the repository at a path, also where it was begun before.
type Work = fn(&Path);

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// In memory where that can be had: thousands of small files are copied and flushed.
fn tempdir() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

fn init(path: &Path) {
    let quorum = Quorum { threshold: 1, keys: 1 };
    let plan = Plan {
        config: toml::from_str::<Config>("name = \"t\"").unwrap(),
        root: Quorum { threshold: 2, keys: 2 },
        targets: quorum,
        curated: quorum,
    };
    match init::init(path, &plan, now()) {
        Ok(_) | Err(init::InitError::Exists(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

fn open(path: &Path) -> Repository {
    Repository::open(path).unwrap()
}

fn stage(path: &Path, name: &str, version: &str) {
    let stage = Stage::of(&open(path));
    let _lock = stage.lock().unwrap();
    let bundle = stage
        .put_bundle(format!("{name} {version}").as_bytes(), BundleFormat::TarZst)
        .unwrap();
    let pattern = "pci:v00001234d000011E8sv*sd*bc*sc*i*";
    let manifest = json!({
        "schema": 1, "name": name, "version": version, "scope": "curated", "bundle": bundle,
        "modules": [{"name": name, "aliases": [pattern]}]
    });
    let record = json!({
        "name": name, "version": version, "manifest": format!("curated/{name}@{version}.json"), "bundle": bundle,
        "modules": [name], "patterns": [pattern]
    });
    let package = StagedPackage {
        manifest: serde_json::from_value(manifest).unwrap(),
        record: serde_json::from_value(record).unwrap(),
    };
    stage.put(&package).unwrap();
}

fn publish_all(path: &Path) {
    publish(&open(path), Extent::All, now()).unwrap();
}

/// A repository with two published versions of a package, and a third one staged.
fn base() -> TempDir {
    let dir = tempdir();
    init(dir.path());
    for version in ["1", "2"] {
        stage(dir.path(), "x", version);
        publish_all(dir.path());
    }
    stage(dir.path(), "x", "3");
    dir
}

fn copy(from: &Path) -> TempDir {
    let to = tempdir();
    for entry in WalkDir::new(from).min_depth(1) {
        let entry = entry.unwrap();
        let place = to.path().join(entry.path().strip_prefix(from).unwrap());
        if entry.file_type().is_dir() {
            fs::create_dir(&place).unwrap();
        } else {
            fs::copy(entry.path(), &place).unwrap();
        }
    }
    to
}

/// The repository as it is at every moment of `work`, and after it.
fn moments(base: &Path, work: Work) -> Vec<TempDir> {
    let dir = copy(base);
    let seen: Rc<RefCell<Vec<TempDir>>> = Rc::default();
    let (path, states) = (dir.path().to_owned(), Rc::clone(&seen));
    watched(move |_| states.borrow_mut().push(copy(&path)), || work(dir.path()));
    let mut states = seen.take();
    assert!(states.len() > 1, "the work is watched");
    states.push(dir);
    states
}

/// Files that only an interrupted run leaves.
fn leftovers(path: &Path) -> Vec<String> {
    let names = WalkDir::new(path).into_iter().map(|entry| entry.unwrap().into_path());
    let is_leftover = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with(".new-") || name == "next.json"
    };
    names
        .filter(is_leftover)
        .map(|path| path.display().to_string())
        .collect()
}

/// What of the staging area is readable: all of it, or the test fails.
fn staged(path: &Path) -> Vec<(String, String, String)> {
    let list = Stage::of(&open(path)).list().unwrap();
    list.into_iter()
        .map(|p| (p.manifest.name, p.manifest.version, p.manifest.bundle.sha256))
        .collect()
}

/// The versions that a fresh machine may install, after all signatures, manifests and bundles were checked.
fn offered(path: &Path) -> Vec<String> {
    let public = path.join("public");
    let verified = verify(&public, &public.join("metadata/1.root.json"), now()).unwrap();
    assert_eq!(verified.problems, []);
    let tree = Tree::at(&public);
    versions(&Machine::fresh(path), &tree, &tree, 0).unwrap()
}

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
            let lock = repository.lock().unwrap();
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

/// What a machine has: the root it was shipped with, and what it kept.
#[derive(Clone)]
struct Machine {
    pinned: Vec<u8>,
    kept: Kept,
}

impl Machine {
    fn fresh(path: &Path) -> Self {
        Self {
            pinned: files::read(&path.join("public/metadata/1.root.json")).unwrap(),
            kept: Kept::new(),
        }
    }

    /// One that synchronised with the repository as it is.
    fn synced(path: &Path) -> Self {
        let mut machine = Self::fresh(path);
        let tree = Tree::at(&path.join("public"));
        let mut refresh = Refresh::start(&machine.pinned, Kept::new(), now(), Expiry::Enforce).unwrap();
        while let Some(want) = refresh.want() {
            let bytes = tree.get(&want).unwrap();
            refresh
                .feed(bytes.as_deref().map_or(Answer::Absent, Answer::Bytes))
                .unwrap();
            for change in refresh.changes() {
                change.apply(&mut machine.kept);
            }
        }
        machine
    }
}

/// Synchronises with a tree that becomes another one after so many requests, and lists the versions on offer.
fn versions(machine: &Machine, first: &Tree, then: &Tree, requests: usize) -> Result<Vec<String>, VerifyError> {
    let mut count = 0;
    let mut get = |want: &dkms_index::trust::Want| {
        count += 1;
        let tree = if count <= requests { first } else { then };
        tree.get(want)
    };
    let mut refresh = Refresh::start(&machine.pinned, machine.kept.clone(), now(), Expiry::Enforce)?;
    while let Some(want) = refresh.want() {
        let bytes = get(&want)?;
        refresh.feed(bytes.as_deref().map_or(Answer::Absent, Answer::Bytes))?;
    }
    let mut metadata = refresh.finish()?;
    let mut records = Vec::new();
    let mut fetch = metadata.fetch_index(&[])?;
    while let Some(SegmentWant::Download(want)) = fetch.want()? {
        let bytes = get(&want)?;
        let segment = fetch.feed(bytes.as_deref().map_or(Answer::Absent, Answer::Bytes))?;
        records.extend(segment.records().map(Result::unwrap));
    }
    fetch.finish()?;
    let mut versions = Vec::new();
    for record in records {
        let dkms_index::document::record::Record::Package(package) = record else {
            continue;
        };
        let mut fetch = metadata.fetch_manifest(&package.manifest);
        while let Some(want) = fetch.want() {
            let bytes = get(&want)?;
            fetch.feed(bytes.as_deref().map_or(Answer::Absent, Answer::Bytes))?;
        }
        versions.push(fetch.finish()?.manifest().version.clone());
    }
    Ok(versions)
}

/// The states of the published tree that a machine can tell apart: all files but these never change.
fn visible(states: &[TempDir]) -> Vec<&TempDir> {
    let mut seen: BTreeSet<(Vec<u8>, usize)> = BTreeSet::new();
    let mut different = Vec::new();
    for state in states {
        let metadata = state.path().join("public/metadata");
        let roots = (1..)
            .take_while(|n| metadata.join(format!("{n}.root.json")).exists())
            .count();
        let timestamp = fs::read(metadata.join("timestamp.json")).unwrap();
        if seen.insert((timestamp, roots)) {
            different.push(state);
        }
    }
    different
}

#[test]
fn no_machine_is_refused_while_keys_are_rotated() {
    let check = |work: Work, expected: usize| {
        let base = base();
        publish_all(base.path());
        let states = moments(base.path(), work);
        let different = visible(&states);
        assert_eq!(different.len(), expected, "states that machines see");
        let machines = [Machine::fresh(base.path()), Machine::synced(base.path())];
        for (i, first) in different.iter().enumerate() {
            for (j, then) in different.iter().enumerate().skip(i) {
                let tree = |state: &TempDir| Tree::at(&state.path().join("public"));
                // As many requests as come before the index: roots, timestamp, snapshot, targets, two roles, revocations.
                let all = if i == j { 0 } else { 8 };
                for machine in &machines {
                    for requests in 0..=all {
                        let got = versions(machine, &tree(first), &tree(then), requests);
                        let got = got.unwrap_or_else(|e| panic!("states {i} and {j} after {requests} requests: {e}"));
                        assert_eq!(got, ["1", "2", "3"]);
                    }
                }
            }
        }
        // And once more where it was interrupted.
        for (at, state) in states.iter().enumerate() {
            work(state.path());
            assert_eq!(offered(state.path()), ["1", "2", "3"], "moment {at}");
            assert_eq!(leftovers(state.path()), [""; 0], "moment {at}");
        }
    };
    fn rotate(path: &Path, role: &str) {
        authority::rotate(&open(path), role, None, now()).unwrap();
    }
    check(|path| rotate(path, "timestamp"), 3);
    check(|path| rotate(path, "snapshot"), 3);
    check(|path| rotate(path, "targets"), 3);
    check(|path| rotate(path, "root"), 2);
    check(|path| rotate(path, "index"), 2);
    check(|path| rotate(path, "curated"), 2);
    check(|path| rotate(path, "revocations"), 2);
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
