//! What is known is used, and what changed behind its back is noticed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::crash_tests::{base, now, offered, open, publish_all};
use crate::publish::{Extent, publish};
use crate::stage::Stage;
use crate::verify::Tree;

/// A repository with three published versions, all of which are known.
fn known() -> tempfile::TempDir {
    let dir = base();
    // What was just written is not noted yet.
    std::thread::sleep(Duration::from_millis(150));
    publish_all(dir.path());
    assert_eq!(unchanged(dir.path()), ["1", "2", "3"]);
    dir
}

/// The versions that the next publication would not read.
fn unchanged(path: &Path) -> Vec<String> {
    let repository = open(path);
    let (public, stage) = (
        Directory::open(&repository.public_dir()).unwrap(),
        Stage::of(&repository),
    );
    let published = Published::load(public.path()).unwrap();
    let index = Index::read(public.path(), &published.roles["index"].signed);
    let known = Known::of(&repository, &index).unwrap();
    let is_known = |version: &String| {
        let stamp = stage.stamps().unwrap().of("x", version).unwrap();
        let kept = known.unchanged("x", version, stamp.as_ref(), &public);
        kept.is_some_and(|(entry, _)| entry.target_in(&published, "curated").is_some())
    };
    let versions = stage.versions_of("x").unwrap();
    versions.into_iter().filter(is_known).collect()
}

fn document(path: &Path, name: &str) -> PathBuf {
    path.join("staging/x/2").join(name)
}

/// Changes a JSON file in place.
fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

fn lines(path: &Path) -> Vec<String> {
    let public = path.join("public");
    let published = Published::load(&public).unwrap();
    let index = Index::read(&public, &published.roles["index"].signed);
    index
        .lines()
        .map(|line| String::from_utf8(line.to_vec()).unwrap())
        .collect()
}

fn manifest(path: &Path) -> PathBuf {
    let published = Published::load(&path.join("public")).unwrap();
    let target = &published.roles["curated"].signed.targets["curated/x@2.json"];
    path.join("public/targets").join(target.file_path("curated/x@2.json"))
}

#[test]
fn documents_that_people_edit_are_published() {
    let dir = known();
    for name in ["manifest.json", "record.json"] {
        edit(&document(dir.path(), name), |document| {
            document["summary"] = "edited".into()
        });
    }
    assert_eq!(unchanged(dir.path()), ["1", "3"]);
    publish_all(dir.path());
    assert_eq!(offered(dir.path()), ["1", "2", "3"]);
    let edited: Vec<bool> = lines(dir.path()).iter().map(|line| line.contains("edited")).collect();
    assert_eq!(edited, [false, true, false]);
}

#[test]
fn what_may_change_without_another_stamp_is_read_again() {
    let dir = known();
    let record = document(dir.path(), "record.json");
    let later = std::time::SystemTime::now() + Duration::from_secs(3600);
    fs::File::options()
        .append(true)
        .open(record)
        .unwrap()
        .set_modified(later)
        .unwrap();
    publish_all(dir.path());
    assert_eq!(unchanged(dir.path()), ["1", "3"], "it is newer than the publication");
}

#[test]
fn versions_that_come_and_go_are_noticed() {
    let dir = known();
    Stage::of(&open(dir.path())).remove("x", "2").unwrap();
    crate::crash_tests::stage(dir.path(), "x", "4");
    publish_all(dir.path());
    assert_eq!(offered(dir.path()), ["1", "3", "4"]);
}

#[test]
fn a_published_file_that_was_replaced_is_put_back() {
    let dir = known();
    let file = manifest(dir.path());
    let whole = fs::read(&file).unwrap();
    fs::write(&file, vec![b'x'; whole.len()]).unwrap();
    assert_eq!(unchanged(dir.path()), ["1", "3"]);
    publish_all(dir.path());
    assert_eq!(fs::read(&file).unwrap(), whole);
    fs::remove_file(&file).unwrap();
    publish_all(dir.path());
    assert_eq!(fs::read(&file).unwrap(), whole);
}

#[test]
fn what_somebody_wrote_into_a_published_role_is_not_signed() {
    let dir = known();
    let role = Published::load(&dir.path().join("public")).unwrap().roles["curated"]
        .signed
        .version;
    let file = dir.path().join(format!("public/metadata/{role}.curated.json"));
    edit(&file, |role| {
        role["signed"]["targets"]["curated/x@2.json"]["hashes"]["sha256"] = "0".repeat(64).into();
    });
    assert_eq!(unchanged(dir.path()), ["1", "3"]);
    publish_all(dir.path());
    assert_eq!(offered(dir.path()), ["1", "2", "3"]);
}

#[test]
fn a_damaged_segment_is_not_taken_for_known() {
    let dir = known();
    let public = dir.path().join("public");
    let published = Published::load(&public).unwrap();
    let path = crate::publish::segments::path(0);
    let target = &published.roles["index"].signed.targets[&path];
    let file = public.join("targets").join(target.file_path(&path));
    let mut bytes = fs::read(&file).unwrap();
    bytes[20] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert_eq!(unchanged(dir.path()), [""; 0]);
    // All is read again, and the segment is made anew with the next change.
    crate::crash_tests::stage(dir.path(), "x", "0");
    publish_all(dir.path());
    assert_eq!(offered(dir.path()), ["0", "1", "2", "3"]);
}

#[test]
fn without_it_the_same_is_published() {
    let dir = known();
    let file = open(dir.path()).known_file();
    let good = fs::read(&file).unwrap();
    let flipped = || {
        let mut bytes = good.clone();
        let at = bytes.len() - 20;
        bytes[at] ^= 1;
        bytes
    };
    for bytes in [Vec::new(), b"{}".to_vec(), flipped()] {
        fs::write(&file, bytes).unwrap();
        assert_eq!(unchanged(dir.path()), [""; 0]);
        let report = publish(&open(dir.path()), Extent::All, now()).unwrap();
        assert!(report.signed.is_empty() && report.new_files == 0, "{report:?}");
        assert_eq!(unchanged(dir.path()), ["1", "2", "3"], "it is known again");
    }
    fs::remove_dir_all(file.parent().unwrap()).unwrap();
    crate::crash_tests::stage(dir.path(), "x", "4");
    publish_all(dir.path());
    assert_eq!(offered(dir.path()), ["1", "2", "3", "4"]);
    assert!(Tree::at(&dir.path().join("public")).has("metadata/timestamp.json"));
}
