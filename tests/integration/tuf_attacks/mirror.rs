//! A mirror that lies, forgets, mixes or never ends.

use anyhow::{Context, Result};
use dkms_index::trust::{Expiry, TrustError, Why};
use dkms_tests::repo::{Client, Mirror, TestRepo};

use super::ALL;

/// Asserts that what was refused is older than what was kept.
fn assert_rollback(error: &TrustError) {
    let is_rollback = matches!(
        error,
        TrustError::Refused {
            why: Why::Rollback { .. },
            ..
        }
    );
    assert!(is_rollback, "{error}");
}

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
    assert_rollback(&rollback);
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
    assert_rollback(&rollback);
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
