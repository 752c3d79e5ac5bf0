//! The verified metadata that a refresh results in.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::crypto::sha256_hex;
use super::limits::{SEGMENT_MAX_BYTES, SEGMENTS_MAX};
use super::state::{self, Core, INDEX};
use super::{TrustError, Why};
use crate::document::revocation::Revocations;

/// Verified metadata: holding it proves that root, timestamp, snapshot, targets, index and revocations are genuine,
/// no older than any seen before, and fresh (unless staleness was allowed).
#[derive(Debug)]
pub struct TrustedMetadata {
    pub(super) core: Core,
    revocations: Revocations,
}

/// One segment of the index, as signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// TUF target path, `index/packages-NNN.jsonl.zst`.
    pub path: String,
    /// Hash of the records, after decompression. The segment's identity.
    pub decoded_sha256: String,
    /// Length of the records in bytes, after decompression.
    pub decoded_length: u64,
    /// Length in bytes as served.
    pub length: u64,
}

impl TrustedMetadata {
    pub(super) fn new(core: Core, revocations: Revocations) -> Self {
        Self { core, revocations }
    }

    /// What must not be installed.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// When this state of the repository was signed, if it says so.
    pub fn issued(&self) -> Option<Timestamp> {
        state::issued(&self.core.set)
    }

    /// The first moment at which a part of it expires.
    pub fn expires(&self) -> Timestamp {
        state::expires(&self.core.set)
    }

    /// Whether a part of it has expired, which only [`super::Expiry::AllowStale`] allows.
    pub fn is_stale(&self) -> bool {
        self.expires() < self.core.now.time
    }

    /// The time that expiry was judged by.
    pub fn now(&self) -> Timestamp {
        self.core.now.time
    }

    /// Versions of the roles, for people: `root`, `timestamp`, `snapshot`, `targets`, `index`, …
    pub fn versions(&self) -> BTreeMap<String, u64> {
        let set = &self.core.set;
        let pinned = set.snapshot().into_iter().flat_map(|s| &s.meta);
        let mut versions: BTreeMap<_, _> = pinned
            .map(|(file, pin)| (file.trim_end_matches(".json").to_owned(), pin.version))
            .collect();
        versions.insert("root".to_owned(), set.root().version);
        versions.extend(set.timestamp().map(|t| ("timestamp".to_owned(), t.version)));
        versions.extend(set.snapshot().map(|s| ("snapshot".to_owned(), s.version)));
        versions
    }

    /// The segments of the index, in order.
    ///
    /// # Errors
    /// When an entry of the index role is not as it must be.
    pub fn segments(&self) -> Result<Vec<Segment>, TrustError> {
        let mut segments = Vec::new();
        let targets = self.core.role(INDEX).map(|role| &role.targets);
        for (path, target) in targets.into_iter().flatten() {
            if !path.ends_with(".jsonl.zst") {
                continue;
            }
            let refuse = |why| TrustError::refused(path, INDEX, why);
            if self.core.delegated_target(INDEX, path).is_none() {
                return Err(refuse(Why::Scope("the path is not delegated to the role".to_owned())));
            }
            let (decoded_sha256, decoded_length) = decoded(target.custom.as_ref()).ok_or_else(|| {
                refuse(Why::Malformed(
                    "its decoded_sha256 and decoded_length are missing".to_owned(),
                ))
            })?;
            if decoded_length > SEGMENT_MAX_BYTES {
                return Err(TrustError::TooLong {
                    file: path.clone(),
                    max_bytes: SEGMENT_MAX_BYTES,
                });
            }
            state::target_sha256(target, path, INDEX)?;
            segments.push(Segment {
                path: path.clone(),
                decoded_sha256,
                decoded_length,
                length: target.length,
            });
        }
        if segments.len() > SEGMENTS_MAX {
            let why = Why::Malformed(format!("more than {SEGMENTS_MAX} segments"));
            return Err(TrustError::refused("index", INDEX, why));
        }
        Ok(segments)
    }

    /// Identifies the content of the index and of the revocations: equal exactly when both are. A cache stores it with
    /// the records and needs no fetch while it is the same.
    ///
    /// # Errors
    /// As [`TrustedMetadata::segments`].
    pub fn index_id(&self) -> Result<String, TrustError> {
        let mut text = String::new();
        for segment in self.segments()? {
            text.push_str(&format!("{} {}\n", segment.path, segment.decoded_sha256));
        }
        text.push_str(&serde_json::json!(self.revocations).to_string());
        Ok(sha256_hex(text.as_bytes()))
    }

    /// The target paths of all manifests that a delegated role lists and may list; empty before the role was loaded by
    /// a [`TrustedMetadata::fetch_manifest`].
    pub fn listed_manifests(&self, role: &str) -> Vec<String> {
        let targets = self.core.role(role).map(|r| &r.targets);
        targets.into_iter().flatten().map(|(path, _)| path.clone()).collect()
    }
}

/// `decoded_sha256` and `decoded_length` of a target's custom data.
fn decoded(custom: Option<&serde_json::Value>) -> Option<(String, u64)> {
    let custom = custom?;
    let sha256 = custom.get("decoded_sha256")?.as_str()?;
    let length = custom.get("decoded_length")?.as_u64()?;
    (sha256.len() == 64).then(|| (sha256.to_owned(), length))
}
