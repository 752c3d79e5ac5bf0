//! A delta that carries every signature and is wrong all the same: made by a broken publisher, or by a thief of the online key.

use std::fs;

use anyhow::Result;
use dkms_index::document::segment::make_delta;
use dkms_index::trust::delta_path;
use dkms_repo::publish::segments::decoded_sha256;
use dkms_repo::signed::Target;
use dkms_tests::published::{self, files};
use dkms_tests::story::Story;

use super::forge;
use crate::tuf_deltas::{fetch, stage};

const SEGMENT: &str = "index/packages-000.jsonl.zst";

#[test]
fn a_signed_delta_that_is_wrong_leads_to_the_whole_segment() -> Result<()> {
    // It decodes to as many other bytes, to fewer, to far more than promised, or not at all.
    check("other bytes", |old, newest| {
        let mut other = newest.to_vec();
        other[100] ^= 1;
        Ok(make_delta(old, &other, 3)?)
    })?;
    check("fewer bytes", |old, newest| {
        Ok(make_delta(old, &newest[..newest.len() / 2], 3)?)
    })?;
    check("a bomb", |old, _| Ok(make_delta(old, &vec![0; 64 << 20], 3)?))?;
    check("for another base", |old, newest| {
        let mut other = old.to_vec();
        other.rotate_left(1000);
        Ok(make_delta(&other, newest, 3)?)
    })?;
    check("no delta", |_, _| Ok(b"not zstd at all".to_vec()))
}

/// Publishes a second state of the index whose delta from the first is `wrong(first, second)`, signed by the index role, and
/// lets a machine that has the first synchronise.
fn check(what: &str, wrong: impl Fn(&[u8], &[u8]) -> Result<Vec<u8>>) -> Result<()> {
    let story = Story::new();
    let repo = &story.repo;
    let next_state = |names| -> Result<Vec<u8>> {
        stage(repo, names)?;
        repo.publish(0)?;
        Ok(fetch(repo, &repo.mirror()?, None)?.1)
    };
    let old = next_state(0..40)?;
    story.run(&["sync"]).assert(0, &["40 packages"]);
    let newest = next_state(40..41)?;

    let delta = wrong(&old, &newest)?;
    let path = delta_path(SEGMENT, &decoded_sha256(&old));
    let target = Target::of(&delta, None);
    let file = path.replace("index/", &format!("index/{}.", target.sha256()));
    let mut mirror = repo.mirror()?;
    mirror.files.insert(format!("targets/{file}"), delta);
    forge(repo, &mut mirror, "index", |targets| {
        let honest = targets.targets.insert(path.clone(), target);
        assert!(honest.is_some(), "{what}: a delta takes the place of an honest one");
    })?;
    let served = tempfile::tempdir()?;
    for (path, bytes) in &mirror.files {
        let path = served.path().join(path);
        fs::create_dir_all(path.parent().expect("a directory"))?;
        fs::write(path, bytes)?;
    }

    let server = published::Mirror::of(served.path());
    story.use_mirror(&server.url());
    story.run(&["sync"]).assert(0, &["41 packages"]);
    let asked = server.asked();
    let of_index: Vec<bool> = asked
        .iter()
        .filter(|path| path.starts_with("/targets/index/"))
        .map(|path| path.ends_with(&file))
        .collect();
    assert_eq!(
        of_index,
        [true, false],
        "{what}: the delta, then the segment: {asked:?}"
    );
    story.run(&["search", "driver-040"]).assert(0, &["driver-040"]);
    let kept: Vec<_> = files(&story.path("var"))
        .into_iter()
        .filter(|path| path.components().any(|part| part.as_os_str() == "segments"))
        .collect();
    let [kept] = &kept[..] else {
        panic!("{what}: one segment is kept: {kept:?}");
    };
    assert_eq!(
        kept.file_stem().map(|name| name.to_string_lossy().into_owned()),
        Some(decoded_sha256(&newest)),
        "{what}"
    );
    assert!(
        zstd::decode_all(&fs::read(kept)?[..])? == newest,
        "{what}: what is kept is what was signed"
    );
    Ok(())
}
