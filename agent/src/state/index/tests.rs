use std::fs;

use dkms_engine::root::Root;
use dkms_index::document::record::{OverrideRecord, PackageRecord, Record, Status};
use dkms_index::document::{BundleRef, canonical};
use dkms_index::modalias::Modalias;
use dkms_index::pattern::Pattern;

use super::super::Paths;
use super::build::Facts;
use super::*;
use crate::config::Name;

pub(super) struct Machine {
    _dir: tempfile::TempDir,
    pub(super) paths: Paths,
    pub(super) name: Name,
}

pub(super) fn machine() -> Machine {
    let dir = tempfile::tempdir().unwrap();
    Machine {
        paths: Paths::of(&Root::at(dir.path())),
        name: Name::try_from("acme".to_owned()).unwrap(),
        _dir: dir,
    }
}

pub(super) fn package(name: &str, version: &str, patterns: &[&str]) -> Record {
    Record::Package(PackageRecord {
        name: name.into(),
        version: version.into(),
        dkms_version: None,
        manifest: format!("curated/{name}@{version}.json"),
        summary: format!("Driver of {name}"),
        bundle: BundleRef {
            sha256: "0".repeat(64),
            length: 1,
            format: dkms_index::document::BundleFormat::TarZst,
        },
        modules: vec![format!("{name}_mod")],
        patterns: patterns.iter().map(ToString::to_string).collect(),
        recipe: Default::default(),
        upstream_since: None,
        conflicts: vec![],
        oem_sets: vec![],
        builds: vec![],
        rollout: None,
        status: Status::Active,
    })
}

/// The lines of an index.
pub(super) fn lines(records: &[Record]) -> Vec<u8> {
    let line = |record: &Record| [&canonical::to_bytes(record).unwrap()[..], b"\n"].concat();
    records.iter().flat_map(line).collect()
}

pub(super) fn facts(id: &str) -> Facts {
    Facts {
        id: id.to_owned(),
        issued: String::new(),
        expires: String::new(),
        revocations: r#"{"schema":1,"revoked":[]}"#.to_owned(),
    }
}

impl Machine {
    fn fill(&self, id: &str, records: Vec<Record>) {
        self.fill_lines(id, &lines(&records));
    }

    pub(super) fn fill_lines(&self, id: &str, lines: &[u8]) {
        let mut builder = Builder::new(&self.paths.index(&self.name), 1000).unwrap();
        builder.add_lines(lines).unwrap();
        builder.commit(&facts(id)).unwrap();
    }

    fn open(&self) -> Index {
        Index::open(&self.paths, [&self.name])
    }

    pub(super) fn found(&self, device: &str) -> Vec<(String, String)> {
        let index = self.open();
        let device: Modalias = device.parse().unwrap();
        let matches = index.find(&device).unwrap();
        matches
            .iter()
            .map(|m| (index.record(m.package).unwrap().name, m.pattern.to_string()))
            .collect()
    }
}

fn drivers() -> Vec<Record> {
    vec![
        package(
            "r8168",
            "1",
            &[
                "pci:v000010ECd00008168sv*sd*bc*sc*i*",
                "pci:v000010ECd00008161sv*sd*bc*sc*i*",
            ],
        ),
        package("ftdi", "2", &["usb:v0403p6001d*dc*dsc*dp*ic*isc*ip*in*"]),
        package("button", "3", &["acpi*:PNP0C0C:*"]),
        package("any-net", "4", &["pci:v*d*sv*sd*bc02sc00i*"]),
        Record::Override(OverrideRecord {
            subject: "package:r8168".into(),
            pattern: "x".into(),
            reason: "wrong".into(),
        }),
    ]
}

#[test]
fn a_device_finds_all_its_packages_and_no_others() {
    let machine = machine();
    machine.fill("1", drivers());
    let check = |device: &str, expected: &[(&str, &str)]| {
        let expected: Vec<(String, String)> = expected.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
        assert_eq!(machine.found(device), expected, "{device}");
    };
    check(
        "pci:v000010ECd00008168sv00001043sd00008677bc02sc00i00",
        &[
            ("r8168", "pci:v000010ECd00008168sv*sd*bc*sc*i*"),
            ("any-net", "pci:v*d*sv*sd*bc02sc00i*"),
        ],
    );
    check("acpi:PNP0C0C:", &[("button", "acpi*:PNP0C0C:*")]);
    check(
        "usb:v0403p6001d0600dc00dsc00dp00icFFiscFFipFFin00",
        &[("ftdi", "usb:v0403p6001d*dc*dsc*dp*ic*isc*ip*in*")],
    );
    check("usb:v0404p6001d0600dc00dsc00dp00icFFiscFFipFFin00", &[]);
}

#[test]
fn packages_can_be_looked_up_by_name_and_by_word() {
    let machine = machine();
    machine.fill("1", drivers());
    let index = machine.open();
    let names =
        |ids: Vec<PackageRow>| -> Vec<String> { ids.into_iter().map(|id| index.record(id).unwrap().name).collect() };
    assert_eq!(names(index.named("ftdi").unwrap()), ["ftdi"]);
    assert_eq!(names(index.search("DRIVER OF R8").unwrap()), ["r8168"]);
    assert_eq!(names(index.search("button_mod").unwrap()), ["button"]);
    assert_eq!(names(index.search("'; DROP TABLE package --").unwrap()), [""; 0]);
    let id = index.named("r8168").unwrap()[0];
    assert_eq!(index.repository(id), &machine.name);
    assert_eq!(index.overrides().unwrap().len(), 1);
    assert_eq!(index.revocations().unwrap()[0].1.revoked, []);
    let summary = &index.summaries().unwrap()[0];
    assert_eq!((summary.id.as_str(), summary.packages, summary.patterns), ("1", 4, 5));
}

#[test]
fn a_new_index_replaces_the_old_one_and_readers_keep_theirs() {
    let machine = machine();
    machine.fill("1", drivers());
    let reader = machine.open();
    machine.fill("2", vec![]);
    let device: Modalias = "acpi:PNP0C0C:".parse().unwrap();
    assert_eq!(reader.find(&device).unwrap().len(), 1);
    assert_eq!(machine.open().find(&device).unwrap(), []);
}

#[test]
fn an_update_that_is_not_finished_changes_nothing() {
    let machine = machine();
    machine.fill("1", drivers());
    let mut builder = Builder::new(&machine.paths.index(&machine.name), 1000).unwrap();
    builder
        .add_lines(&lines(&[package("half", "1", &["acpi*:HALF:*"])]))
        .unwrap();
    drop(builder);
    assert_eq!(
        read::id(&machine.name, &machine.paths.index(&machine.name)).as_deref(),
        Some("1")
    );
    let dir = machine.paths.index(&machine.name);
    assert_eq!(
        fs::read_dir(dir.parent().unwrap()).unwrap().count(),
        1,
        "nothing is left behind"
    );
}

#[test]
fn damage_is_as_good_as_no_index() {
    let machine = machine();
    let path = machine.paths.index(&machine.name);
    let usable = || read::id(&machine.name, &path).is_some();
    assert!(!usable(), "there is none yet");
    let damage: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes.truncate(100),
        |bytes| bytes[..100].fill(7),
        |bytes| bytes.clear(),
        // Another version's schema (PRAGMA user_version).
        |bytes| bytes[60..64].copy_from_slice(&99_u32.to_be_bytes()),
    ];
    for (number, damage) in damage.into_iter().enumerate() {
        machine.fill("1", drivers());
        assert!(usable());
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, bytes).unwrap();
        assert!(!usable(), "damage {number}");
        assert_eq!(machine.open().repositories().count(), 0);
    }
}

#[test]
fn damage_that_shows_late_removes_the_cache() {
    let machine = machine();
    machine.fill("1", drivers());
    let path = machine.paths.index(&machine.name);
    let index = machine.open();
    // Every page but the first is gone; what SQLite has read already may still answer.
    let mut bytes = fs::read(&path).unwrap();
    bytes[4096..].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let error = index.search("anything").expect_err("the pages are gone");
    assert!(error.is_damaged(), "{error}");
    assert!(!path.exists());
}

/// Patterns of buses with and without fields, and devices that some of them match; also one that is not written as its
/// bus does it, and asks for all patterns of the bus.
#[test]
fn a_look_up_finds_what_trying_every_pattern_finds() {
    let digits = ["0000", "0001", "00A1"];
    let mut patterns = Vec::new();
    for a in digits {
        for b in digits {
            patterns.extend([
                format!("usb:v{a}p{b}d*dc*dsc*dp*ic*isc*ip*in*"),
                format!("usb:v{a}p*d*dc*dsc*dp*ic{0}isc*ip*in*", &b[2..]),
                format!("usb:v*p*d00[0-4]*dc*dsc*dp*ic{0}isc{0}ip{1}in*", &a[2..], &b[2..]),
                format!("usb:v{a}*ic{0}isc*", &b[2..]),
                format!("pci:v*d0000{a}*"),
                format!("pci:v0000{a}d0000{b}sv*sd*bc*sc*i*"),
                format!("pci:v*d*sv0000{a}sd0000{b}bc*sc*i*"),
                format!("hid:b0003g*v0000{a}p0000{b}"),
                format!("acpi*:DEV{a}:*{b}*"),
                format!("of:N*T*Cacme,{a}-uartC*"),
            ]);
        }
    }
    patterns.extend(["usb:*", "*:v0001*", "pci:*bc02*", "acpi*:*"].map(str::to_owned));
    let mut devices = Vec::new();
    for a in digits {
        for b in digits {
            let (two, usb) = (&b[2..], format!("usb:v{a}p{b}d0010dc00dsc00dp00ic"));
            devices.extend([
                format!("{usb}{two}isc{two}ip{two}in00"),
                format!("{usb}{two}isc{two}ip{two}"),
                format!("{usb}{two}isc{two}ip{two}in00new00"),
                usb.to_lowercase(),
                format!("pci:v0000{a}d0000{b}sv0000{b}sd0000{a}bc02sc00i00"),
                format!("pci:v0000{a}d0000{b}sv0000{b}sd0000{a}bc02sc00i0a"),
                format!("hid:b0003g0001v0000{a}p0000{b}"),
                format!("acpi:DEV{a}:DEV{b}:"),
                format!("of:NuartT(null)Cacme,{a}-uartC{b}"),
            ]);
        }
    }
    let machine = machine();
    let half = patterns.len() / 2;
    let texts: Vec<&str> = patterns.iter().map(String::as_str).collect();
    machine.fill(
        "1",
        vec![package("a", "1", &texts[..half]), package("b", "1", &texts[half..])],
    );
    let mut matched = 0;
    for device in &devices {
        let parsed: Modalias = device.parse().unwrap();
        let matches = |text: &&String| text.parse::<Pattern>().unwrap().matches(&parsed);
        let mut expected: Vec<&String> = patterns.iter().filter(matches).collect();
        expected.sort_unstable();
        let mut found: Vec<String> = machine.found(device).into_iter().map(|(_, pattern)| pattern).collect();
        found.sort_unstable();
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{device}");
        matched += found.len();
    }
    assert!(
        matched > devices.len(),
        "{matched} matches of {} devices",
        devices.len()
    );
}
