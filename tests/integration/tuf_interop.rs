//! python-tuf, the reference implementation, reads what we write, and we read what it writes.

use std::collections::BTreeMap;

use anyhow::Result;
use dkms_repo::repository::Expiry as Lifetimes;
use dkms_tests::repo::{Client, Mirror, TestRepo};
use dkms_tests::{conformance, peer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

#[test]
fn python_tuf_reads_what_we_write() -> Result<()> {
    // python-tuf reads the clock, so this repository lives now.
    let repo = TestRepo::at(jiff::Timestamp::now(), Lifetimes::default())?.fill()?;
    for role in ["timestamp", "root"] {
        dkms_repo::authority::rotate(&repo.repository, role, None, repo.now)?;
    }
    let mirror = repo.mirror()?;
    // Current and superseded targets alike lie there; ask for those that our own client gets.
    let mut client = Client::new(repo.pinned()?);
    client.sync(&mirror, repo.now)?;
    let targets: BTreeMap<String, String> = client
        .asked
        .iter()
        .filter_map(|path| path.strip_prefix("targets/"))
        .map(|path| {
            (
                without_hash(path),
                hex::encode(Sha256::digest(&mirror.files[&format!("targets/{path}")])),
            )
        })
        .collect();
    assert_eq!(targets.len(), 5, "{targets:?}");

    let names: Vec<String> = targets.keys().cloned().collect();
    let output = peer::python_tuf(&repo.public(), &repo.scratch().join("peer"), &names);

    assert_eq!(output["targets"], json!(targets));
    let ours = client.refresh(&mirror, repo.now)?.versions();
    for role in ["root", "timestamp", "snapshot", "targets"] {
        assert_eq!(output["versions"][role], json!(ours[role]), "{role}");
    }
    Ok(())
}

#[test]
fn we_read_what_python_tuf_writes() -> Result<()> {
    let ours = TestRepo::with_packages()?;
    let mirror = ours.mirror()?;
    let mut client = Client::new(ours.pinned()?);
    let packages = client.sync(&mirror, ours.now)?.packages;

    // The same documents, under python-tuf's metadata and keys.
    let mut roles: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    for path in client.asked.iter().filter_map(|path| path.strip_prefix("targets/")) {
        let name = without_hash(path);
        let role = match name.split('/').next() {
            Some("by-id") => "vendor-pci-10ec".to_owned(),
            Some(dir @ ("index" | "revocations" | "curated")) => dir.to_owned(),
            other => anyhow::bail!("{other:?}"),
        };
        let file = ours.public().join("targets").join(path);
        let mut target = json!({"file": file});
        if role == "index" {
            let decoded = zstd::decode_all(&std::fs::read(&file)?[..])?;
            let hash = hex::encode(Sha256::digest(&decoded));
            target["custom"] = json!({"decoded_sha256": hash, "decoded_length": decoded.len()});
        }
        roles.entry(role).or_default().insert(name, target);
    }
    let roles: Vec<Value> = roles
        .into_iter()
        .map(|(role, targets)| {
            let scope = role
                .strip_prefix("vendor-")
                .map_or(role.clone(), |id| format!("by-id/{id}"));
            json!({"name": role, "paths": [format!("{scope}/*")], "targets": targets})
        })
        .collect();
    let plan = ours.scratch().join("plan.json");
    std::fs::write(
        &plan,
        json!({"roles": roles, "expires": "2026-06-01T00:00:00Z"}).to_string(),
    )?;
    let public = ours.scratch().join("theirs");
    peer::script(
        "tuf_writer.py",
        &[plan.display().to_string(), public.display().to_string()],
    );

    let theirs = Mirror::of(&public)?;
    let mut client = Client::new(std::fs::read(public.join("metadata/1.root.json"))?);
    let synced = client.sync(&theirs, ours.now)?;
    assert_eq!(synced.packages, packages);
    assert_eq!(synced.installable(), ["ddcci", "r8168", "r8169x"]);
    assert_eq!(
        synced.metadata.issued(),
        None,
        "the time of signing is our own addition"
    );
    assert!(client.sync(&theirs, ours.day(100)).is_err_and(|e| e.is_stale()));
    Ok(())
}

/// The interface of TUF's conformance suite, by which the agent's own code is tested with it (`scripts/conformance.sh`): a repository of
/// python-tuf that has nothing to do with drivers.
#[test]
fn the_conformance_client_reads_any_repository() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (plan, public) = (scratch.path().join("plan.json"), scratch.path().join("public"));
    let file = scratch.path().join("text");
    std::fs::write(&file, "a file")?;
    let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(48);
    let expires = jiff::Timestamp::from_second(expires.as_second())?;
    std::fs::write(
        &plan,
        json!({
            "expires": expires,
            "roles": [
                {"name": "other", "paths": ["docs/*"], "targets": {}},
                {"name": "odd role", "paths": ["files/*"], "targets": {"files/text.txt": {"file": file}}},
            ],
        })
        .to_string(),
    )?;
    peer::script(
        "tuf_writer.py",
        &[plan.display().to_string(), public.display().to_string()],
    );
    peer::serving(&public, |url| {
        let client = |words: &[&str]| {
            let metadata = scratch.path().join("metadata").display().to_string();
            let url = format!("{url}metadata/");
            let before = ["--metadata-dir", &metadata, "--metadata-url", &url];
            conformance::run([&before[..], words].concat())
        };
        let shown = |role: &str| std::fs::read(scratch.path().join(format!("metadata/{role}.json")));
        let served = |name: &str| std::fs::read(public.join("metadata").join(name));
        let (downloads, targets) = (scratch.path().join("targets"), format!("{url}targets/"));
        std::fs::create_dir_all(&downloads)?;
        let downloads = downloads.display().to_string();
        let download = |name: &str| {
            let place = ["--target-dir", &downloads, "--target-base-url", &targets];
            client(&[&place[..], &["--target-name", name, "download"]].concat())
        };
        let root = public.join("metadata/1.root.json").display().to_string();
        assert!(client(&["refresh"]).is_err(), "there is no root yet");
        client(&["init", &root])?;
        client(&["refresh"])?;
        for role in ["root", "snapshot", "targets"] {
            assert_eq!(shown(role)?, served(&format!("1.{role}.json"))?, "{role}");
        }
        assert_eq!(shown("timestamp")?, served("timestamp.json")?);
        download("files/text.txt")?;
        let downloaded = std::path::Path::new(&downloads).join("files%2Ftext.txt");
        assert_eq!(std::fs::read(&downloaded)?, b"a file");
        assert_eq!(shown("odd%20role")?, served("1.odd role.json")?);
        assert!(download("docs/none").is_err_and(|e| e.to_string().contains("no role of the repository vouches for")));

        // What is on the way replaced is refused, and what was verified stays.
        std::fs::write(&downloaded, "another")?;
        let hash = hex::encode(Sha256::digest("a file"));
        std::fs::write(public.join(format!("targets/files/{hash}.text.txt")), "a FILE")?;
        assert!(download("files/text.txt").is_err());
        let timestamp = served("timestamp.json")?;
        std::fs::write(public.join("metadata/timestamp.json"), "{}")?;
        assert!(client(&["refresh"]).is_err());
        assert_eq!(shown("timestamp")?, timestamp);
        Ok(())
    })
}

/// `dir/HASH.name` to `dir/name`.
fn without_hash(path: &str) -> String {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    format!("{dir}/{}", name.split_once('.').map_or(name, |(_, name)| name))
}
