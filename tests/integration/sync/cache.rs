//! What is kept: damaged, in the way, or left by a run that was killed.

use std::fs;
use std::time::Duration;

use dkms_engine::root::Root;
use dkms_fetch::config::Config;
use dkms_fetch::state::Paths;
use dkms_fetch::sync::{Network, Session, SyncError, Update};
use dkms_fetch::transport::{Options, Transport};
use dkms_index::trust::Expiry;
use dkms_tests::published::{Mirror, Published, now};

use super::{Machine, file_url, run};

#[test]
fn a_damaged_cache_is_made_anew_even_without_a_network() {
    let published = Published::with_driver();
    let mirror = Mirror::of(&published.public());
    let machine = Machine::new(&published, &[mirror.url()]);
    machine.all(Network::Online).expect("the whole way");
    drop(mirror);
    // The tables of another version of this program (PRAGMA user_version).
    let mut other_version = fs::read(machine.index_file()).expect("an index");
    other_version[60..64].copy_from_slice(&1_u32.to_be_bytes());
    for damage in [&b""[..], b"rubbish", &[0; 8192], &other_version] {
        fs::write(machine.index_file(), damage).expect("a write");
        let (update, from_cache) = machine.sync(Network::Offline, now()).expect("the segments are there");
        assert!(matches!(update, Update::Updated { .. }) && from_cache);
        assert_eq!(machine.finds(), 1);
    }
}

#[test]
fn metadata_that_cannot_be_kept_is_an_error() {
    let published = Published::with_driver();
    let machine = Machine::new(&published, &[file_url(&published.public())]);
    // A file where the directory should be: this stops root too.
    let trust = machine.dir.path().join("var/lib/dkms-fetch/trust");
    fs::create_dir_all(trust.parent().expect("a directory")).expect("a directory");
    fs::write(&trust, "").expect("a file");
    let error = machine.sync(Network::Online, now()).expect_err("nowhere to keep it");
    assert!(matches!(error, SyncError::Keep { .. }), "{error}");
    assert!(!machine.index_file().exists());
}

#[test]
fn metadata_is_kept_byte_for_byte() {
    let published = Published::with_driver();
    let machine = Machine::new(&published, &[file_url(&published.public())]);
    machine.sync(Network::Online, now()).expect("a sync");
    let kept = machine.paths.trust(&machine.repository().name);
    let served = fs::read(published.public().join("metadata/timestamp.json")).expect("it is served");
    assert_eq!(fs::read(kept.join("timestamp.json")).expect("it is kept"), served);
}

/// A run that is killed at any moment leaves the old index or the new one, and the next run is not hindered.
#[test]
fn a_killed_sync_leaves_the_old_index_or_the_new_one() {
    const PLAY_THE_VICTIM: &str = "DKMS_TEST_SYNC_VICTIM";
    if let Some(root) = std::env::var_os(PLAY_THE_VICTIM) {
        let machine = Machine {
            paths: Paths::of(&Root::at(&root)),
            transport: Transport::new(Options::default()),
            dir: tempfile::tempdir_in(root).expect("a directory"),
        };
        let config = Config::read(&Root::at(machine.dir.path().parent().expect("a root"))).expect("a configuration");
        let session = Session::new(
            &config.repositories[0],
            &machine.paths,
            &machine.transport,
            Network::Online,
        );
        run(async {
            let refreshed = session.refresh(now(), Expiry::Enforce).await.expect("a refresh");
            session.update_index(&refreshed.metadata).await.expect("an index");
        });
        return;
    }
    let published = Published::with_driver();
    let machine = Machine::new(&published, &[file_url(&published.public())]);
    machine.sync(Network::Online, now()).expect("the old index");
    published.add_driver("2.0");
    published.add_many(300, 5);
    published.publish(now());
    let (mut old, mut new) = (0, 0);
    for round in 0..30 {
        let mut victim = std::process::Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "sync::a_killed_sync_leaves_the_old_index_or_the_new_one"])
            .env(PLAY_THE_VICTIM, machine.dir.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("a process");
        std::thread::sleep(Duration::from_millis(round * 7));
        victim.kill().expect("it is ours");
        victim.wait().expect("it ends");
        match machine.finds() {
            1 => old += 1,
            2 => new += 1,
            n => panic!("{n} packages after {} ms", round * 7),
        }
    }
    assert_eq!(old + new, 30);
    machine.sync(Network::Online, now()).expect("the next run");
    assert_eq!(machine.finds(), 2);
}
