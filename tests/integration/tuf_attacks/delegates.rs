//! A vendor that speaks of what is not its own.

use anyhow::{Context, Result};
use dkms_index::trust::{TrustError, Why};
use dkms_repo::signed::Target;
use dkms_tests::repo::{Client, TestRepo};

use super::{ALL, forge};

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
    let scope = |e: &TrustError| {
        let says = e.to_string().contains(": role vendor-pci-10ec may not sign for pci:v");
        says && matches!(
            e,
            TrustError::Refused {
                why: Why::Devices(_),
                ..
            }
        )
    };
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
