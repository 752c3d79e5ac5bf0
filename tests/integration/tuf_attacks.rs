//! What a hostile mirror, a thief of keys or a mere accident can do to a client: nothing but delay it.

use anyhow::{Context, Result};
use dkms_index::trust::{Expiry, TrustError, Why};
use dkms_repo::keys::KeyRing;
use dkms_repo::publish::Published;
use dkms_repo::repository::Expiry as Lifetimes;
use dkms_repo::signed::{Body, Meta, Signed, Target, Targets};
use dkms_tests::repo::{Client, Mirror, TestRepo};

const ALL: [&str; 3] = ["ddcci", "r8168", "r8169x"];

#[test]
fn an_honest_mirror_is_believed_and_a_second_poll_asks_for_two_files() -> Result<()> {
    let repo = TestRepo::with_packages()?;
    let mut client = Client::new(repo.pinned()?);
    let synced = client.sync(&repo.mirror()?, repo.now)?;
    assert_eq!(synced.installable(), ALL);
    assert_eq!(synced.metadata.issued(), Some(repo.now));
    assert_eq!(
        synced.manifests["r8168"].as_ref().map(|m| m.role()),
        Ok("vendor-pci-10ec")
    );

    client.asked.clear();
    let id = synced.metadata.index_id()?;
    assert_eq!(client.refresh(&repo.mirror()?, repo.now)?.index_id()?, id);
    let asked: Vec<_> = client.asked.iter().map(String::as_str).collect();
    assert_eq!(asked, ["metadata/2.root.json", "metadata/timestamp.json"]);

    // Without a network, what was kept is as good as it was, until it expires.
    let replay = |day| dkms_index::trust::replay(&client.pinned, client.kept.clone(), repo.day(day), Expiry::Enforce);
    assert_eq!(replay(1)?.index_id()?, id);
    assert!(replay(3).is_err_and(|e| e.is_stale()));
    Ok(())
}

#[test]
fn every_file_with_a_flipped_bit_is_refused() -> Result<()> {
    let repo = TestRepo::with_packages()?;
    dkms_repo::authority::rotate(&repo.repository, "root", None, repo.now)?;
    let mirror = repo.mirror()?;
    let mut honest = Client::new(repo.pinned()?);
    honest.sync(&mirror, repo.now)?;
    let served: Vec<&String> = honest
        .asked
        .iter()
        .filter(|path| mirror.files.contains_key(*path))
        .collect();
    // Root, timestamp, snapshot, targets, four delegated roles, the index, the revocations, three manifests.
    assert_eq!(served.len(), 13, "{served:?}");
    let mut tried = 0;
    for path in served {
        let length = mirror.files[path].len();
        for position in (0..16).map(|i| i * (length - 1) / 15) {
            for bit in [0x01, 0x80] {
                let mut hostile = mirror.clone();
                hostile
                    .files
                    .entry(path.clone())
                    .and_modify(|bytes| bytes[position] ^= bit);
                assert_refused(&repo, &hostile, &format!("{path}, bit {bit:#x} of byte {position}"))?;
                tried += 1;
            }
        }
        for length in [0, length - 1, length + 1] {
            let mut hostile = mirror.clone();
            hostile
                .files
                .entry(path.clone())
                .and_modify(|bytes| bytes.resize(length, b'{'));
            assert_refused(&repo, &hostile, &format!("{path}, cut or grown to {length} bytes"))?;
        }
    }
    assert!(tried > 400);
    Ok(())
}

/// The whole tree, or at least one package of it, must be refused.
fn assert_refused(repo: &TestRepo, hostile: &Mirror, what: &str) -> Result<()> {
    match Client::new(repo.pinned()?).sync(hostile, repo.now) {
        Err(e) => assert!(e.is_refusal(), "{what}: {e}"),
        Ok(synced) => {
            let refused: Vec<_> = synced.manifests.values().filter_map(|m| m.as_ref().err()).collect();
            assert!(!refused.is_empty(), "{what}: accepted");
            assert!(refused.iter().all(|e| e.is_refusal()), "{what}: {refused:?}");
        }
    }
    Ok(())
}

#[test]
fn a_bundle_with_a_flipped_bit_is_found_by_verify() -> Result<()> {
    let repo = TestRepo::with_packages()?;
    let root = repo.public().join("metadata/1.root.json");
    let verify = || dkms_repo::verify::verify(&repo.public(), &root, repo.now);
    assert_eq!(verify()?.problems, []);
    let bundles: Vec<_> = repo
        .mirror()?
        .files
        .into_iter()
        .filter(|(path, _)| path.starts_with("bundles/"))
        .collect();
    assert_eq!(bundles.len(), 3);
    for (path, mut bytes) in bundles {
        let file = repo.public().join(&path);
        bytes[3] ^= 1;
        std::fs::remove_file(&file)?;
        std::fs::write(&file, &bytes)?;
        let problems = verify()?.problems;
        assert!(problems.len() == 1 && problems[0].refused, "{path}: {problems:?}");
        bytes[3] ^= 1;
        std::fs::write(&file, &bytes)?;
    }
    Ok(())
}

#[test]
fn an_older_state_is_a_rollback_and_an_old_one_is_stale() -> Result<()> {
    let repo = TestRepo::with_packages()?;
    let mut old = repo.mirror()?;
    let mut client = Client::new(repo.pinned()?);
    client.sync(&old, repo.now)?;
    repo.stage("new", "1", "curated", &["usb:v1234p*d*dc*dsc*dp*ic*isc*ip*in*"])?;
    repo.publish(1)?;
    let new = repo.mirror()?;
    client.sync(&new, repo.day(1))?;

    let rollback = client.clone().sync(&old, repo.day(1)).err().context("rollback")?;
    assert!(
        matches!(
            rollback,
            TrustError::Refused {
                why: Why::Rollback { .. },
                ..
            }
        ),
        "{rollback}"
    );
    // The freeze: nothing new for ever. It is noticed when the timestamp expires, also by a machine that kept it.
    assert!(client.clone().sync(&new, repo.day(9)).is_err_and(|e| e.is_stale()));
    assert!(
        Client::new(repo.pinned()?)
            .sync(&new, repo.day(9))
            .is_err_and(|e| e.is_stale())
    );
    // Expired or not, what was kept sets the floor.
    client.expiry = Expiry::AllowStale;
    let rollback = client.clone().sync(&old, repo.day(9)).err().context("rollback")?;
    assert!(
        matches!(
            rollback,
            TrustError::Refused {
                why: Why::Rollback { .. },
                ..
            }
        ),
        "{rollback}"
    );
    let stale = client.sync(&new, repo.day(9))?;
    assert!(stale.metadata.is_stale());
    assert_eq!(stale.installable().len(), 4);

    // A clock that stands in 1970 does not bring the past back: the newest signed time counts.
    client.expiry = Expiry::Enforce;
    let refreshed = client.refresh(&new, jiff::Timestamp::UNIX_EPOCH)?;
    assert_eq!(refreshed.now(), repo.day(1));

    // Mix and match: files of two states under one another's names.
    for file in ["metadata/2.index.json", "metadata/3.index.json"] {
        old.files
            .insert(file.to_owned(), new.files["metadata/3.index.json"].clone());
    }
    let mixed = Client::new(repo.pinned()?)
        .sync(&old, repo.now)
        .err()
        .context("mixed")?;
    assert!(
        matches!(mixed, TrustError::Refused { .. } | TrustError::TooLong { .. }),
        "{mixed}"
    );
    Ok(())
}

#[test]
fn endless_data_stops_at_the_limit() -> Result<()> {
    let repo = TestRepo::with_packages()?;
    let mirror = repo.mirror()?;
    let mut honest = Client::new(repo.pinned()?);
    honest.sync(&mirror, repo.now)?;
    for path in ["metadata/2.root.json", "metadata/timestamp.json"]
        .map(str::to_owned)
        .into_iter()
        .chain(honest.asked)
    {
        let mut hostile = mirror.clone();
        hostile.files.insert(path.clone(), vec![b' '; 33 << 20]);
        let errors = match Client::new(repo.pinned()?).sync(&hostile, repo.now) {
            Err(e) => vec![e],
            Ok(synced) => synced.manifests.into_values().filter_map(Result::err).collect(),
        };
        assert!(
            matches!(&errors[..], [TrustError::TooLong { .. }, ..]),
            "{path}: {errors:?}"
        );
    }
    Ok(())
}

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

#[test]
fn a_delegate_out_of_its_scope_costs_only_itself() -> Result<()> {
    let check = |path: &str, aliases: &[&str], expected: fn(&TrustError) -> bool| -> Result<()> {
        let repo = TestRepo::with_packages()?;
        let (scope, name) = path.rsplit_once('/').context("a path")?;
        let evil = serde_json::json!({
            "schema": 1, "name": "evil", "version": "1", "scope": scope,
            "bundle": {"sha256": "ab".repeat(32), "length": 1, "format": "tar-zst"},
            "modules": [{"name": "evil", "aliases": aliases}]
        });
        let bytes = evil.to_string().into_bytes();
        let mut mirror = repo.mirror()?;
        let target = Target::of(&bytes, None);
        mirror
            .files
            .insert(format!("targets/{scope}/{}.{name}", target.sha256()), bytes);
        forge(&repo, &mut mirror, "vendor-pci-10ec", |targets| {
            targets.targets.insert(path.to_owned(), target);
        })?;
        let mut client = Client::new(repo.pinned()?);
        let synced = client.sync(&mirror, repo.now)?;
        assert_eq!(
            synced.installable(),
            ALL,
            "the other packages stay, also those of this vendor"
        );
        let mut metadata = synced.metadata;
        let mut fetch = metadata.fetch_manifest(path);
        use dkms_index::trust::{Answer, Exchange};
        while let Some(want) = fetch.want() {
            let answer = mirror
                .files
                .get(&want.path)
                .map_or(Answer::Absent, |b| Answer::Bytes(b));
            if fetch.feed(answer).is_err() {
                break;
            }
        }
        let error = fetch.finish().err().context("accepted")?;
        assert!(expected(&error), "{path} {aliases:?}: {error}");
        Ok(())
    };
    let scope = |e: &TrustError| matches!(e, TrustError::Refused { why: Why::Scope(_), .. });
    let unlisted = |e: &TrustError| matches!(e, TrustError::Unlisted { .. });
    // Another vendor's device, everybody's device, and the same under somebody else's directory.
    check("by-id/pci-10ec/evil@1.json", &["pci:v00008086d*sv*sd*bc*sc*i*"], scope)?;
    check("by-id/pci-10ec/evil@1.json", &["pci:v*d*sv*sd*bc02sc00i*"], scope)?;
    check(
        "by-id/pci-8086/evil@1.json",
        &["pci:v00008086d*sv*sd*bc*sc*i*"],
        unlisted,
    )?;
    check("curated/evil@1.json", &["*"], unlisted)?;
    check("by-id/pci-10ec/deep/evil@1.json", &[], unlisted)
}

/// Signs a changed role with its own keys, and the roles above it with theirs: what its owner could publish.
fn forge(repo: &TestRepo, mirror: &mut Mirror, role: &str, change: impl FnOnce(&mut Targets)) -> Result<()> {
    let published = Published::load(&repo.public())?;
    let ring = KeyRing::load(&repo.repository.keys_dir())?;
    let delegations = published.delegations();
    let authority = &delegations.roles.iter().find(|d| d.name == role).context("role")?.keys;
    let mut targets = published.roles[role].signed.clone();
    targets.version += 1;
    change(&mut targets);
    let mut put = |name: String, bytes: Vec<u8>| mirror.files.insert(format!("metadata/{name}"), bytes);
    let targets = Signed::sign(role, targets, &[authority], &ring)?;
    put(format!("{}.{role}.json", targets.signed.version()), targets.to_bytes());

    let mut snapshot = published.snapshot.signed.clone();
    snapshot.version += 1;
    snapshot.meta.insert(
        format!("{role}.json"),
        Meta::of(targets.signed.version, &targets.to_bytes()),
    );
    let snapshot = Signed::sign("snapshot", snapshot, &[&published.root.signed.roles["snapshot"]], &ring)?;
    put(
        format!("{}.snapshot.json", snapshot.signed.version()),
        snapshot.to_bytes(),
    );

    let mut timestamp = published.timestamp.signed.clone();
    timestamp.version += 1;
    timestamp.meta.insert(
        "snapshot.json".to_owned(),
        Meta::of(snapshot.signed.version, &snapshot.to_bytes()),
    );
    let timestamp = Signed::sign(
        "timestamp",
        timestamp,
        &[&published.root.signed.roles["timestamp"]],
        &ring,
    )?;
    put("timestamp.json".to_owned(), timestamp.to_bytes());
    Ok(())
}
