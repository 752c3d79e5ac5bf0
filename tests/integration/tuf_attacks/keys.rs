//! Keys of others, stolen keys, and keys whose time is over.

use anyhow::{Context, Result};
use dkms_index::trust::{Expiry, TrustError, Why};
use dkms_repo::keys::KeyRing;
use dkms_repo::publish::Published;
use dkms_repo::repository::Expiry as Lifetimes;
use dkms_repo::signed::Signed;
use dkms_tests::repo::{Client, Mirror, TestRepo};
use jiff::Timestamp;

use super::ALL;

#[test]
fn signatures_of_others_and_too_few_of_them_count_for_nothing() -> Result<()> {
    let (repo, other) = (TestRepo::with_packages()?, TestRepo::with_packages()?);
    let threshold = |hostile: &Mirror| -> Result<(usize, usize)> {
        match Client::new(repo.pinned()?).sync(hostile, repo.now) {
            Err(TrustError::Refused {
                why: Why::Threshold { found, needed },
                ..
            }) => Ok((found, needed)),
            other => anyhow::bail!("expected a missed threshold, not {other:?}"),
        }
    };
    // Somebody else's repository, as a whole.
    assert_eq!(threshold(&other.mirror()?)?, (0, 1));
    // A new root that only one of two keys signed, or the same key twice.
    dkms_repo::authority::rotate(&repo.repository, "snapshot", None, repo.now)?;
    let mirror = repo.mirror()?;
    let root: serde_json::Value = serde_json::from_slice(&mirror.files["metadata/2.root.json"])?;
    let first = root["signatures"][0].clone();
    for (signatures, duplicate) in [(vec![first.clone()], false), (vec![first.clone(), first], true)] {
        let mut hostile = mirror.clone();
        let mut root = root.clone();
        root["signatures"] = signatures.into();
        hostile
            .files
            .insert("metadata/2.root.json".to_owned(), root.to_string().into_bytes());
        match duplicate {
            false => assert_eq!(threshold(&hostile)?, (1, 2)),
            true => assert!(
                Client::new(repo.pinned()?)
                    .sync(&hostile, repo.now)
                    .is_err_and(|e| e.is_refusal())
            ),
        }
    }
    // A pinned root that is not one.
    assert!(
        Client::new(b"{}".to_vec())
            .sync(&mirror, repo.now)
            .is_err_and(|e| e.is_refusal())
    );
    Ok(())
}

#[test]
fn keys_are_rotated_by_a_chain_of_roots() -> Result<()> {
    let repo = TestRepo::with_packages()?;
    let mut client = Client::new(repo.pinned()?);
    client.sync(&repo.mirror()?, repo.now)?;
    for role in [
        "root",
        "targets",
        "snapshot",
        "timestamp",
        "index",
        "revocations",
        "curated",
        "vendor-pci-10ec",
    ] {
        dkms_repo::authority::rotate(&repo.repository, role, None, repo.now)?;
        assert_eq!(
            client.sync(&repo.mirror()?, repo.now)?.installable(),
            ALL,
            "after a new key of {role}"
        );
        assert_eq!(
            Client::new(repo.pinned()?)
                .sync(&repo.mirror()?, repo.now)?
                .installable(),
            ALL,
            "{role}"
        );
    }
    // The chain may not have a gap, and a machine that kept it needs no more of it.
    let mut gap = repo.mirror()?;
    gap.files.remove("metadata/3.root.json");
    assert!(Client::new(repo.pinned()?).sync(&gap, repo.now).is_err());
    assert_eq!(client.sync(&gap, repo.now)?.installable(), ALL);
    Ok(())
}

#[test]
fn versions_driven_up_by_a_stolen_key_end_with_the_key() -> Result<()> {
    let repo = TestRepo::with_packages()?;
    let mut client = Client::new(repo.pinned()?);
    let mut hostile = repo.mirror()?;
    let published = Published::load(&repo.public())?;
    let ring = KeyRing::load(&repo.repository.keys_dir())?;
    let mut timestamp = published.timestamp.signed.clone();
    timestamp.version = 1_000_000;
    let authority = &published.root.signed.roles["timestamp"];
    let timestamp = Signed::sign("timestamp", timestamp, &[authority], &ring)?;
    hostile
        .files
        .insert("metadata/timestamp.json".to_owned(), timestamp.to_bytes());
    client.sync(&hostile, repo.now)?;
    let stuck = client.sync(&repo.mirror()?, repo.now).err().context("fast-forward")?;
    assert!(
        matches!(
            stuck,
            TrustError::Refused {
                why: Why::Rollback { .. },
                ..
            }
        ),
        "{stuck}"
    );

    dkms_repo::authority::rotate(&repo.repository, "timestamp", None, repo.now)?;
    assert_eq!(client.sync(&repo.mirror()?, repo.now)?.installable(), ALL);
    Ok(())
}

/// The tree with a timestamp that a thief of its key has dated.
fn dated(repo: &TestRepo, issued: Timestamp, expires: Timestamp) -> Result<Mirror> {
    let published = Published::load(&repo.public())?;
    let ring = KeyRing::load(&repo.repository.keys_dir())?;
    let mut timestamp = published.timestamp.signed.clone();
    timestamp.version += 1;
    timestamp.issued = issued;
    timestamp.expires = expires;
    let authority = &published.root.signed.roles["timestamp"];
    let timestamp = Signed::sign("timestamp", timestamp, &[authority], &ring)?;
    let mut mirror = repo.mirror()?;
    mirror
        .files
        .insert("metadata/timestamp.json".to_owned(), timestamp.to_bytes());
    Ok(mirror)
}

#[test]
fn a_stolen_timestamp_key_moves_the_time_by_days_at_most() -> Result<()> {
    // As far as dates go: the time is not believed at all, and nothing else is lost.
    let repo = TestRepo::with_packages()?;
    let mut client = Client::new(repo.pinned()?);
    let hostile = dated(&repo, "9990-01-01T00:00:00Z".parse()?, "9999-01-01T00:00:00Z".parse()?)?;
    for _ in 0..2 {
        let synced = client.sync(&hostile, repo.now)?;
        assert_eq!(synced.installable(), ALL);
        assert_eq!((synced.metadata.now(), synced.metadata.issued()), (repo.now, None));
    }

    // As far as the lifetime of the snapshot and the index: machines that saw it wait, and say for what.
    let mut client = Client::new(repo.pinned()?);
    let hostile = dated(&repo, repo.day(6), repo.day(300))?;
    client.sync(&hostile, repo.now)?;
    for name in ["one", "two"] {
        repo.stage(name, "1", "curated", &["usb:v1234p*d*dc*dsc*dp*ic*isc*ip*in*"])?;
        repo.publish(1)?;
    }
    let honest = repo.mirror()?;
    let waits = client.clone().sync(&honest, repo.day(1)).err().context("it waits")?;
    let TrustError::Stale {
        file,
        role,
        now,
        is_signed,
        ..
    } = &waits
    else {
        anyhow::bail!("{waits}")
    };
    assert_eq!((file.as_str(), role.as_str()), ("metadata/timestamp.json", "timestamp"));
    assert_eq!((*now, *is_signed), (repo.day(6), true));
    assert!(waits.to_string().contains("timestamp.json was issued at"), "{waits}");
    assert!(!format!("{waits} {:?}", waits.hint()).contains("root.json"), "{waits}");

    // New keys end it at once, and days end it without them.
    let mut later = client.clone();
    repo.stage("three", "1", "curated", &["usb:v1235p*d*dc*dsc*dp*ic*isc*ip*in*"])?;
    repo.publish(6)?;
    assert_eq!(
        later.sync(&repo.mirror()?, repo.day(6))?.installable().len(),
        ALL.len() + 3
    );
    dkms_repo::authority::rotate(&repo.repository, "timestamp", None, repo.day(1))?;
    let synced = client.sync(&repo.mirror()?, repo.day(1))?;
    assert_eq!(synced.metadata.now(), repo.day(1));
    Ok(())
}

#[test]
fn the_expiry_of_each_role_is_enforced_where_it_matters() -> Result<()> {
    type Shorten = fn(&mut Lifetimes);
    let check = |role: &str, shorten: Shorten, whole: bool| -> Result<()> {
        let mut lifetimes = Lifetimes {
            root: 300,
            targets: 300,
            curated: 300,
            vendor: 300,
            index: 300,
            revocations: 300,
            snapshot: 300,
            timestamp: 300,
        };
        shorten(&mut lifetimes);
        let repo = TestRepo::with_lifetimes(lifetimes)?.fill()?;
        let mirror = repo.mirror()?;
        let mut client = Client::new(repo.pinned()?);
        let is_role = |e: &TrustError| matches!(e, TrustError::Stale { role: stale, .. } if stale == role);
        match client.sync(&mirror, repo.day(2)) {
            Err(e) => assert!(whole && is_role(&e), "{role}: {e}"),
            Ok(synced) => {
                let stale: Vec<_> = synced.manifests.values().filter_map(|m| m.as_ref().err()).collect();
                assert!(
                    !whole && !stale.is_empty() && stale.into_iter().all(is_role),
                    "{role}: {synced:?}"
                );
                assert!(
                    !synced.installable().is_empty(),
                    "{role}: one role's fault costs that role's packages only"
                );
            }
        }
        client.expiry = Expiry::AllowStale;
        assert_eq!(client.sync(&mirror, repo.day(2))?.installable(), ALL, "{role}");
        Ok(())
    };
    check("root", |l| l.root = 1, true)?;
    check("targets", |l| l.targets = 1, true)?;
    check("snapshot", |l| l.snapshot = 1, true)?;
    check("timestamp", |l| l.timestamp = 1, true)?;
    check("index", |l| l.index = 1, true)?;
    check("revocations", |l| l.revocations = 1, true)?;
    check("curated", |l| l.curated = 1, false)?;
    check("vendor-pci-10ec", |l| l.vendor = 1, false)
}
