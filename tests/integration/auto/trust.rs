//! What is served must be what the keys promise.

use std::fs;
use std::path::PathBuf;

use dkms_tests::story::Story;

#[test]
fn one_changed_byte_is_refused_and_changes_nothing() {
    let classes = [
        "metadata/timestamp.json",
        "metadata/[0-9]*.snapshot.json",
        "metadata/[0-9]*.targets.json",
        "metadata/[0-9]*.index.json",
        "metadata/[0-9]*.vendor-pci-1234.json",
        "targets/index/*",
        "targets/by-id/*/*",
        "targets/revocations/*",
        "bundles/sha256/*/*",
    ];
    let story = Story::with_driver();
    for class in classes {
        let pattern = story.repo.public().join(class);
        let mut files: Vec<PathBuf> = glob::glob(pattern.to_str().expect("UTF-8"))
            .expect("a glob")
            .flatten()
            .collect();
        // The newest of several versions is the one in use.
        files.sort_by_key(|path| fs::metadata(path).and_then(|m| m.modified()).ok());
        let path = files.pop().unwrap_or_else(|| panic!("no file like {class}"));
        let whole = fs::read(&path).expect("a file");
        let mut changed = whole.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        fs::write(&path, changed).expect("a file");
        let run = story.auto(&[]);
        assert_eq!(run.code, 4, "{class}: {}\n{}", run.stdout, run.stderr);
        assert!(!story.module("edu").exists(), "{class}");
        assert!(!story.path("usr/src/edu-1.0").exists(), "{class}");
        assert!(
            run.stdout.contains("edu") || run.stderr.contains("error: "),
            "{class}: {}",
            run.stderr
        );
        fs::write(&path, whole).expect("a file");
        for part in ["var/cache", "var/lib"] {
            // What was refused at once left nothing at all.
            let _ = fs::remove_dir_all(story.path(part));
        }
    }
    assert_eq!(story.auto(&[]).code, 0, "unchanged, it is good");
}
