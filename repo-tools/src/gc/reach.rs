//! What a published snapshot names, down to the bundles.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use dkms_index::document::manifest::Manifest;
use dkms_index::trust::scope::{BY_ID, CURATED};
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use super::Past;
use crate::files::{self, FileError};
use crate::publish::PublishError;
use crate::signed::{self, Signed, Snapshot, Targets};

/// `3.index.json` taken apart.
pub(super) fn versioned(name: &str) -> Option<(u64, &str)> {
    let (version, role) = name.strip_suffix(".json")?.split_once('.')?;
    Some((version.parse().ok()?, role)).filter(|(_, role)| !role.contains('/'))
}

/// The snapshots that are still there up to the one that the timestamp names, the newest first. Higher ones were never
/// reachable.
pub(super) fn history(public: &Path) -> Result<Vec<Past>, PublishError> {
    let metadata = public.join("metadata");
    let timestamp: Signed<signed::Timestamp> = must(public, "metadata/timestamp.json")?;
    let current = timestamp
        .signed
        .meta
        .get("snapshot.json")
        .map_or(0, |meta| meta.version);
    let mut versions = Vec::new();
    for entry in fs::read_dir(&metadata).map_err(FileError::on("list", &metadata))? {
        let name = entry.map_err(FileError::on("list", &metadata))?.file_name();
        let version = name
            .to_str()
            .and_then(versioned)
            .filter(|(_, role)| *role == "snapshot");
        versions.extend(
            version
                .map(|(version, _)| version)
                .filter(|version| *version <= current),
        );
    }
    versions.sort_unstable_by(|a, b| b.cmp(a));
    let mut history = Vec::new();
    let mut next = None;
    for version in versions {
        history.push(Past { version, until: next });
        let path = metadata.join(format!("{version}.snapshot.json"));
        let made = fs::metadata(&path).and_then(|meta| meta.modified());
        next = made.ok().and_then(|made| Timestamp::try_from(made).ok());
    }
    Ok(history)
}

/// Adds every path below `public/` that this snapshot names. Files of an older state may be gone already; all of the
/// current one must be there, or it cannot be determined what is needed.
pub(super) fn needed_by(
    public: &Path,
    version: u64,
    is_current: bool,
    needed: &mut BTreeSet<String>,
) -> Result<(), PublishError> {
    let path = format!("metadata/{version}.snapshot.json");
    let Some(snapshot) = read::<Signed<Snapshot>>(public, &path, is_current)? else {
        return Ok(());
    };
    needed.insert(path);
    for (file, meta) in &snapshot.signed.meta {
        let path = format!("metadata/{}.{file}", meta.version);
        // A role that an earlier snapshot named in this version named the same then.
        if !needed.insert(path.clone()) {
            continue;
        }
        let Some(role) = read::<Signed<Targets>>(public, &path, is_current)? else {
            continue;
        };
        for (target, entry) in &role.signed.targets {
            let path = format!("targets/{}", entry.file_path(target));
            if needed.insert(path.clone()) && is_manifest(target) {
                let manifest = read::<Manifest>(public, &path, is_current)?;
                needed.extend(manifest.map(|m| {
                    let sha256 = m.bundle.sha256;
                    format!("bundles/sha256/{}/{sha256}", sha256.get(..2).unwrap_or("__"))
                }));
            }
        }
    }
    Ok(())
}

fn is_manifest(target: &str) -> bool {
    target.starts_with(BY_ID) || target.split_once('/').is_some_and(|(dir, _)| dir == CURATED)
}

fn must<T: DeserializeOwned>(public: &Path, path: &str) -> Result<T, PublishError> {
    let bytes = files::read(&public.join(path))?;
    serde_json::from_slice(&bytes).map_err(|e| PublishError::Published {
        file: path.to_owned(),
        why: e.to_string(),
    })
}

fn read<T: DeserializeOwned>(public: &Path, path: &str, is_current: bool) -> Result<Option<T>, PublishError> {
    match must(public, path) {
        Ok(document) => Ok(Some(document)),
        Err(PublishError::File(e)) if !is_current && e.source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
