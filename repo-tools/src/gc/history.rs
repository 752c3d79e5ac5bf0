//! The states that were published one after the other, as far as they are still there.

use std::fs;
use std::path::Path;

use jiff::Timestamp;

use super::Past;
use crate::files::FileError;
use crate::publish::PublishError;
use crate::reach::{self, versioned};
use crate::signed::{self, Signed};
use crate::verify::Tree;

/// The snapshots that are still there up to the one that the timestamp names, the newest first. Higher ones were never
/// reachable.
pub(super) fn history(public: &Path) -> Result<Vec<Past>, PublishError> {
    let metadata = public.join("metadata");
    let timestamp: Signed<signed::Timestamp> = reach::must(&Tree::at(public), "metadata/timestamp.json")?;
    let current = timestamp.signed.snapshot_version();
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
