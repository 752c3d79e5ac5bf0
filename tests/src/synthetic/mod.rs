//! Made-up indexes of any size: the same on every run, with the mix of buses and the shapes of patterns of a real kernel.

mod device;

use dkms_index::document::record::{BuildFact, BuildOutcome, PackageRecord, Record, Status};
use dkms_index::document::{BundleFormat, BundleRef, Recipe};
use dkms_index::pattern::Pattern;

pub use device::device_for;

/// Mean patterns of a package.
pub const MEAN_PATTERNS: u64 = 44;

/// How many of 10,000 patterns are of each bus; about the shares of Linux 6.1 and 6.12.
const BUSES: [(&str, u64); 17] = [
    ("pci", 3450),
    ("usb", 3200),
    ("of", 750),
    ("i2c", 420),
    ("hid", 360),
    ("acpi", 320),
    ("pcmcia", 270),
    ("spi", 250),
    ("hdaudio", 190),
    ("cpu", 130),
    ("platform", 120),
    ("dmi", 120),
    ("sdio", 100),
    ("mdio", 80),
    ("input", 5),
    ("wmi", 100),
    ("virtio", 20),
];

/// A stream of made-up things (SplitMix64).
#[derive(Debug, Clone)]
pub struct Synthetic(u64);

impl Synthetic {
    /// Another seed, another stream.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number below `end`; the small ones are frequent, as few vendors make most devices.
    fn skewed(&mut self, end: u64) -> u64 {
        let bound = self.below(end) + 1;
        let bound = self.below(bound) + 1;
        self.below(bound)
    }

    /// A vendor of the PCI or USB registry.
    fn vendor(&mut self) -> u64 {
        // Spread over the whole range, but always the same ones.
        0x1000 + self.skewed(3000) * 18
    }

    fn word(&mut self, letters: usize) -> String {
        (0..letters)
            .map(|_| char::from(b"aeimnorstlkcdpu"[self.below(15) as usize]))
            .collect()
    }

    /// A pattern of any bus.
    pub fn pattern(&mut self) -> Pattern {
        let mut left = self.below(BUSES.iter().map(|(_, share)| share).sum());
        let bus = BUSES.iter().find(|(_, share)| {
            let here = left < *share;
            left = left.saturating_sub(*share);
            here
        });
        self.pattern_of(bus.map_or("pci", |(bus, _)| bus))
    }

    /// A pattern of one bus: a name of [`Synthetic::buses`].
    ///
    /// # Panics
    /// When it made something that is no pattern.
    pub fn pattern_of(&mut self, bus: &str) -> Pattern {
        let text = match bus {
            "pci" => self.pci(),
            "usb" => self.usb(),
            "of" => {
                let tail = ["", "C*"][self.below(2) as usize];
                format!(
                    "of:N*T*C{},{}{}-{}{tail}",
                    self.vendor_name(),
                    self.word(2),
                    self.below(9999),
                    self.function()
                )
            }
            "i2c" | "spi" => format!("{bus}:{}{}", self.word(3), self.below(99_999)),
            "hid" => format!("hid:b0003g*v{:08X}p{:08X}", self.vendor(), self.below(65_536)),
            "acpi" => format!("acpi*:{}{:04X}:*", self.word(3).to_uppercase(), self.below(65_536)),
            "pcmcia" => format!(
                "pcmcia:m{:04X}c{:04X}f*fn*pfn*pa*pb*pc*pd*",
                self.vendor(),
                self.below(65_536)
            ),
            "hdaudio" => format!("hdaudio:v{:04X}{:04X}r*a01*", self.vendor(), self.below(65_536)),
            "cpu" => format!(
                "cpu:type:x86,ven0000fam{:04X}mod{:04X}:feature:*{:04X}*",
                self.below(32),
                self.below(256),
                self.below(800)
            ),
            "platform" => format!("platform:{}-{}{}", self.word(6), self.function(), self.below(999)),
            "dmi" => format!(
                "dmi*:svn*{}*:pn*{}{}*:*",
                self.vendor_name(),
                self.word(5),
                self.below(9999)
            ),
            "sdio" => format!("sdio:c*v{:04X}d{:04X}*", self.vendor(), self.below(65_536)),
            "mdio" => format!("mdio:{:028b}????", self.below(1 << 28)),
            "input" => format!(
                "input:b*v*p*e*-e*{:X},*k*{:X},*r*a*m*l*s*f*w*",
                self.below(32),
                self.below(767)
            ),
            "wmi" => format!(
                "wmi:{:08X}-{:04X}-{:04X}-{:04X}-{:012X}",
                self.below(1 << 32),
                self.below(1 << 16),
                self.below(1 << 16),
                self.below(1 << 16),
                self.below(1 << 48)
            ),
            _ => format!("virtio:d{:08X}v*", self.below(1 << 20)),
        };
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    /// The buses it knows.
    pub fn buses() -> impl Iterator<Item = &'static str> {
        BUSES.iter().map(|(bus, _)| *bus)
    }

    fn pci(&mut self) -> String {
        let (vendor, device) = (self.vendor(), self.below(65_536));
        match self.below(1000) {
            0..=3 => format!(
                "pci:v*d*sv*sd*bc{:02X}sc{:02X}i{:02X}*",
                self.below(18),
                self.below(256),
                self.below(256)
            ),
            4..=20 => format!(
                "pci:v{vendor:08X}d*sv*sd*bc{:02X}sc{:02X}i*",
                self.below(18),
                self.below(256)
            ),
            21..=250 => {
                let (subvendor, subdevice) = (self.vendor(), self.below(65_536));
                format!("pci:v{vendor:08X}d{device:08X}sv{subvendor:08X}sd{subdevice:08X}bc*sc*i*")
            }
            _ => format!("pci:v{vendor:08X}d{device:08X}sv*sd*bc*sc*i*"),
        }
    }

    fn usb(&mut self) -> String {
        let (vendor, product) = (self.vendor(), self.below(65_536));
        match self.below(1000) {
            0..=6 => format!(
                "usb:v*p*d*dc*dsc*dp*ic{:02X}isc{:02X}ip{:02X}in*",
                self.below(256),
                self.below(256),
                self.below(256)
            ),
            7..=20 => format!("usb:v{vendor:04X}p*d*dc*dsc*dp*ic{:02X}isc*ip*in*", self.below(256)),
            21..=60 => format!(
                "usb:v{vendor:04X}p{product:04X}d00[0-{}]*dc*dsc*dp*ic*isc*ip*in*",
                self.below(9) + 1
            ),
            61..=250 => format!(
                "usb:v{vendor:04X}p{product:04X}d*dc*dsc*dp*ic{:02X}isc*ip*in*",
                self.below(256)
            ),
            _ => format!("usb:v{vendor:04X}p{product:04X}d*dc*dsc*dp*ic*isc*ip*in*"),
        }
    }

    fn vendor_name(&mut self) -> String {
        // One of 300, the first ones frequent.
        let vendor = self.skewed(300);
        Self::new(vendor).word(5)
    }

    fn function(&mut self) -> &'static str {
        [
            "uart",
            "pinctrl",
            "clock-controller",
            "gpio",
            "i2c",
            "thermal",
            "dwmac",
            "pcie",
            "codec",
        ][self.below(9) as usize]
    }

    /// The line of a made-up package, number `n` of the index.
    pub fn package(&mut self, n: usize) -> PackageRecord {
        let count = 1 + self.below(2 * MEAN_PATTERNS - 1);
        let mut patterns: Vec<String> = (0..count).map(|_| self.pattern().to_string()).collect();
        patterns.sort_unstable();
        patterns.dedup();
        let (name, version) = (
            format!("{}-{n:06}", self.word(6)),
            format!("{}.{}", self.below(9), self.below(99)),
        );
        let sha256: String = (0..4).map(|_| format!("{:016x}", self.next())).collect();
        PackageRecord {
            manifest: format!("curated/{name}@{version}.json"),
            summary: format!("Driver for {} devices", self.word(8)),
            dkms_version: None,
            bundle: BundleRef {
                sha256,
                length: 1000 + self.below(1 << 20),
                format: BundleFormat::TarZst,
            },
            modules: vec![name.replace('-', "_")],
            patterns,
            recipe: Recipe::default(),
            upstream_since: None,
            conflicts: Vec::new(),
            oem_sets: Vec::new(),
            builds: vec![BuildFact {
                kernel: "6.1.0-56-amd64".to_owned(),
                arch: "x86_64".to_owned(),
                compiler: "gcc (Debian 12.2.0-14+deb12u1) 12.2.0".to_owned(),
                date: "2026-01-02".to_owned(),
                outcome: if self.below(5) == 0 {
                    BuildOutcome::Failed
                } else {
                    BuildOutcome::Built
                },
                reason: String::new(),
            }],
            rollout: None,
            status: Status::Active,
            name,
            version,
        }
    }

    /// An index of so many packages.
    pub fn index(&mut self, packages: usize) -> Vec<Record> {
        (0..packages).map(|n| Record::Package(self.package(n))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_on_every_run_and_valid() {
        let index = Synthetic::new(7).index(200);
        assert_eq!(index, Synthetic::new(7).index(200));
        assert!(index.iter().all(|record| record.problems().is_empty()));
        let patterns: usize = index
            .iter()
            .map(|record| match record {
                Record::Package(package) => package.patterns.len(),
                Record::Override(_) => 0,
            })
            .sum();
        assert!(
            (40..=48).contains(&(patterns / 200)),
            "{patterns} patterns of 200 packages"
        );
    }

    #[test]
    fn devices_match_their_patterns_and_have_their_fields() {
        let mut synthetic = Synthetic::new(1);
        for bus in Synthetic::buses() {
            for _ in 0..200 {
                let pattern = synthetic.pattern_of(bus);
                let device = device_for(&pattern);
                let has_fields = ["pci", "usb", "hid", "sdio", "virtio"].contains(&bus);
                assert_eq!(device.fields().is_some(), has_fields, "{pattern} {device}");
            }
        }
    }
}
