//! An index that changed a little.

use std::fs;
use std::path::{Path, PathBuf};

use dkms_fetch::sync::{Network, Update};
use dkms_tests::published::{self, Mirror, Published, now};

use super::{Machine, file_url};

/// A machine that has an index of 300 packages, a mirror of one in which three of them changed, and what the first sync cost.
fn one_percent_changed() -> (Published, Machine, Mirror, u64) {
    let published = Published::empty();
    published.add_driver("1.0");
    published.add_many(299, 11);
    published.publish(now());
    let mirror = Mirror::of(&published.public());
    let machine = Machine::new(&published, &[mirror.url()]);
    machine.sync(Network::Online, now()).expect("a first sync");
    let first = mirror.sent();
    published.change_many(299, 11, 100);
    published.publish(now());
    mirror.asked();
    (published, machine, mirror, first)
}

/// All rows of the cached index: of packages, and of patterns by key.
fn rows(machine: &Machine) -> Vec<String> {
    let db = rusqlite::Connection::open(machine.index_file()).expect("an index");
    let sql = "SELECT name || version || record FROM package
               UNION ALL SELECT key || ' ' || package || ' ' || pattern FROM pattern ORDER BY 1";
    let mut select = db.prepare(sql).expect("our tables");
    let rows = select.query_map([], |row| row.get(0)).expect("rows");
    rows.collect::<Result<_, _>>().expect("text")
}

/// The last parts of the paths of segments and deltas in what a mirror was asked for.
fn segments(asked: &[String]) -> Vec<&str> {
    let segments = asked.iter().filter(|path| path.contains("/index/"));
    segments.filter_map(|path| path.rsplit('.').next()).collect()
}

#[test]
fn a_small_change_costs_a_delta_and_makes_the_same_index() {
    let (published, machine, mirror, first) = one_percent_changed();
    let before = rows(&machine);
    let update = machine.sync(Network::Online, now()).expect("the next sync").0;
    assert_eq!(update, Update::Updated { records: 300 });
    let asked = mirror.asked();
    assert_eq!(segments(&asked), ["delta"], "{asked:?}");
    let cost = mirror.sent();
    assert!(cost < 12_000 && cost * 10 < first, "{cost} bytes after {first}");
    assert_ne!(rows(&machine), before);

    let fresh = Machine::new(&published, &[mirror.url()]);
    fresh.sync(Network::Online, now()).expect("a first sync");
    assert_eq!(segments(&mirror.asked()), ["zst"]);
    assert_eq!(rows(&machine), rows(&fresh));
}

/// The deltas in a published tree.
fn deltas(tree: &Path) -> Vec<PathBuf> {
    let files = published::files(&tree.join("targets/index")).into_iter();
    let deltas: Vec<PathBuf> = files.filter(|f| f.extension().is_some_and(|e| e == "delta")).collect();
    assert!(!deltas.is_empty(), "{} has no delta", tree.display());
    deltas
}

fn rewrite(files: &[PathBuf], change: fn(&mut Vec<u8>)) {
    for file in files {
        let mut bytes = fs::read(file).expect("a file");
        change(&mut bytes);
        fs::write(file, bytes).expect("a write");
    }
}

/// A delta is a convenience: whatever is wrong with it or with what it is based on, the segment is fetched whole.
#[test]
fn a_delta_that_does_not_fit_leads_to_the_whole_segment() {
    type Spoil = fn(&Path, &Machine);
    let (published, machine, mirror, _) = one_percent_changed();
    let fresh = Machine::new(&published, &[mirror.url()]);
    fresh.sync(Network::Online, now()).expect("a first sync");
    let old_state = machine.copy();
    let ways: [(&str, Spoil); 5] = [
        ("a flipped bit", |tree, _| rewrite(&deltas(tree), |bytes| bytes[9] ^= 4)),
        ("cut short", |tree, _| {
            rewrite(&deltas(tree), |bytes| bytes.truncate(20))
        }),
        ("other bytes", |tree, _| {
            rewrite(&deltas(tree), |bytes| bytes.fill(b'x'))
        }),
        ("no delta", |tree, _| {
            deltas(tree)
                .iter()
                .for_each(|file| fs::remove_file(file).expect("it goes"));
        }),
        ("a damaged base", |_, machine| {
            let held = published::files(&machine.paths.segments(&machine.repository().name));
            assert_eq!(held.len(), 1);
            rewrite(&held, |bytes| *bytes = zstd::bulk::compress(b"{}\n", 3).expect("zstd"));
        }),
    ];
    for (what, spoil) in ways {
        let machine = old_state.copy();
        let tree = published.copy();
        spoil(tree.path(), &machine);
        let mirror = Mirror::of(tree.path());
        machine.use_mirrors(&[mirror.url()]);
        machine.sync(Network::Online, now()).expect(what);
        let asked = mirror.asked();
        assert_eq!(segments(&asked), ["delta", "zst"], "{what}: {asked:?}");
        assert_eq!(rows(&machine), rows(&fresh), "{what}");
    }

    // With the segment wrong too, it is refused, and the old index stays.
    let tree = published.copy();
    rewrite(&published::files(&tree.path().join("targets/index")), |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
    });
    let before = rows(&old_state);
    old_state.use_mirrors(&[file_url(tree.path())]);
    let error = old_state
        .sync(Network::Online, now())
        .expect_err("nothing genuine is left");
    assert!(error.is_trust() && error.hint().is_some(), "{error}");
    assert_eq!(rows(&old_state), before);
}
