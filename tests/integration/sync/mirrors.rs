//! What a mirror can give and what it can do.

use std::fs;

use dkms_fetch::sync::{Network, SyncError, Update};
use dkms_tests::published::{self, Mirror, Published, now};
use jiff::{SignedDuration, Timestamp};

use super::{Machine, days, file_url};

#[test]
fn a_device_gets_its_source_and_the_next_poll_is_two_tiny_requests() {
    let published = Published::with_driver();
    let mirror = Mirror::of(&published.public());
    let machine = Machine::new(&published, &[mirror.url()]);
    let came = machine.all(Network::Online).expect("the whole way");
    assert_eq!((came.source.as_str(), came.from_cache), ("int x;\n", false));
    assert!(matches!(came.update, Update::Updated { records: 1 }), "{came:?}");
    mirror.asked();
    let came = machine.all(Network::Online).expect("the whole way again");
    assert_eq!(came.update, Update::Unchanged);
    assert_eq!(mirror.asked(), ["/metadata/2.root.json", "/metadata/timestamp.json"]);
}

#[test]
fn a_stick_serves_as_well_as_a_server() {
    let published = Published::with_driver();
    let machine = Machine::new(&published, &[file_url(&published.public())]);
    for _ in 0..2 {
        let came = machine.all(Network::Offline).expect("no network is needed");
        assert_eq!((came.source.as_str(), came.from_cache), ("int x;\n", false));
    }
}

#[test]
fn without_a_network_what_was_verified_before_is_enough() {
    let published = Published::with_driver();
    let mirror = Mirror::of(&published.public());
    let machine = Machine::new(&published, &[mirror.url()]);
    machine.all(Network::Online).expect("the whole way");
    drop(mirror);
    for network in [Network::Online, Network::Offline] {
        let came = machine.all(network).expect("all is cached");
        assert_eq!((came.source.as_str(), came.from_cache), ("int x;\n", true));
    }
}

#[test]
fn with_neither_network_nor_cache_the_error_says_so() {
    let published = Published::with_driver();
    let machine = Machine::new(&published, &["http://127.0.0.1:1/".to_owned()]);
    let error = machine.sync(Network::Online, now()).expect_err("nobody there");
    assert!(error.is_transport() && error.hint().is_some(), "{error}");
    let error = machine.sync(Network::Offline, now()).expect_err("nothing cached");
    assert!(
        matches!(error, SyncError::NoMirror { .. }) && error.hint().is_some(),
        "{error}"
    );
}

#[test]
fn one_flipped_byte_in_any_served_file_is_refused() {
    let published = Published::with_driver();
    let mirror = Mirror::of(&published.public());
    Machine::new(&published, &[mirror.url()])
        .all(Network::Online)
        .expect("the whole way");
    let mut refused = Vec::new();
    for path in mirror.asked() {
        let path = path.trim_start_matches('/');
        let copy = published.copy();
        let file = copy.path().join(path);
        // Asked for and not there: the next root.
        let Ok(mut bytes) = fs::read(&file) else { continue };
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x20;
        fs::write(&file, bytes).expect("a write");
        let machine = Machine::new(&published, &[file_url(copy.path())]);
        let error = machine.all(Network::Online).expect_err(path);
        assert!(error.is_trust() && error.hint().is_some(), "{path}: {error}");
        refused.push(path.to_owned());
    }
    // timestamp, snapshot, targets, index, revocations, curated; the revocations, a segment, a manifest, a bundle.
    assert_eq!(refused.len(), 10, "{refused:?}");
}

#[test]
fn another_mirror_makes_up_for_a_hostile_one() {
    let published = Published::with_driver();
    let hostile = published.copy();
    for file in published::files(&hostile.path().join("metadata")) {
        fs::write(file, "{}").expect("a write");
    }
    let urls = [file_url(hostile.path()), file_url(&published.public())];
    let machine = Machine::new(&published, &urls);
    assert_eq!(
        machine.all(Network::Online).expect("the good mirror").source,
        "int x;\n"
    );
}

#[test]
fn an_old_state_is_not_taken_back() {
    let published = Published::with_driver();
    let old = published.copy();
    published.add_driver("2.0");
    published.publish(now() + SignedDuration::from_hours(1));
    let machine = Machine::new(&published, &[file_url(&published.public())]);
    let later = now() + SignedDuration::from_hours(2);
    machine.sync(Network::Online, later).expect("the new state");
    assert_eq!(machine.finds(), 2);
    machine.use_mirrors(&[file_url(old.path())]);
    let error = machine.sync(Network::Online, later).expect_err("a rollback");
    assert!(error.is_trust() && !error.is_stale(), "{error}");
    assert_eq!(machine.finds(), 2, "the newer index stays");
}

#[test]
fn a_clock_that_is_wrong_loses_nothing() {
    let published = Published::with_driver();
    let machine = Machine::new(&published, &[file_url(&published.public())]);
    machine
        .sync(Network::Online, Timestamp::UNIX_EPOCH)
        .expect("1970 is a usual first boot");
    let error = machine.sync(Network::Online, now() + days(3000)).expect_err("stale");
    assert!(error.is_stale(), "{error}");
    assert_eq!(machine.finds(), 1);
    machine.sync(Network::Online, now()).expect("the clock was set");
}
