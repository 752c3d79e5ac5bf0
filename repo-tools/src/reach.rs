//! What a published snapshot names, down to the bundles.

use std::collections::BTreeMap;
use std::io;

use dkms_index::document::manifest::Manifest;
use dkms_index::trust::scope::{BY_ID, CURATED};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::publish::PublishError;
use crate::repository::bundle_path;
use crate::signed::{Signed, Snapshot, Targets};
use crate::verify::Tree;

/// What is known of a file that something names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// Its length in bytes, where the name tells it: that of a snapshot is in the timestamp.
    pub(crate) length: Option<u64>,
    /// In hex.
    pub(crate) sha256: Option<String>,
}

impl Named {
    /// A file of this length and, in hex, this hash.
    pub(crate) fn of(length: u64, sha256: Option<&String>) -> Self {
        Self {
            length: Some(length),
            sha256: sha256.cloned(),
        }
    }

    /// Whether these are its bytes.
    pub(crate) fn is(&self, bytes: &[u8]) -> bool {
        let has_length = self.length.is_none_or(|length| length == bytes.len() as u64);
        has_length && self.sha256.as_ref().is_none_or(|sha256| *sha256 == sha256_of(bytes))
    }
}

/// In hex.
pub(crate) fn sha256_of(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// `3.index.json` taken apart.
pub(crate) fn versioned(name: &str) -> Option<(u64, &str)> {
    let (version, role) = name.strip_suffix(".json")?.split_once('.')?;
    Some((version.parse().ok()?, role)).filter(|(_, role)| !role.contains('/'))
}

/// Whether a path below `public/` is one that a publication could have made, and that can be superseded.
pub(crate) fn is_ours(path: &str) -> bool {
    let hash = |text: &str| text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let name = path.rsplit('/').next().unwrap_or(path);
    match path.split_once('/') {
        Some(("metadata", name)) => versioned(name).is_some_and(|(_, role)| role != "root"),
        Some(("targets", _)) => name.split_once('.').is_some_and(|(sha256, _)| hash(sha256)),
        Some(("bundles", _)) => hash(name),
        _ => false,
    }
}

/// Adds every file below `public/` that this snapshot names, by its path. Files of an older state may be gone already; all of the
/// current one must be there, or it cannot be determined what is needed.
pub(crate) fn needed_by(
    tree: &Tree,
    version: u64,
    is_current: bool,
    needed: &mut BTreeMap<String, Named>,
) -> Result<(), PublishError> {
    let path = format!("metadata/{version}.snapshot.json");
    let Some(snapshot) = read::<Signed<Snapshot>>(tree, &path, is_current)? else {
        return Ok(());
    };
    let unknown = Named {
        length: None,
        sha256: None,
    };
    needed.entry(path).or_insert(unknown);
    for (file, meta) in &snapshot.signed.meta {
        let path = format!("metadata/{}.{file}", meta.version);
        // A role that an earlier snapshot named in this version named the same then.
        if needed
            .insert(path.clone(), Named::of(meta.length, meta.hashes.get("sha256")))
            .is_some()
        {
            continue;
        }
        let Some(role) = read::<Signed<Targets>>(tree, &path, is_current)? else {
            continue;
        };
        for (target, entry) in &role.signed.targets {
            let path = format!("targets/{}", entry.file_path(target));
            let known = needed.insert(path.clone(), Named::of(entry.length, entry.hashes.get("sha256")));
            if known.is_none() && is_manifest(target) {
                let manifest = read::<Manifest>(tree, &path, is_current)?;
                needed.extend(manifest.map(|m| {
                    let bundle = m.bundle;
                    (
                        bundle_path(&bundle.sha256),
                        Named::of(bundle.length, Some(&bundle.sha256)),
                    )
                }));
            }
        }
    }
    Ok(())
}

/// Whether a target path is that of a manifest.
pub(crate) fn is_manifest(target: &str) -> bool {
    target.starts_with(BY_ID) || target.split_once('/').is_some_and(|(dir, _)| dir == CURATED)
}

/// Whether a path below `public/` is that of a manifest.
pub(crate) fn is_manifest_file(path: &str) -> bool {
    path.strip_prefix("targets/").is_some_and(is_manifest)
}

/// A document of the tree.
pub(crate) fn must<T: DeserializeOwned>(tree: &Tree, path: &str) -> Result<T, PublishError> {
    let bytes = tree.read(path)?;
    serde_json::from_slice(&bytes).map_err(|e| PublishError::Published {
        file: path.to_owned(),
        why: e.to_string(),
    })
}

fn read<T: DeserializeOwned>(tree: &Tree, path: &str, is_current: bool) -> Result<Option<T>, PublishError> {
    match must(tree, path) {
        Ok(document) => Ok(Some(document)),
        Err(PublishError::File(e)) if !is_current && e.source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_we_made_can_be_garbage() {
        let check = |path: &str, expected: bool| assert_eq!(is_ours(path), expected, "{path}");
        let hash = "0".repeat(64);
        check("metadata/3.index.json", true);
        check("metadata/3.snapshot.json", true);
        check("metadata/3.root.json", false);
        check("metadata/timestamp.json", false);
        check("metadata/index.html", false);
        check(&format!("targets/curated/{hash}.x@1.json"), true);
        check("targets/curated/readme.txt", false);
        check(&format!("bundles/sha256/00/{hash}"), true);
        check("bundles/sha256/00/robots.txt", false);
        check("index.html", false);
    }
}
