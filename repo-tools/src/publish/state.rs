//! What is published now, read back from the tree.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use jiff::Timestamp as Time;
use serde::de::DeserializeOwned;

use super::PublishError;
use crate::files::{self, FileError};
use crate::roles::TARGETS;
use crate::signed::{Delegations, Root, Signed, Snapshot, Targets, Timestamp};

/// The published metadata. It is our own, on our own disk: parsed, not verified (`dkms-repo verify` does that).
#[derive(Debug, Clone)]
pub struct Published {
    /// The newest root.
    pub root: Signed<Root>,
    /// `targets` and all roles that it delegates to, by name.
    pub roles: BTreeMap<String, Signed<Targets>>,
    /// The snapshot.
    pub snapshot: Signed<Snapshot>,
    /// The timestamp.
    pub timestamp: Signed<Timestamp>,
}

impl Published {
    /// Reads `public/metadata`.
    pub fn load(public: &Path) -> Result<Self, PublishError> {
        let metadata = public.join("metadata");
        let root = read(&metadata, &format!("{}.root.json", newest_root(&metadata)?))?;
        let timestamp: Signed<Timestamp> = read(&metadata, "timestamp.json")?;
        let version = timestamp.signed.snapshot_version();
        let snapshot: Signed<Snapshot> = read(&metadata, &format!("{version}.snapshot.json"))?;
        let mut roles = BTreeMap::new();
        for (file, meta) in &snapshot.signed.meta {
            roles.insert(
                file.trim_end_matches(".json").to_owned(),
                read(&metadata, &format!("{}.{file}", meta.version))?,
            );
        }
        Ok(Self {
            root,
            roles,
            snapshot,
            timestamp,
        })
    }

    /// Every role that has signed something, with the version and the end of the lifetime of that: those of the root, then `targets` and all
    /// that it delegates to.
    pub fn signed(&self) -> impl Iterator<Item = (&str, u64, Time)> {
        let (root, snapshot, timestamp) = (&self.root.signed, &self.snapshot.signed, &self.timestamp.signed);
        let roles = self.roles.iter().map(|(role, signed)| (role.as_str(), &signed.signed));
        [
            ("root", root.version, root.expires),
            ("snapshot", snapshot.version, snapshot.expires),
            ("timestamp", timestamp.version, timestamp.expires),
        ]
        .into_iter()
        .chain(roles.map(|(role, signed)| (role, signed.version, signed.expires)))
    }

    /// Whom `targets` of the tree at `public` delegates to, without reading any other role.
    pub fn delegations_of(public: &Path) -> Result<Delegations, PublishError> {
        let metadata = public.join("metadata");
        let timestamp: Signed<Timestamp> = read(&metadata, "timestamp.json")?;
        let version = timestamp.signed.snapshot_version();
        let snapshot: Signed<Snapshot> = read(&metadata, &format!("{version}.snapshot.json"))?;
        let file = format!("{TARGETS}.json");
        let Some(meta) = snapshot.signed.meta.get(&file) else {
            return Ok(Delegations::default());
        };
        let targets: Signed<Targets> = read(&metadata, &format!("{}.{file}", meta.version))?;
        Ok(targets.signed.delegations.unwrap_or_default())
    }

    /// Whom `targets` delegates to.
    pub fn delegations(&self) -> Delegations {
        self.roles
            .get(TARGETS)
            .and_then(|t| t.signed.delegations.clone())
            .unwrap_or_default()
    }
}

/// The newest root as it is published, with its version.
///
/// # Errors
/// When it cannot be read.
pub fn newest_root_file(public: &Path) -> Result<(u64, Vec<u8>), PublishError> {
    let metadata = public.join("metadata");
    let version = newest_root(&metadata)?;
    Ok((version, files::read(&metadata.join(format!("{version}.root.json")))?))
}

/// The highest N of `N.root.json`.
fn newest_root(metadata: &Path) -> Result<u64, PublishError> {
    let entries = fs::read_dir(metadata).map_err(FileError::on("list", metadata))?;
    let mut newest = None;
    for entry in entries {
        let name = entry.map_err(FileError::on("list", metadata))?.file_name();
        let version = name
            .to_str()
            .and_then(|n| n.strip_suffix(".root.json"))
            .and_then(|n| n.parse().ok());
        newest = newest.max(version);
    }
    newest.ok_or_else(|| PublishError::Published {
        file: "metadata".to_owned(),
        why: "there is no root".to_owned(),
    })
}

fn read<T: DeserializeOwned>(metadata: &Path, name: &str) -> Result<T, PublishError> {
    let bytes = files::read(&metadata.join(name))?;
    serde_json::from_slice(&bytes).map_err(|e| PublishError::Published {
        file: format!("metadata/{name}"),
        why: e.to_string(),
    })
}
