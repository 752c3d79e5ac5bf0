//! Matching: devices against a million patterns in memory, beside libkmod's look-up in a real kernel's modules.alias.
//!
//! `cargo bench --bench matching`. The set-up (a million patterns) takes some seconds before the first figure.

use std::sync::LazyLock;
use std::time::Instant;

use divan::Bencher;
use divan::counter::ItemsCount;
use dkms_index::document::record::Record;
use dkms_index::document::segment;
use dkms_index::modalias::Modalias;
use dkms_index::pattern::Pattern;
use dkms_repo::publish::lines;
use dkms_repo::publish::segments::{self, Segment};
use dkms_tests::matcher::Matcher;
use dkms_tests::synthetic::{Synthetic, device_for};
use dkms_tests::{inputs, kernel_aliases};

const MILLION: usize = 1_000_000;

static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    let mut synthetic = Synthetic::new(1);
    (0..MILLION).map(|_| synthetic.pattern()).collect()
});

static MATCHER: LazyLock<Matcher<u32>> = LazyLock::new(|| Matcher::new(PATTERNS.iter().cloned().zip(0..).collect()));

fn main() {
    beside_libkmod();
    divan::main();
}

/// Devices of one bus that some of the million patterns match.
fn devices(bus: &str, count: usize) -> Vec<Modalias> {
    let of_bus = |pattern: &&Pattern| pattern.as_bytes().starts_with(bus.as_bytes());
    PATTERNS
        .iter()
        .filter(of_bus)
        .step_by(3)
        .take(count)
        .map(device_for)
        .collect()
}

#[divan::bench(args = ["pci:", "usb:", "of:", "i2c:", "hid:", "acpi", "dmi", "platform:", "sdio:", "mdio:", "cpu:", "input:"])]
fn one_device_against_a_million(bencher: Bencher<'_, '_>, bus: &str) {
    let devices = devices(bus, 100);
    LazyLock::force(&MATCHER);
    let mut devices = devices.iter().cycle();
    bencher.bench_local(|| devices.next().map(|device| MATCHER.find(device).len()));
}

#[divan::bench]
fn a_hundred_devices_of_a_laptop_against_a_million(bencher: Bencher<'_, '_>) {
    let devices = laptop();
    LazyLock::force(&MATCHER);
    bencher
        .counter(ItemsCount::new(devices.len()))
        .bench_local(|| devices.iter().map(|device| MATCHER.find(device).len()).sum::<usize>());
}

/// A hundred thousand patterns of one kind share their literal prefix.
#[divan::bench(args = ["usb", "of", "hid", "acpi", "dmi", "mdio"])]
fn one_device_against_a_skewed_million(bencher: Bencher<'_, '_>, bus: &str) {
    let mut synthetic = Synthetic::new(9);
    let kind: Vec<Pattern> = (0..100_000).map(|_| synthetic.pattern_of(bus)).collect();
    let devices: Vec<Modalias> = kind.iter().step_by(1000).map(device_for).collect();
    let all = PATTERNS
        .iter()
        .take(MILLION - kind.len())
        .cloned()
        .chain(kind)
        .zip(0_u32..)
        .collect();
    let matcher = Matcher::new(all);
    let mut devices = devices.iter().cycle();
    bencher.bench_local(|| devices.next().map(|device| matcher.find(device).len()));
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn building_the_look_up_of_a_million(bencher: Bencher<'_, '_>) {
    bencher
        .with_inputs(|| PATTERNS.iter().cloned().zip(0_u32..).collect::<Vec<_>>())
        .bench_local_values(Matcher::new);
}

/// From the verified bytes of an index to a look-up: decompress, read and check every line, file every pattern.
#[divan::bench(args = [1000, 10_000], sample_count = 5, sample_size = 1)]
fn loading_an_index(bencher: Bencher<'_, '_>, packages: usize) {
    let lines = lines::of(&Synthetic::new(4).index(packages)).expect("a valid index");
    let segments = segments::cut(&lines, 16 << 20).expect("a valid index").into_iter();
    let packed: Vec<(Vec<u8>, u64)> = segments
        .map(|run| Segment::of(&lines[run]))
        .map(|segment| {
            let packed = zstd::bulk::compress(segment.decoded(), 3).expect("zstd");
            (packed, segment.decoded().len() as u64)
        })
        .collect();
    bencher.bench_local(|| {
        let mut patterns = Vec::new();
        for (compressed, length) in &packed {
            let decoded = segment::decode(compressed, *length).expect("it decodes");
            for (n, record) in (0_u32..).zip(segment::read(&decoded).records) {
                if let Record::Package(package) = record {
                    patterns.extend(
                        package
                            .patterns
                            .iter()
                            .filter_map(|text| Some((Pattern::parse(text).ok()?, n))),
                    );
                }
            }
        }
        Matcher::new(patterns).len()
    });
}

/// The devices of a recorded laptop.
fn laptop() -> Vec<Modalias> {
    let path = inputs::workspace().join("fixtures/machines/laptop-thinkpad.modaliases");
    Modalias::from_attribute(&std::fs::read(path).expect("a fixture")).expect("modaliases")
}

/// Prints one table: libkmod on the 26,000 patterns of a real kernel, ours on the same and on a million.
fn beside_libkmod() {
    let [release, _] = inputs::kernels();
    let aliases = kernel_aliases::read(&release);
    let same: Matcher<u32> = Matcher::new(aliases.iter().map(|(pattern, _)| pattern.clone()).zip(0..).collect());
    let directory = inputs::kernel_root(&release).join("lib/modules").join(&release);
    let machine = laptop();
    println!(
        "one look-up, devices of a recorded laptop    libkmod, {:>6}   ours, {:>6}   ours, 1000000",
        aliases.len(),
        same.len()
    );
    for bus in ["pci", "usb", "acpi", "input", "platform", ""] {
        let devices: Vec<Modalias> = machine
            .iter()
            .filter(|d| bus.is_empty() || d.bus() == bus.as_bytes())
            .cloned()
            .collect();
        let list: String = devices.iter().map(|device| format!("{device}\n")).collect();
        let kmod = match dkms_native::time_kmod(&directory, &list, 200) {
            Ok((ns, _)) => format!("{:>10.1} µs", ns / 1000.0),
            Err(why) => format!("not measured: {why}"),
        };
        let named = if bus.is_empty() { "all" } else { bus };
        println!(
            "  {:<10} {:>4} devices {:>30} {:>13.2} µs {:>11.2} µs",
            named,
            devices.len(),
            kmod,
            mean(&same, &devices),
            mean(&MATCHER, &devices)
        );
    }
}

/// Mean time of a look-up in microseconds.
fn mean(matcher: &Matcher<u32>, devices: &[Modalias]) -> f64 {
    const ROUNDS: u32 = 200;
    let start = Instant::now();
    for _ in 0..ROUNDS {
        for device in devices {
            divan::black_box(matcher.find(device));
        }
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS) / devices.len() as f64
}
