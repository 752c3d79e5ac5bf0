//! Which directory of a medium is a mirror of a repository that this machine trusts.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use url::Url;

use super::LAST;
use crate::files;

/// The largest root.json, and the largest timestamp.json, that is looked at.
const FILE_MAX_BYTES: u64 = 1 << 20;
/// More directories than this are no medium.
const DIRECTORIES_MAX: usize = 256;

/// The directory of the medium `dir` that has the very root.json that this machine pins, as a mirror. A medium cannot make a machine
/// trust anything: what it holds is verified like what any other mirror sends. `known` is the newest timestamp.json that was verified
/// here: a medium that is older has nothing to say.
pub fn mirror_of(dir: &Path, pinned: &[u8], known: Option<&[u8]>) -> Option<Url> {
    let version = version(pinned)?;
    let has_root = |path: &PathBuf| {
        let root = path.join(format!("metadata/{version}.root.json"));
        read(&root).is_some_and(|bytes| bytes == pinned)
    };
    let is_newer = |path: &PathBuf| {
        let offered = read(&path.join(LAST)).and_then(|bytes| self::version(&bytes));
        offered.is_some() && offered >= known.and_then(self::version)
    };
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .ok()?
        .flatten()
        .take(DIRECTORIES_MAX)
        .map(|entry| entry.path())
        .chain([dir.to_owned()])
        .filter(|path| has_root(path) && is_newer(path))
        .collect();
    found.sort();
    let path = found.into_iter().next()?.canonicalize().ok()?;
    Url::from_directory_path(path).ok()
}

fn read(path: &Path) -> Option<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = files::open_regular(path).ok()?;
    file.take(FILE_MAX_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The version that a file of metadata has.
fn version(bytes: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct File {
        signed: Signed,
    }
    #[derive(Deserialize)]
    struct Signed {
        version: u64,
    }
    serde_json::from_slice::<File>(bytes)
        .ok()
        .map(|file| file.signed.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_medium_is_known_by_the_root_that_is_pinned() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = |n: u64| format!("{{\"signed\": {{\"version\": 3}}, \"n\": {n}}}");
        for (name, n) in [("a", 1), ("b", 2)] {
            let metadata = dir.path().join(name).join("metadata");
            fs::create_dir_all(&metadata).expect("a directory");
            fs::write(metadata.join("3.root.json"), root(n)).expect("a file");
            fs::write(metadata.join("timestamp.json"), r#"{"signed": {"version": 7}}"#).expect("a file");
        }
        let check = |pinned: String, known: Option<u64>, expected: Option<&str>| {
            let known = known.map(|version| format!("{{\"signed\": {{\"version\": {version}}}}}"));
            let found = mirror_of(dir.path(), pinned.as_bytes(), known.as_deref().map(str::as_bytes));
            let name = found.and_then(|url| url.path_segments()?.rev().nth(1).map(str::to_owned));
            assert_eq!(name.as_deref(), expected, "{known:?}");
        };
        check(root(1), None, Some("a"));
        check(root(2), None, Some("b"));
        check(root(2), Some(7), Some("b"));
        check(root(2), Some(8), None);
        check(root(3), None, None);
        check("no root".to_owned(), None, None);
    }
}
