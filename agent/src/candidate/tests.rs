use super::*;

use dkms_index::document::record::{BuildFact, BuildOutcome, Rollout};
use dkms_index::document::revocation::{Action, Revocation, Subject};

/// A package version whose patterns matter only to the caller.
pub(crate) fn offer(name: &str, version: &str) -> Offer {
    let record = serde_json::from_value(serde_json::json!({
        "name": name, "version": version, "manifest": format!("curated/{name}@{version}.json"),
        "bundle": {"sha256": format!("{name}-{version}"), "length": 1, "format": "tar-zst"},
        "modules": [name], "patterns": [],
    }));
    let id = OfferId {
        name: name.into(),
        version: version.into(),
        repository: "test".into(),
        scope: CURATED.into(),
    };
    Offer {
        id,
        priority: 0,
        record: record.unwrap(),
    }
}

fn built(mut offer: Offer, kernel: &str, outcome: BuildOutcome) -> Offer {
    offer.record.builds.push(BuildFact {
        kernel: kernel.into(),
        arch: "x86_64".into(),
        compiler: String::new(),
        date: "2026-01-01".into(),
        outcome,
        reason: "strlcpy is gone".into(),
    });
    offer
}

fn changed(mut offer: Offer, change: impl FnOnce(&mut Offer)) -> Offer {
    change(&mut offer);
    offer
}

pub(crate) const DEVICE: &str = "pci:v00001234d000011E8sv*sd*bc*sc*i*";
const CLASS: &str = "pci:v*d*sv*sd*bc02sc80i*";

/// The order of the ranked as `name version`, then the rejected with their reasons.
fn check(matches: &[(Offer, &str)], rules: &Rules, expected: &[&str]) {
    let kernel = TargetKernel {
        release: "6.12.1".into(),
        arch: "x86_64".into(),
        config: None,
        compiler: None,
        own_modules: Default::default(),
        modules_in_use: Default::default(),
    };
    let machine: Modalias = "dmi:bvnX:svnACME:pnOne:".parse().unwrap();
    let facts = Facts {
        kernel: &kernel,
        machine: Some(&machine),
        rules,
    };
    let matches: Vec<_> = matches
        .iter()
        .map(|(o, p)| (Arc::new(o.clone()), p.parse().unwrap()))
        .collect();
    let found = assess(&matches, facts);
    let ranked = found.ranked.iter().map(|c| c.offer.id.to_string());
    let shown: Vec<String> = ranked.chain(found.rejected.iter().map(ToString::to_string)).collect();
    assert_eq!(shown, expected);
}

#[test]
fn the_order_of_counts() {
    let none = Rules::default();
    let (old, new) = (offer("a", "1.9"), offer("a", "1.10"));
    check(
        &[(old.clone(), DEVICE), (new.clone(), DEVICE)],
        &none,
        &["a 1.10", "a 1.9"],
    );
    // Proven beats newer, this kernel beats the series.
    let series = built(old.clone(), "6.12.0", BuildOutcome::Built);
    check(
        &[(series.clone(), DEVICE), (new.clone(), DEVICE)],
        &none,
        &["a 1.9", "a 1.10"],
    );
    let here = built(offer("a", "1.8"), "6.12.1", BuildOutcome::Built);
    check(&[(series, DEVICE), (here.clone(), DEVICE)], &none, &["a 1.8", "a 1.9"]);
    // Naming the device beats naming its class, but not a proof.
    check(
        &[(offer("b", "9"), CLASS), (old.clone(), DEVICE)],
        &none,
        &["a 1.9", "b 9"],
    );
    check(
        &[(here.clone(), CLASS), (old.clone(), DEVICE)],
        &none,
        &["a 1.8", "a 1.9"],
    );
    // The repository's priority beats proofs, the owner's pin beats all.
    let oem = changed(offer("oem", "1"), |o| o.priority = 5);
    check(&[(here, DEVICE), (oem.clone(), DEVICE)], &none, &["oem 1", "a 1.8"]);
    let mut pinned = Rules::default();
    pinned.policy.pin = vec![crate::config::PolicyRule {
        package: "a".into(),
        version: "1.9*".into(),
    }];
    check(
        &[(old, DEVICE), (new, DEVICE), (oem, DEVICE)],
        &pinned,
        &["a 1.9", "oem 1", "a 1.10: this machine's policy pins a to 1.9*"],
    );
}

#[test]
fn a_package_that_matches_twice_is_one_candidate() {
    check(
        &[(offer("a", "1"), CLASS), (offer("a", "1"), DEVICE)],
        &Rules::default(),
        &["a 1"],
    );
}

#[test]
fn every_loser_has_its_reason() {
    let none = Rules::default();
    let a = || offer("a", "1");
    let check_one = |offer: Offer, rules: &Rules, expected: &str| check(&[(offer, DEVICE)], rules, &[expected]);
    check_one(
        built(a(), "6.12.1", BuildOutcome::Failed),
        &none,
        "a 1: known not to build on 6.12.1 (tried 2026-01-01): strlcpy is gone",
    );
    check_one(
        changed(a(), |o| o.record.status = Status::Withdrawn),
        &none,
        "a 1: withdrawn by its repository",
    );
    check_one(
        changed(a(), |o| o.record.upstream_since = Some("6.5".into())),
        &none,
        "a 1: part of the kernel since 6.5",
    );
    check_one(
        changed(a(), |o| o.record.oem_sets = vec!["dmi:*:svnOther:*".into()]),
        &none,
        "a 1: is for other machines",
    );
    check_one(
        changed(a(), |o| o.record.oem_sets = vec!["dmi:*:svnACME:*".into()]),
        &none,
        "a 1",
    );
    let scripts = |o: &mut Offer| o.record.recipe.root_scripts = vec!["post_install".into()];
    check_one(
        changed(a(), scripts),
        &none,
        "a 1: wants to run scripts as root (post_install) and is not allowed to",
    );
    let mut rules = Rules::default();
    rules.policy.allow_root_scripts = vec!["a".into()];
    check_one(changed(a(), scripts), &rules, "a 1");
    rules.policy.deny = vec!["a*".into()];
    check_one(a(), &rules, "a 1: denied by this machine's policy");
    let held = Rules {
        held: BTreeSet::from(["a".into()]),
        ..Rules::default()
    };
    check_one(a(), &held, "a 1: held on this machine");
}

#[test]
fn what_failed_here_is_not_tried_again_there() {
    let entry = |kernel: &str| Quarantined {
        bundle_sha256: "a-1".into(),
        package: "a".into(),
        version: "1".into(),
        kernel: kernel.into(),
        reason: "no bind".into(),
        at: jiff::Timestamp::UNIX_EPOCH,
    };
    let rules = |kernel| Rules {
        quarantine: vec![entry(kernel)],
        ..Rules::default()
    };
    check(
        &[(offer("a", "1"), DEVICE)],
        &rules("6.12.1"),
        &["a 1: failed here before: no bind"],
    );
    check(&[(offer("a", "1"), DEVICE)], &rules("6.1.0"), &["a 1"]);
    check(&[(offer("a", "2"), DEVICE)], &rules("6.12.1"), &["a 2"]);
}

#[test]
fn revocations_deny_by_bundle_and_by_range() {
    let rules = |subject| {
        let revoked = vec![Revocation {
            subject,
            reason: "eats disks".into(),
            action: Action::Block,
        }];
        let list = Revocations { schema: 1, revoked };
        Rules {
            revocations: BTreeMap::from([("test".to_owned(), list)]),
            ..Rules::default()
        }
    };
    let range = |from: Option<&str>, to: Option<&str>| Subject::Package {
        name: "a".into(),
        from: from.map(str::to_owned),
        to: to.map(str::to_owned),
    };
    let denied = "a 1.5: revoked by its repository: eats disks";
    let offers = [(offer("a", "1.5"), DEVICE)];
    check(&offers, &rules(Subject::Bundle("a-1.5".into())), &[denied]);
    check(&offers, &rules(Subject::Bundle("a-1.6".into())), &["a 1.5"]);
    check(&offers, &rules(range(None, None)), &[denied]);
    check(&offers, &rules(range(Some("1.5"), Some("1.5"))), &[denied]);
    check(&offers, &rules(range(Some("1.10"), None)), &["a 1.5"]);
    check(&offers, &rules(range(None, Some("1.4"))), &["a 1.5"]);
}

#[test]
fn a_staged_offer_is_for_a_part_of_the_machines() {
    let rollout = |permille| {
        changed(offer("a", "1"), |o| {
            o.record.rollout = Some(Rollout {
                permille,
                salt: "s".into(),
                rings: vec!["early".into()],
            });
        })
    };
    check(&[(rollout(1000), DEVICE)], &Rules::default(), &["a 1"]);
    check(
        &[(rollout(0), DEVICE)],
        &Rules::default(),
        &["a 1: not yet rolled out to this machine"],
    );
    let mut early = Rules::default();
    early.policy.rings = vec!["early".into()];
    check(&[(rollout(0), DEVICE)], &early, &["a 1"]);
}

/// The answer for a package of this role that has the module `e1000e`, on a kernel that has one of its own.
fn check_kernel_module(scope: &str, in_use: Option<&str>, expected: Result<(), &str>) {
    let mut offer = changed(offer("a", "1"), |o| {
        o.record.modules = vec!["a".into(), "e1000e".into()]
    });
    offer.id.scope = scope.into();
    let kernel = TargetKernel {
        release: "6.12.1".into(),
        arch: "x86_64".into(),
        config: None,
        compiler: None,
        own_modules: BTreeSet::from(["e1000e".into()]),
        modules_in_use: in_use
            .map(|device| ("e1000e".into(), device.into()))
            .into_iter()
            .collect(),
    };
    let rules = Rules::default();
    let facts = Facts {
        kernel: &kernel,
        machine: None,
        rules: &rules,
    };
    let found = admit(&offer, facts).map(drop).map_err(|why| why.to_string());
    assert_eq!(found, expected.map_err(str::to_owned), "{scope} {in_use:?}");
}

#[test]
fn a_module_of_the_kernel_is_replaced_by_the_curated_role_where_nothing_works_with_it() {
    let refused = "may not replace the kernel's own module e1000e: ";
    let vendor = format!("{refused}only a package of the curated role may");
    check_kernel_module("by-id/pci-1234", None, Err(&vendor));
    check_kernel_module("by-id/pci-1234", Some("NIC"), Err(&vendor));
    check_kernel_module(CURATED, None, Ok(()));
    check_kernel_module(CURATED, Some("NIC"), Err(&format!("{refused}NIC works with it")));
}

#[test]
fn versions_of_different_packages_are_not_compared() {
    let none = Rules::default();
    check(
        &[(offer("b", "999"), DEVICE), (offer("a", "1"), DEVICE)],
        &none,
        &["a 1", "b 999"],
    );
}
