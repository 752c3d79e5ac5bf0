//! A process is killed at every moment of a transaction; the next one who locks the tree finds the old state or the new one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Signal, getpid, kill_process};

use super::journal::{dir as journal_dir, pending_depmods};
use super::transaction::{Moment, Transaction};
use crate::framework::Framework;
use crate::fsutil::tree_digest;
use crate::recovery::lock_and_recover;
use crate::root::Root;
use crate::tree::{Tree, TreeLock};

const DIR: &str = "DKMS_CRASH_TEST_DIR";
const AT: &str = "DKMS_CRASH_TEST_AT";

fn tree(root: &Path) -> Tree {
    Tree::new(&Root::at(root), &Framework::default())
}

fn modules(root: &Path) -> PathBuf {
    root.join("lib/modules/6.1.0")
}

/// An installed old version and a module that the distribution brought.
fn old_state(root: &Path) {
    for (path, text) in [
        ("updates/a.ko", "old a"),
        ("updates/b.ko", "old b"),
        ("kernel/drivers/c.ko", "the original c"),
    ] {
        let path = modules(root).join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("dirs");
        fs::write(path, text).expect("write");
    }
    fs::create_dir_all(root.join("var/lib/dkms/m")).expect("dirs");
    std::os::unix::fs::symlink("1/6.1.0/x86_64", root.join("var/lib/dkms/m/kernel-6.1.0-x86_64")).expect("link");
    for name in ["a.ko", "c.ko"] {
        fs::create_dir_all(root.join("built")).expect("dirs");
        fs::write(root.join("built").join(name), format!("new {name}")).expect("write");
    }
}

/// The new version has other modules, and archives an original.
fn to_new<'a>(tree: &'a Tree, lock: &'a TreeLock, root: &Path) -> Transaction<'a> {
    let modules = modules(root);
    let mut transaction = Transaction::new(tree, lock);
    transaction.copy(&root.join("built/a.ko"), &modules.join("updates/a.ko"));
    transaction.copy(&root.join("built/c.ko"), &modules.join("extra/c.ko"));
    transaction.copy(
        &modules.join("kernel/drivers/c.ko"),
        &root.join("var/lib/dkms/m/original_module/c.ko"),
    );
    transaction.remove(&modules.join("kernel/drivers/c.ko"));
    transaction.remove(&modules.join("updates/b.ko"));
    transaction.prune(&modules.join("kernel/drivers"), &modules);
    transaction.link(
        "2/6.1.0/x86_64".as_ref(),
        &root.join("var/lib/dkms/m/kernel-6.1.0-x86_64"),
    );
    transaction.needs_depmod("6.1.0");
    transaction
}

/// The files that count, without the tree's own lock and journal.
fn state(root: &Path) -> String {
    let mark = fs::read_link(root.join("var/lib/dkms/m/kernel-6.1.0-x86_64")).expect("a mark");
    let modules = tree_digest(&modules(root)).expect("digest");
    let originals = root.join("var/lib/dkms/m/original_module/c.ko");
    format!("{} {modules} {:?}", mark.display(), fs::read_to_string(originals).ok())
}

/// Not a test of its own: the process that is killed. Without its environment it has nothing to do.
#[test]
fn the_one_who_is_killed() {
    let (Some(root), Some(at)) = (std::env::var_os(DIR), std::env::var(AT).ok()) else {
        return;
    };
    let (root, at): (PathBuf, usize) = (root.into(), at.parse().expect("a number"));
    let tree = tree(&root);
    let lock = lock_and_recover(&tree, &()).expect("locks");
    let mut count = 0;
    let result = to_new(&tree, &lock, &root).commit_observed(&mut |_| {
        if count == at {
            kill_process(getpid(), Signal::KILL).expect("kills");
        }
        count += 1;
    });
    result.expect("commits");
}

#[test]
fn killed_at_every_moment() {
    let fresh = || {
        let dir = tempfile::tempdir().expect("temp dir");
        old_state(dir.path());
        dir
    };
    // Once without harm: what the two states are, and how many moments there are.
    let reference = fresh();
    let old = state(reference.path());
    let mut moments: Vec<Moment> = Vec::new();
    let reference_tree = tree(reference.path());
    let lock = lock_and_recover(&reference_tree, &()).expect("locks");
    to_new(&reference_tree, &lock, reference.path())
        .commit_observed(&mut |moment| moments.push(moment))
        .expect("commits");
    let new = state(reference.path());
    let decided = moments
        .iter()
        .position(|moment| *moment == Moment::Decided)
        .expect("it is decided");
    assert!(old != new && moments.len() > 10, "{moments:?}");

    for (at, moment) in moments.iter().enumerate() {
        let dir = fresh();
        let status = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "install::crash_tests::the_one_who_is_killed"])
            .env(DIR, dir.path())
            .env(AT, at.to_string())
            .output()
            .expect("runs")
            .status;
        assert!(
            std::os::unix::process::ExitStatusExt::signal(&status) == Some(9),
            "moment {at}: {status}"
        );
        let tree = tree(dir.path());
        let lock = lock_and_recover(&tree, &()).expect("locks again");
        let expected = if at < decided { &old } else { &new };
        assert_eq!(&state(dir.path()), expected, "killed at moment {at}, {moment:?}");
        let pending = pending_depmods(&tree);
        assert_eq!(
            pending.is_empty(),
            at < decided,
            "depmod is not forgotten at moment {at}"
        );
        let journal: Vec<_> = fs::read_dir(journal_dir(&tree)).expect("a journal").flatten().collect();
        assert_eq!(journal.len(), pending.len(), "the journal is closed");
        drop(lock);
        assert!(dir_is_clean(dir.path()), "no temporary file is left after moment {at}");
    }
}

fn dir_is_clean(root: &Path) -> bool {
    walkdir::WalkDir::new(root)
        .into_iter()
        .filter_map(Result::ok)
        .all(|entry| !entry.file_name().to_string_lossy().ends_with(".new"))
}
