//! The agent's cache: look-ups in SQLite, and a sync of ten thousand packages over loopback.
//!
//! `cargo bench --bench cache`. It first signs and publishes two made-up repositories, which takes a minute. `cargo bench --bench cache --
//! 100000` synchronises so many packages instead, looks up devices in that cache, and nothing else.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use divan::Bencher;
use divan::counter::ItemsCount;
use dkms_engine::root::Root;
use dkms_fetch::config::{Config, Repository};
use dkms_fetch::device;
use dkms_fetch::state::Paths;
use dkms_fetch::state::index::Index;
use dkms_fetch::sync::{Network, Session, Update};
use dkms_fetch::transport::{Options, Transport};
use dkms_index::modalias::Modalias;
use dkms_index::trust::Expiry;
use dkms_tests::inputs;
use dkms_tests::published::{Mirror, Published, now};
use dkms_tests::synthetic::{Synthetic, device_for};

const MILLION: usize = 1_000_000;

/// Set for the copy of this program that syncs alone, so that its time and memory are those of a sync.
const SYNC_ROOT: &str = "DKMS_BENCH_SYNC_ROOT";

fn main() {
    if let Some(root) = std::env::var_os(SYNC_ROOT) {
        sync_alone(Root::at(root));
    } else if let Some(packages) = std::env::args().find_map(|word| word.parse().ok()) {
        sync_of(packages);
    } else {
        sync_of(10_000);
        divan::main();
    }
}

/// A machine with one repository.
struct Machine {
    root: Root,
    repository: Repository,
    paths: Paths,
}

impl Machine {
    fn new(dir: &Path, published: &Published, url: &str) -> Self {
        let etc = dir.join("etc/dkms-fetch/repos.d");
        fs::create_dir_all(&etc).expect("a directory");
        fs::copy(published.pinned_root(), etc.join("a.root.json")).expect("a copy");
        let text = format!("name = \"a\"\nroot = \"a.root.json\"\nurls = [{url:?}]\n");
        fs::write(etc.join("a.toml"), text).expect("a file");
        Self::at(Root::at(dir))
    }

    fn at(root: Root) -> Self {
        let config = Config::read(&root).expect("a configuration");
        Self {
            repository: config.repositories.into_iter().next().expect("one repository"),
            paths: Paths::of(&root),
            root,
        }
    }

    fn sync(&self) -> Update {
        let transport = Transport::new(Options::default());
        let session = Session::new(&self.repository, &self.paths, &transport, Network::Online);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let refreshed = session.refresh(now(), Expiry::Enforce).await.expect("a refresh");
            session.update_index(&refreshed.metadata).await.expect("an index")
        })
    }

    fn index(&self) -> Index {
        Index::open(&self.paths, [&self.repository.name])
    }
}

/// Prints the cost of a first sync, of one without a change, and of one after 1 % of the packages changed. Bytes are those
/// of the files sent, without HTTP's own.
fn sync_of(packages: usize) {
    let published = Published::empty();
    published.add_many(packages, 11);
    published.publish(now());
    let mirror = Mirror::of(&published.public());
    let dir = tempfile::tempdir().expect("a temporary directory");
    let machine = Machine::new(dir.path(), &published, &mirror.url());
    println!("sync of {packages} packages over loopback");
    let measure = |what: &str| {
        mirror.asked();
        mirror.sent();
        let sync = Command::new(std::env::current_exe().expect("this program"))
            .env(SYNC_ROOT, machine.root.path())
            .output()
            .expect("it runs");
        assert!(sync.status.success(), "{}", String::from_utf8_lossy(&sync.stderr));
        let said = String::from_utf8_lossy(&sync.stdout);
        let (requests, bytes) = (mirror.asked().len(), mirror.sent());
        println!(
            "  {what:<12} {} {requests:>3} requests {bytes:>8} bytes",
            said.trim_end()
        );
    };
    measure("first");
    measure("no change");
    published.change_many(packages, 11, 100);
    published.publish(now());
    measure("1 % changed");
    let length = |path: &Path| fs::metadata(path).map_or(0, |m| m.len());
    println!(
        "  the cache has {} KiB",
        length(&machine.paths.index(&machine.repository.name)) >> 10
    );
    look_up(&machine.index(), packages);
}

/// Prints how long the cache takes to answer for a device that a package of it serves: one device of each of 10,000 packages.
fn look_up(index: &Index, packages: usize) {
    let mut synthetic = Synthetic::new(11);
    let mut nanos: Vec<u128> = Vec::new();
    let mut found = 0;
    for n in 0..packages {
        let package = synthetic.package(n);
        let chosen = package.patterns.get(n % package.patterns.len().max(1));
        let (Some(pattern), true) = (chosen, n % packages.div_ceil(10_000) == 0) else {
            continue;
        };
        let device = device_for(&pattern.parse().expect("a pattern"));
        let begin = Instant::now();
        found += usize::from(!index.find(&device).expect("a sound cache").is_empty());
        nanos.push(begin.elapsed().as_nanos());
    }
    nanos.sort_unstable();
    let micros = |part: usize| nanos[nanos.len() * part / 100] as f64 / 1e3;
    println!(
        "  one of {} devices, {found} of which are found: median {:.1} µs, 99 % within {:.1} µs",
        nanos.len(),
        micros(50),
        micros(99)
    );
}

/// Syncs and says what it cost.
fn sync_alone(root: Root) {
    let machine = Machine::at(root);
    let wall = Instant::now();
    let update = machine.sync();
    let wall = wall.elapsed();
    let read = |path: &str| fs::read_to_string(path).expect("procfs");
    // Fields 14 and 15 of stat, in ticks of 10 ms; the name before them ends with `)`.
    let stat = read("/proc/self/stat");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = [11, 12]
        .iter()
        .map(|&n| fields[n].parse::<u64>().expect("a number"))
        .sum();
    let status = read("/proc/self/status");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap_or_default();
    println!(
        "wall {wall:>8.1?}  CPU {:>4} ms  peak {}  {update:?}",
        ticks * 10,
        peak.trim()
    );
}

/// A cache with about a million patterns, and devices that some of them match.
struct Cache {
    index: Index,
    devices: Vec<Modalias>,
    machine: Machine,
    _dir: tempfile::TempDir,
}

thread_local! {
    static CACHE: Cache = Cache::new();
}

impl Cache {
    fn new() -> Self {
        let published = Published::empty();
        let patterns = published.add_large(MILLION / 500, 500, 3);
        published.publish(now());
        let dir = tempfile::tempdir().expect("a temporary directory");
        let machine = Machine::new(
            dir.path(),
            &published,
            &format!("file://{}/", published.public().display()),
        );
        machine.sync();
        Self {
            devices: patterns.iter().map(device_for).collect(),
            index: machine.index(),
            machine,
            _dir: dir,
        }
    }

    fn matches<'a>(&self, devices: impl IntoIterator<Item = &'a Modalias>) -> usize {
        let found = |device| self.index.find(device).expect("a sound cache").len();
        devices.into_iter().map(found).sum()
    }
}

#[divan::bench(args = ["pci", "usb", "of", "i2c", "hid", "acpi", "dmi", "platform", "sdio", "mdio", "cpu"])]
fn one_device_against_a_million_in_sqlite(bencher: Bencher<'_, '_>, bus: &str) {
    CACHE.with(|cache| {
        let of_bus = |device: &&Modalias| device.bus() == bus.as_bytes();
        let devices: Vec<&Modalias> = cache.devices.iter().filter(of_bus).take(100).collect();
        bencher
            .counter(ItemsCount::new(devices.len()))
            .bench_local(|| cache.matches(devices.iter().copied()));
    });
}

/// All that `dkms-fetch devices` does before it prints: read a machine, name it, open the cache, look everything up.
#[divan::bench]
fn a_recorded_laptop_of_108_devices(bencher: Bencher<'_, '_>) {
    let path = fixture("laptop-thinkpad.modaliases");
    CACHE.with(|cache| {
        bencher.bench_local(|| {
            let index = cache.machine.index();
            let devices = device::recorded::read(&path).expect("a fixture");
            let found = |modalias: &Modalias| index.find(modalias).expect("a sound cache").len();
            devices.iter().flat_map(|d| &d.modaliases).map(found).sum::<usize>()
        });
    });
}

/// This machine's own devices, by libudev.
#[divan::bench]
fn this_machines_devices() -> usize {
    device::scan().expect("libudev answers").len()
}

fn fixture(name: &str) -> std::path::PathBuf {
    let dir: &Path = &inputs::workspace();
    dir.join("fixtures/machines").join(name)
}
