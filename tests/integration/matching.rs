//! Modaliases and patterns beside the programs that define their meaning: libc's `fnmatch`, kmod and dpkg.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use dkms_engine::root::Root;
use dkms_fetch::intree::InTree;
use dkms_index::modalias::Modalias;
use dkms_index::pattern::{Pattern, PatternProblem};
use dkms_index::version;
use dkms_native::Fnmatch;
use dkms_tests::matcher::Matcher;
use dkms_tests::synthetic::{Synthetic, device_for};
use dkms_tests::{inputs, kernel_aliases};
use proptest::prelude::*;

#[test]
fn patterns_mean_what_fnmatch_says() {
    let fnmatch = Mutex::new(Fnmatch::start());
    let check = |pattern: &[u8], text: &[u8]| {
        let (Ok(pattern), Ok(device)) = (Pattern::parse(pattern), Modalias::parse(text)) else {
            return Ok(());
        };
        let expected = fnmatch.lock().expect("not poisoned").matches(pattern.as_bytes(), text);
        prop_assert_eq!(pattern.matches(&device), expected, "{} on {}", pattern, device);
        Ok(())
    };
    // Few letters, so that many pairs match; all that has a meaning.
    let wild = "[aab01A:/_.\\-\\[\\]!^*?\\\\\u{e9}]{1,14}";
    let plain = "[aab01A:/_.\\-\\[\\]!^*?\\\\\u{e9}]{1,10}";
    let config = ProptestConfig {
        cases: 40_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let result = runner.run(&(wild, plain), |(pattern, text)| {
        check(pattern.as_bytes(), text.as_bytes())
    });
    result.unwrap_or_else(|e| panic!("{e}"));
    // Sets, which the above rarely closes.
    let sets = "a?\\[[!^]?[ab\\]\\-\\\\*?\\[0-9]{1,6}\\][*a]?";
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let result = runner.run(&(sets, "a?[ab\\]\\-\\\\*?\\[0-9]a?"), |(p, t)| {
        check(p.as_bytes(), t.as_bytes())
    });
    result.unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn the_look_up_finds_what_trying_every_pattern_finds() {
    let [release, _] = inputs::kernels();
    let mut patterns: Vec<Pattern> = kernel_aliases::read(&release)
        .into_iter()
        .map(|(pattern, _)| pattern)
        .collect();
    patterns.extend(["*", "p*", "?ci:*", "[pu]??:v*", "*:PNP*"].map(|p| p.parse::<Pattern>().unwrap()));
    let mut synthetic = Synthetic::new(3);
    patterns.extend((0..5000).map(|_| synthetic.pattern()));
    let matcher = Matcher::new(patterns.iter().cloned().zip(0_usize..).collect());
    let devices = machines()
        .into_iter()
        .chain(patterns.iter().step_by(97).filter_map(made_from));
    for device in devices {
        let mut found: Vec<usize> = matcher.find(&device).into_iter().map(|(_, n)| *n).collect();
        found.sort_unstable();
        let expected: Vec<usize> = (0..patterns.len()).filter(|&n| patterns[n].matches(&device)).collect();
        assert_eq!(found, expected, "{device}");
    }
}

#[test]
fn few_patterns_are_tried_in_vain_however_they_are_skewed() {
    // Many of one kind beside a mix of everything: what a look-up costs is what it tries. The benchmark has more of them.
    let mut synthetic = Synthetic::new(5);
    let mix: Vec<Pattern> = (0..20_000).map(|_| synthetic.pattern()).collect();
    for bus in Synthetic::buses().filter(|bus| !["input", "cpu"].contains(bus)) {
        let kind: Vec<Pattern> = (0..20_000).map(|_| synthetic.pattern_of(bus)).collect();
        let devices: Vec<Modalias> = kind.iter().step_by(199).map(device_for).collect();
        let matcher = Matcher::new(mix.iter().cloned().chain(kind).map(|pattern| (pattern, ())).collect());
        let in_vain: usize = devices
            .iter()
            .map(|device| matcher.tried(device) - matcher.find(device).len())
            .sum();
        let mean = in_vain / devices.len();
        // Where a modalias has fields, nothing is tried that names other digits than the device's.
        let most = if devices[0].fields().is_some() { 1 } else { 150 };
        assert!(mean <= most, "{bus}: {mean} of 40,000 patterns tried in vain a device");
    }
}

#[test]
fn kmod_finds_the_same_modules() {
    for release in inputs::kernels() {
        let aliases = kernel_aliases::read(&release);
        let mut devices: BTreeSet<Modalias> = machines().into_iter().collect();
        devices.extend(aliases.iter().step_by(89).filter_map(|(pattern, _)| made_from(pattern)));
        let matcher = Matcher::new(
            aliases
                .iter()
                .filter(|(pattern, _)| !pattern.problems().contains(&PatternProblem::UnpairedBracket))
                .map(|(pattern, module)| {
                    (
                        Pattern::parse(as_kmod(pattern.as_bytes())).unwrap(),
                        module.replace('-', "_"),
                    )
                })
                .collect(),
        );
        let mut compared = BTreeMap::<String, usize>::new();
        let claims = claims(&release, &devices.iter().collect::<Vec<_>>());
        for (device, claims) in devices.iter().zip(claims) {
            let known = Modalias::parse(as_kmod(device.as_bytes())).unwrap();
            let ours: BTreeSet<&str> = matcher
                .find(&known)
                .into_iter()
                .map(|(_, module)| module.as_str())
                .collect();
            assert_eq!(ours, claims.iter().map(String::as_str).collect(), "{release} {device}");
            let theirs = modprobe(&inputs::kernel_root(&release), &release, device);
            if ours.is_empty() {
                // kmod goes on to names and to what is built in; modules.alias must have nothing.
                assert!(
                    theirs
                        .iter()
                        .all(|module| !aliases.iter().any(|(p, m)| m == module && p.matches(device))),
                    "{release} {device}: {theirs:?}"
                );
                continue;
            }
            assert_eq!(ours, theirs.iter().map(String::as_str).collect(), "{release} {device}");
            *compared
                .entry(String::from_utf8_lossy(device.bus()).into_owned())
                .or_default() += 1;
        }
        let total: usize = compared.values().sum();
        assert!(
            total > 250 && compared.len() > 12,
            "{release}: only {total} devices had modules: {compared:?}"
        );
    }
}

/// The loadable modules that the agent finds to claim each device.
fn claims(release: &str, devices: &[&Modalias]) -> Vec<BTreeSet<String>> {
    let root = Root::at(inputs::kernel_root(release));
    let builtin = root.join(format!("/lib/modules/{release}/modules.builtin"));
    let builtin = fs::read_to_string(builtin).expect("a file").replace('-', "_");
    let in_tree = InTree::read(&root, release).expect("readable").expect("a kernel");
    let claims = in_tree.claims(devices).into_iter();
    let loadable = |module: &String| !builtin.contains(&format!("/{module}.ko\n"));
    let modules = claims.map(|claims| {
        claims
            .own
            .into_iter()
            .map(|claim| claim.module)
            .filter(loadable)
            .collect()
    });
    modules.collect()
}

/// The devices of all recorded machines.
fn machines() -> Vec<Modalias> {
    let dir = inputs::workspace().join("fixtures/machines");
    let mut devices = Vec::new();
    for entry in fs::read_dir(&dir).expect("fixtures") {
        let path = entry.expect("fixtures").path();
        if path.extension().is_some_and(|extension| extension == "modaliases") {
            devices.extend(Modalias::from_attribute(&fs::read(&path).expect("a fixture")).expect("modaliases"));
        }
    }
    assert!(devices.len() > 100, "{} devices in {}", devices.len(), dir.display());
    devices
}

/// A device for a pattern of a real kernel; none for patterns whose sets are more than a list of members.
fn made_from(pattern: &Pattern) -> Option<Modalias> {
    let odd = pattern
        .as_bytes()
        .windows(2)
        .any(|w| matches!(w, b"[!" | b"[^" | b"[]"));
    (!odd && !pattern.problems().contains(&PatternProblem::UnpairedBracket)).then(|| device_for(pattern))
}

/// To kmod `-` and `_` are the same, but for inside brackets.
fn as_kmod(text: &[u8]) -> Vec<u8> {
    let mut inside = false;
    text.iter()
        .map(|&byte| {
            inside = match byte {
                b'[' => true,
                b']' => false,
                _ => inside,
            };
            if byte == b'-' && !inside { b'_' } else { byte }
        })
        .collect()
}

/// What `modprobe -R` finds, without any configuration of this machine.
fn modprobe(root: &Path, release: &str, device: &Modalias) -> BTreeSet<String> {
    let no_config = tempfile::tempdir().expect("a temporary directory");
    let output = Command::new("modprobe")
        .args(["-R", "-q", "-S", release, "-d"])
        .arg(root)
        .arg("-C")
        .arg(no_config.path())
        .arg("--")
        .arg(String::from_utf8_lossy(device.as_bytes()).as_ref())
        .output()
        .expect("modprobe runs; hint: make setup");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|module| module.replace('-', "_"))
        .collect()
}

#[test]
fn versions_are_ordered_as_by_dpkg() {
    let versions = [
        "0",
        "1",
        "1.0",
        "1.00",
        "1.9",
        "1.10",
        "1.0~rc1",
        "1.0rc1",
        "1.0-1",
        "1.0+dfsg-1",
        "0.43-1",
        "0.44-1~bpo12+1",
        "0.44-1",
        "8.051.02-2",
        "8.051.02-2+deb12u1",
        "0.20220830+dfsg-6.3",
        "0.20220830+dfsg-7~bpo12+1",
        "6.1.0-56-1",
        "1.2.3a-1",
        "1~~",
        "1~",
    ];
    for (i, a) in versions.iter().enumerate() {
        for b in &versions[i..] {
            assert_eq!(dpkg_disagrees(a, b), None);
        }
    }
    // Few characters, so that many versions are close to one another; a revision may itself follow a dash.
    let version = "[0-9]([0-2]|[01]{1,22}|[aZ.+~-]){0,7}";
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 1500,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let result = runner.run(&(version, version), |(a, b)| {
        prop_assume!(!a.ends_with('-') && !b.ends_with('-'));
        prop_assert_eq!(dpkg_disagrees(&a, &b), None);
        Ok(())
    });
    result.unwrap_or_else(|e| panic!("{e}"));
}

/// Our order of two versions, where dpkg has another one.
fn dpkg_disagrees(a: &str, b: &str) -> Option<String> {
    let operator = match version::compare(a, b) {
        Ordering::Less => "lt",
        Ordering::Equal => "eq",
        Ordering::Greater => "gt",
    };
    let status = Command::new("dpkg")
        .args(["--compare-versions", a, operator, b])
        .status()
        .expect("dpkg runs");
    (!status.success()).then(|| format!("{a} {operator} {b}"))
}
