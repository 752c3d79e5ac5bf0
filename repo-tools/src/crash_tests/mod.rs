//! Killed at any moment: every reader finds the old state or the new one, and doing it again completes it.
//!
//! A process that is killed leaves the files as they are at that moment. So each work is done once, with the whole
//! repository copied just before and just after every step that others can see, and every copy is then looked at and worked
//! on further.

mod machine;
mod rotation;
mod writers;

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use dkms_index::document::BundleFormat;
use jiff::Timestamp;
use serde_json::json;
use tempfile::TempDir;
use walkdir::WalkDir;

use crate::files::watch::watched;
use crate::init::{self, Plan, Quorum};
use crate::publish::{Extent, publish};
use crate::repository::{Config, Repository};
use crate::stage::{Stage, StagedPackage};
use crate::verify::{Tree, verify};
use machine::{Machine, versions};

/// Something that is done to the repository at a path, also where it was begun before.
type Work = fn(&Path);

pub(crate) fn now() -> Timestamp {
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

pub(crate) fn init(path: &Path) {
    let quorum = Quorum { threshold: 1, keys: 1 };
    let plan = Plan {
        config: toml::from_str::<Config>("name = \"t\"").unwrap(),
        root: Quorum { threshold: 2, keys: 2 },
        targets: quorum,
        curated: quorum,
        secrets: Default::default(),
    };
    match init::init(path, &plan, now()) {
        Ok(_) | Err(init::InitError::Exists(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn open(path: &Path) -> Repository {
    Repository::open(path).unwrap()
}

pub(crate) fn stage(path: &Path, name: &str, version: &str) {
    let stage = Stage::of(&open(path));
    let _lock = crate::recovery::lock(stage.repository_dir()).unwrap();
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

pub(crate) fn publish_all(path: &Path) {
    publish(&open(path), Extent::All, now()).unwrap();
}

/// A repository with two published versions of a package, and a third one staged.
pub(crate) fn base() -> TempDir {
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
pub(crate) fn offered(path: &Path) -> Vec<String> {
    let public = path.join("public");
    let verified = verify(&public, &public.join("metadata/1.root.json"), now()).unwrap();
    assert_eq!(verified.problems, []);
    let tree = Tree::at(&public);
    versions(&Machine::fresh(path), &tree, &tree, 0).unwrap()
}
