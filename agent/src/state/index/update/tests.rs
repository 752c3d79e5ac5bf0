//! A database that was changed holds what one holds that was written anew.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rusqlite::Connection;

use super::super::tests::{Machine, facts, lines, machine, package};
use super::*;
use dkms_index::document::record::OverrideRecord;

/// All that a database says, ids and keys aside: they are replaced by the order of the packages.
#[derive(Debug, PartialEq)]
struct Contents {
    meta: BTreeMap<String, String>,
    packages: Vec<(String, String, String, Name, Name)>,
    patterns: Vec<(usize, i64, String)>,
    overrides: Vec<(String, String, String)>,
}

fn contents(machine: &Machine) -> Contents {
    let db = Connection::open(machine.paths.index(&machine.name)).unwrap();
    let ids: Vec<i64> = rows(&db, "SELECT id FROM package ORDER BY id", [], |row| row.get(0)).unwrap();
    let mut patterns = rows(&db, "SELECT package, number, pattern FROM pattern", [], |row| {
        Ok((ids.binary_search(&row.get(0)?).unwrap(), row.get(1)?, row.get(2)?))
    })
    .unwrap();
    patterns.sort();
    let meta = "SELECT key, value FROM meta WHERE key NOT IN ('filter', 'filed-later')";
    let packages = "SELECT name, version, record, line, patterns FROM package ORDER BY id";
    let overrides = "SELECT subject, pattern, reason FROM override ORDER BY rowid";
    Contents {
        meta: rows(&db, meta, [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .into_iter()
            .collect(),
        packages: rows(&db, packages, [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })
        .unwrap(),
        patterns,
        overrides: rows(&db, overrides, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap(),
    }
}

/// Changes the machine's database into that of `index`; `false` when it asks for a new one.
fn update(machine: &Machine, id: &str, index: &[u8]) -> bool {
    let mut updater = Updater::new(&machine.paths.index(&machine.name)).expect("a database");
    // As two segments.
    let middle = index[..index.len() / 2]
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |at| at + 1);
    updater.add_lines(&index[..middle]).unwrap();
    updater.add_lines(&index[middle..]).unwrap();
    updater.commit(&facts(id)).unwrap()
}

/// The n-th package in its m-th state. Neighbours share patterns, and its name keeps its place in the order.
fn numbered(n: usize, state: usize) -> Record {
    let patterns = [
        format!("pci:v000010ECd0000{n:04X}sv*sd*bc*sc*i*"),
        format!("usb:v{state:04X}p*d*dc*dsc*dp*ic*isc*ip*in*"),
        format!("of:N*T*Cacme,uart-{}C*", n / 2),
        "acpi*:PNP0C0C:*".to_owned(),
    ];
    let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
    package(
        &format!("driver-{n:03}"),
        &format!("1.{state}"),
        &patterns[..2 + (n + state) % 3],
    )
}

/// The lines of an index in which the n-th package has the n-th of these states, if any; with a line of an unknown kind
/// and overrides that change with the first state.
fn index_of(states: &[Option<usize>]) -> Vec<u8> {
    let packages = states
        .iter()
        .enumerate()
        .filter_map(|(n, state)| Some(numbered(n, (*state)?)));
    let change = states[0].unwrap_or_default();
    let overrides = (0..=change % 3).map(|n| {
        Record::Override(OverrideRecord {
            subject: format!("kernel:module{n}"),
            pattern: "pci:*".to_owned(),
            reason: format!("reason {change}"),
        })
    });
    let mut index = lines(&packages.chain(overrides).collect::<Vec<_>>());
    for _ in 0..change % 2 {
        index.extend(b"{\"type\":\"novelty\"}\n");
    }
    index
}

fn check(changed: &Machine, index: &[u8], id: &str) {
    let anew = machine();
    anew.fill_lines(id, index);
    assert_eq!(contents(changed), contents(&anew));
    for device in [
        "pci:v000010ECd00000007sv00001043sd00008677bc02sc00i00",
        "usb:v0001p6001d0600dc00dsc00dp00icFFiscFFipFFin00",
        "of:NuartT(null)Cacme,uart-3C",
        "acpi:PNP0C0C:",
    ] {
        assert_eq!(changed.found(device), anew.found(device), "{device}");
    }
}

const PACKAGES: usize = 40;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_changed_database_says_what_a_new_one_says(
        steps in proptest::collection::vec(
            proptest::collection::vec((0..PACKAGES, proptest::option::of(0_usize..4)), 0..6), 1..6),
    ) {
        let mut states: Vec<Option<usize>> = (0..PACKAGES).map(|n| (n % 3 > 0).then_some(n % 4)).collect();
        let machine = machine();
        machine.fill_lines("first", &index_of(&states));
        for (number, step) in steps.iter().enumerate() {
            for &(n, state) in step {
                states[n] = state;
            }
            let (index, id) = (index_of(&states), number.to_string());
            let updated = update(&machine, &id, &index);
            prop_assert!(updated || number > 0, "the first change is small enough");
            if !updated {
                machine.fill_lines(&id, &index);
            }
            check(&machine, &index, &id);
        }
    }
}

#[test]
fn the_same_line_may_stand_twice() {
    let machine = machine();
    let mut states = vec![Some(1); PACKAGES];
    let index = index_of(&states);
    let twice = |index: &[u8]| {
        let end = index.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        [&index[..end], index].concat()
    };
    machine.fill_lines("1", &index);
    assert!(update(&machine, "2", &twice(&index)));
    check(&machine, &twice(&index), "2");
    states[5] = None;
    assert!(update(&machine, "3", &index_of(&states)));
    check(&machine, &index_of(&states), "3");
}

#[test]
fn what_is_mostly_new_or_in_another_order_is_written_anew() {
    let machine = machine();
    let old = index_of(&[Some(1); PACKAGES]);
    machine.fill_lines("1", &old);
    let before = contents(&machine);
    let mut half = vec![Some(1); PACKAGES];
    half[..PACKAGES / 2].fill(Some(2));
    assert!(!update(&machine, "2", &index_of(&half)));
    let mut reversed: Vec<&[u8]> = old.split_inclusive(|&byte| byte == b'\n').collect();
    reversed.reverse();
    assert!(!update(&machine, "2", &reversed.concat()));
    assert_eq!(contents(&machine), before, "nothing changed");
}

/// Between neighbours there is room for some fourteen packages that come one by one, each before the last one.
#[test]
fn where_no_room_is_left_it_is_written_anew() {
    let machine = machine();
    let packages = |more: usize| -> Vec<u8> {
        let before = (0..1000).map(|n| package(&format!("a{n:04}"), "1", &["acpi*:A:*"]));
        let more = (0..more)
            .rev()
            .map(|n| package(&format!("b{:04}", 100 - n), "1", &["acpi*:B:*"]));
        lines(
            &before
                .chain(more)
                .chain([package("c", "1", &["acpi*:C:*"])])
                .collect::<Vec<_>>(),
        )
    };
    machine.fill_lines("0", &packages(0));
    let updates = (1..100).take_while(|&n| {
        let updated = update(&machine, "1", &packages(n));
        if updated {
            check(&machine, &packages(n), "1");
        }
        updated
    });
    assert_eq!(updates.count(), 14);
}

#[test]
fn what_is_no_database_is_written_anew() {
    let machine = machine();
    let path = machine.paths.index(&machine.name);
    assert!(Updater::new(&path).is_none(), "there is none");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    for damage in [&b""[..], b"rubbish", &[0; 8192], &[0xff; 8192]] {
        std::fs::write(&path, damage).unwrap();
        assert!(Updater::new(&path).is_none(), "{} bytes", damage.len());
    }
}

#[test]
fn a_damaged_database_is_written_anew() {
    let index = index_of(&[Some(1); PACKAGES]);
    let mut states = vec![Some(1); PACKAGES];
    states[3] = None;
    for sql in [
        "DELETE FROM pattern",
        "UPDATE package SET keys = x'01'",
        "DELETE FROM meta WHERE key = 'patterns'",
        "UPDATE meta SET value = x'00' WHERE key = 'filter'",
        "UPDATE package SET line = 7",
        "DROP TABLE pattern",
        "PRAGMA user_version = 99",
    ] {
        let machine = machine();
        machine.fill_lines("1", &index);
        let path = machine.paths.index(&machine.name);
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let before = std::fs::read(&path).unwrap();
        let updated = Updater::new(&path).is_some_and(|mut updater| {
            updater.add_lines(&index_of(&states)).unwrap();
            updater.commit(&facts("2")).unwrap()
        });
        assert!(!updated, "{sql}");
        assert_eq!(std::fs::read(&path).unwrap(), before, "{sql}");
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "{sql}: nothing is left beside it"
        );
    }
}
