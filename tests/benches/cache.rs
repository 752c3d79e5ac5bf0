//! The agent's cache: look-ups in SQLite, and a sync of ten thousand packages over loopback.
//!
//! `cargo bench --bench cache`. It first signs and publishes two made-up repositories, which takes a minute or two.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

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
use dkms_tests::synthetic::{MEAN_PATTERNS, Synthetic, device_for};

const MILLION: usize = 1_000_000;

fn main() {
    sync_of_ten_thousand();
    divan::main();
}

/// A machine with one repository.
struct Machine {
    _dir: tempfile::TempDir,
    repository: Repository,
    paths: Paths,
}

impl Machine {
    fn new(published: &Published, url: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let etc = dir.path().join("etc/dkms-fetch/repos.d");
        fs::create_dir_all(&etc).expect("a folder");
        fs::copy(published.pinned_root(), etc.join("a.root.json")).expect("a copy");
        let text = format!("name = \"a\"\nroot = \"a.root.json\"\nurls = [{url:?}]\n");
        fs::write(etc.join("a.toml"), text).expect("a file");
        let root = Root::at(dir.path());
        let config = Config::read(&root).expect("a configuration");
        Self {
            repository: config.repositories.into_iter().next().expect("one repository"),
            paths: Paths::of(&root),
            _dir: dir,
        }
    }

    fn sync(&self) -> Update {
        let transport = Transport::new(Options::default());
        let session = Session::new(&self.repository, &self.paths, &transport, Network::Online);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let refreshed = session.refresh(now(), Expiry::Enforce).await.expect("a refresh");
            session.update_index(&refreshed.metadata).await.expect("an index")
        })
    }

    fn index(&self) -> Index {
        Index::open(&self.paths, [&self.repository.name])
    }
}

/// Prints the cost of a first sync, one after 1 % of the packages changed, and one without a change.
fn sync_of_ten_thousand() {
    let published = Published::empty();
    published.add_many(10_000, 11);
    published.publish(now());
    let mirror = Mirror::of(&published.public());
    let machine = Machine::new(&published, &mirror.url());
    println!("sync of 10000 packages over loopback    wall        CPU   requests");
    let measure = |what: &str| {
        mirror.asked();
        let (wall, cpu) = (Instant::now(), cpu_time());
        let update = machine.sync();
        let (wall, cpu) = (wall.elapsed(), cpu_time() - cpu);
        println!(
            "  {what:<32} {wall:>9.1?} {cpu:>9.1?} {:>6}   {update:?}",
            mirror.asked().len()
        );
    };
    measure("first");
    measure("no change");
    published.add_many(100, 12);
    published.publish(now());
    measure("1 % more");
    println!(
        "  the cache has {} KiB",
        fs::metadata(machine.paths.index(&machine.repository.name)).map_or(0, |m| m.len() >> 10)
    );
}

/// The CPU time of this process, the mirror's thread included.
fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("procfs");
    // Fields 14 and 15, in ticks of 10 ms; the name before them ends with `)`.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = [11, 12]
        .iter()
        .map(|&n| fields[n].parse::<u64>().expect("a number"))
        .sum();
    Duration::from_millis(ticks * 10)
}

/// A cache with about a million patterns, and devices that some of them match.
struct Cache {
    index: Index,
    devices: Vec<Modalias>,
    machine: Machine,
}

thread_local! {
    static CACHE: Cache = Cache::new();
}

impl Cache {
    fn new() -> Self {
        let packages = MILLION / MEAN_PATTERNS as usize;
        let published = Published::empty();
        published.add_many(packages, 3);
        published.publish(now());
        let machine = Machine::new(&published, &format!("file://{}/", published.public().display()));
        machine.sync();
        let mut synthetic = Synthetic::new(3);
        let device = |n| {
            let patterns = synthetic.package(n).patterns;
            device_for(&patterns[patterns.len() / 2].parse().expect("a pattern"))
        };
        Self {
            devices: (0..packages).map(device).collect(),
            index: machine.index(),
            machine,
        }
    }

    fn matches<'a>(&self, devices: impl IntoIterator<Item = &'a Modalias>) -> usize {
        let found = |device| self.index.find(device).expect("a sound cache").len();
        devices.into_iter().map(found).sum()
    }
}

#[divan::bench(args = ["pci", "usb", "of", "i2c", "hid", "acpi", "dmi", "platform", "sdio", "mdio", "cpu", "input"])]
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
