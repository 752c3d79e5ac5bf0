//! Keys are rotated while machines synchronise.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::machine::{Machine, versions};
use super::{Work, base, leftovers, moments, now, offered, open, publish_all};
use crate::authority;
use crate::verify::Tree;

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
