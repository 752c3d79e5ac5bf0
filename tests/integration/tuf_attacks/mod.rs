//! What a hostile mirror, a thief of keys or a mere accident can do to a client: nothing but delay it.

mod delegates;
mod deltas;
mod index;
mod keys;
mod mirror;

use anyhow::{Context, Result};
use dkms_repo::keys::KeyRing;
use dkms_repo::publish::Published;
use dkms_repo::signed::{Body, Meta, Signed, Targets};
use dkms_tests::repo::{Mirror, TestRepo};

/// The packages of `TestRepo::with_packages`.
const ALL: [&str; 3] = ["ddcci", "r8168", "r8169x"];

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
