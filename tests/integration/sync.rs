//! The agent beside a real signed repository: from the pinned root to an unpacked source, and all that can be wrong on the way.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dkms_engine::root::Root;
use dkms_fetch::config::{Config, Repository};
use dkms_fetch::fetch::{self, FetchError, Store};
use dkms_fetch::state::Paths;
use dkms_fetch::state::index::Index;
use dkms_fetch::sync::{Network, Session, SyncError, Update};
use dkms_fetch::transport::{Options, Transport};
use dkms_index::modalias::Modalias;
use dkms_index::trust::Expiry;
use dkms_tests::published::{self, Mirror, Published, now};
use jiff::{SignedDuration, Timestamp};

/// QEMU's educational device.
const EDU: &str = "pci:v00001234d000011E8sv00001AF4sd00001100bc00scFFi00";

/// A machine with one repository.
struct Machine {
    dir: tempfile::TempDir,
    paths: Paths,
    transport: Transport,
}

/// What one run of the whole way came to.
#[derive(Debug)]
struct Came {
    update: Update,
    from_cache: bool,
    source: String,
}

impl Machine {
    fn new(published: &Published, urls: &[String]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let etc = dir.path().join("etc/dkms-fetch/repos.d");
        fs::create_dir_all(&etc).expect("a folder");
        fs::copy(published.pinned_root(), etc.join("made-up.root.json")).expect("a copy");
        let machine = Self {
            paths: Paths::of(&Root::at(dir.path())),
            transport: Transport::new(Options {
                backoff: Duration::from_millis(1),
                ..Options::default()
            }),
            dir,
        };
        machine.use_mirrors(urls);
        machine
    }

    /// Another machine in the same state.
    fn copy(&self) -> Self {
        let dir = published::copy_of(self.dir.path());
        Self {
            paths: Paths::of(&Root::at(dir.path())),
            transport: Transport::new(Options::default()),
            dir,
        }
    }

    fn use_mirrors(&self, urls: &[String]) {
        let text = format!("name = \"made-up\"\nroot = \"made-up.root.json\"\nurls = {urls:?}\n");
        fs::write(self.dir.path().join("etc/dkms-fetch/repos.d/made-up.toml"), text).expect("a file");
    }

    fn repository(&self) -> Repository {
        let config = Config::read(&Root::at(self.dir.path())).expect("a good configuration");
        config.repositories.into_iter().next().expect("one repository")
    }

    /// Refresh and index.
    fn sync(&self, network: Network, now: Timestamp) -> Result<(Update, bool), SyncError> {
        let repository = self.repository();
        let session = Session::new(&repository, &self.paths, &self.transport, network);
        run(async {
            let refreshed = session.refresh(now, Expiry::Enforce).await?;
            let update = session.update_index(&refreshed.metadata).await?;
            Ok((update, refreshed.from_cache.is_some()))
        })
    }

    /// The whole way, from the pinned root to the text of a source file.
    fn all(&self, network: Network) -> Result<Came, FetchError> {
        let repository = self.repository();
        let session = Session::new(&repository, &self.paths, &self.transport, network);
        run(async {
            let mut refreshed = session.refresh(now(), Expiry::Enforce).await?;
            let update = session.update_index(&refreshed.metadata).await?;
            let index = self.index();
            let matches = index.find(&edu()).map_err(SyncError::from)?;
            let record = index.record(matches[0].package).map_err(SyncError::from)?;
            let manifest = session.manifest(&mut refreshed.metadata, &record.manifest).await?;
            let bundle = Store::of(&self.paths).bundle(&manifest, &session, &mut |_| {}).await?;
            let tree = fetch::unpack(&bundle, self.dir.path())?;
            Ok(Came {
                update,
                from_cache: refreshed.from_cache.is_some(),
                source: fs::read_to_string(tree.path().join("main.c")).expect("it was unpacked"),
            })
        })
    }

    fn index(&self) -> Index {
        Index::open(&self.paths, [&self.repository().name])
    }

    fn index_file(&self) -> PathBuf {
        self.paths.index(&self.repository().name)
    }

    fn finds(&self) -> usize {
        self.index().find(&edu()).expect("a sound index").len()
    }
}

fn edu() -> Modalias {
    EDU.parse().expect("a modalias")
}

fn file_url(tree: &Path) -> String {
    format!("file://{}/", tree.display())
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

fn days(n: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * n)
}

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
    // A file where the folder should be: this stops root too.
    let trust = machine.dir.path().join("var/lib/dkms-fetch/trust");
    fs::create_dir_all(trust.parent().expect("a folder")).expect("a folder");
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

/// A run that is killed at any moment leaves the old index or the new one, and the next run is not hindered.
#[test]
fn a_killed_sync_leaves_the_old_index_or_the_new_one() {
    const PLAY_THE_VICTIM: &str = "DKMS_TEST_SYNC_VICTIM";
    if let Some(root) = std::env::var_os(PLAY_THE_VICTIM) {
        let machine = Machine {
            paths: Paths::of(&Root::at(&root)),
            transport: Transport::new(Options::default()),
            dir: tempfile::tempdir_in(root).expect("a folder"),
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
