//! The state that is to be written, the one that is there, and whether the one comes after the other.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp as Time;
use serde::Serialize;

use super::PushError;
use super::order::{is_root, root_version};
use crate::publish::PublishError;
use crate::reach::{self, Named};
use crate::signed::{self, RoleKeys, Root, Signed, Snapshot, Targets};
use crate::store::TIMESTAMP;
use crate::verify::Tree;

/// Which state something is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// Version of the timestamp.
    pub timestamp: u64,
    /// Version of the snapshot.
    pub snapshot: u64,
    /// When the timestamp was signed.
    pub issued: Time,
}

impl Mark {
    /// That of a timestamp.
    pub fn of(timestamp: &Signed<signed::Timestamp>) -> Self {
        Self {
            timestamp: timestamp.signed.version,
            snapshot: timestamp.signed.snapshot_version(),
            issued: timestamp.signed.issued,
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "timestamp {} with snapshot {}, signed at {}",
            self.timestamp, self.snapshot, self.issued
        )
    }
}

/// What somebody else wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The repository there has another first root.
    #[error("another repository is there: its first root is not ours")]
    OtherRepository,
    /// Something lies where the timestamp belongs.
    #[error("what lies there as metadata/timestamp.json is none")]
    NoTimestamp,
    /// The timestamp went away meanwhile.
    #[error("its metadata/timestamp.json was removed meanwhile")]
    Gone,
    /// A state that ours does not come after.
    #[error("there is {theirs}; here is {ours}, and it does not come after that")]
    Diverged {
        /// The state to be written.
        ours: Mark,
        /// The state there.
        theirs: Mark,
    },
    /// Somebody wrote while we did.
    #[error("another publisher was quicker: there is {theirs} now; here is {ours}")]
    Quicker {
        /// The state to be written.
        ours: Mark,
        /// The state there.
        theirs: Mark,
    },
    /// A file of the same name and another content, which no visible state names.
    #[error("its {0} is another one than ours: another publisher is writing there, or was interrupted")]
    Leftover(String),
}

impl Conflict {
    /// The way out.
    pub(super) fn hint(&self, target: &str) -> String {
        match self {
            Self::OtherRepository | Self::NoTimestamp => {
                "give another address; if what is there is not needed, remove it first".to_owned()
            }
            Self::Gone => "if nobody else publishes there, the same command again writes all of it".to_owned(),
            Self::Diverged { .. } | Self::Quicker { .. } => format!(
                "take that state over with `dkms-repo mirror {target} public --replace` in the repository's \
                 directory, and publish again: what is staged here is then signed as the state after it"
            ),
            Self::Leftover(_) => {
                "wait until the other publisher is done and try again; if there is none, --take-over replaces the file"
                    .to_owned()
            }
        }
    }
}

/// The state to be written.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Every file of it but the timestamp, and every root.
    pub(super) files: BTreeMap<String, Named>,
    pub(super) timestamp: Vec<u8>,
    pub(super) mark: Mark,
    signed: Signed<signed::Timestamp>,
}

impl Wanted {
    /// The current state of a tree. Where it is a partial one, manifests that it does not have are not wanted, nor their bundles.
    pub(super) fn of(tree: &Tree, is_partial: bool) -> Result<Self, PublishError> {
        let timestamp = tree.read(TIMESTAMP)?;
        let signed: Signed<signed::Timestamp> = reach::must(tree, TIMESTAMP)?;
        let mark = Mark::of(&signed);
        let mut files = BTreeMap::new();
        reach::needed_by(tree, mark.snapshot, !is_partial, &mut files)?;
        files.retain(|path, _| !is_partial || !reach::is_manifest_file(path) || tree.has(path));
        if let Some(meta) = signed.signed.snapshot() {
            let content = Named::of(meta.length, meta.hashes.get("sha256"));
            files.insert(format!("metadata/{}.snapshot.json", meta.version), content);
        }
        for path in (1..)
            .map(|n: u64| format!("metadata/{n}.root.json"))
            .take_while(|path| tree.has(path))
        {
            let bytes = tree.read(&path)?;
            let content = Named::of(bytes.len() as u64, Some(&reach::sha256_of(&bytes)));
            files.insert(path, content);
        }
        Ok(Self {
            files,
            timestamp,
            mark,
            signed,
        })
    }

    /// Whether machines that know only the newest root that is `there` accept this state.
    pub(super) fn is_bridged(&self, tree: &Tree, there: &BTreeMap<String, u64>) -> Result<bool, PublishError> {
        let known = there
            .keys()
            .filter(|path| is_root(path))
            .max_by_key(|path| root_version(path));
        let Some(path) = known.filter(|path| tree.has(path)) else {
            return Ok(false);
        };
        let root: Signed<Root> = reach::must(tree, path)?;
        let snapshot_path = format!("metadata/{}.snapshot.json", self.mark.snapshot);
        let snapshot: Signed<Snapshot> = reach::must(tree, &snapshot_path)?;
        let targets = snapshot.signed.meta.get("targets.json").map_or(0, |meta| meta.version);
        let targets: Signed<Targets> = reach::must(tree, &format!("metadata/{targets}.targets.json"))?;
        let is_signed = |role: &str, signatures: &[crate::keys::Signature]| {
            let by = |keys: &RoleKeys| {
                let has_signed = |id: &&String| signatures.iter().any(|signature| signature.keyid == **id);
                keys.keyids.iter().filter(has_signed).count() >= keys.threshold
            };
            root.signed.roles.get(role).is_some_and(by)
        };
        Ok(is_signed("timestamp", &self.signed.signatures)
            && is_signed("snapshot", &snapshot.signatures)
            && is_signed("targets", &targets.signatures))
    }
}

/// What is there.
#[derive(Debug)]
pub(super) enum Theirs {
    /// Nothing yet.
    Nothing,
    /// The state to be written.
    Current(Mark),
    /// A state that came before, with the metadata that it names, as far as it is still known here.
    Former(Mark, BTreeMap<String, Named>),
}

impl Theirs {
    /// Finds out by the timestamp that is there. The inner error is a state that ours does not come after.
    pub(super) fn of(
        tree: &Tree,
        wanted: &Wanted,
        timestamp: Option<&[u8]>,
    ) -> Result<Result<Self, Conflict>, PushError> {
        let Some(bytes) = timestamp else {
            return Ok(Ok(Self::Nothing));
        };
        if bytes == wanted.timestamp {
            return Ok(Ok(Self::Current(wanted.mark.clone())));
        }
        let Ok(signed) = serde_json::from_slice::<Signed<signed::Timestamp>>(bytes) else {
            return Ok(Err(Conflict::NoTimestamp));
        };
        let theirs = Mark::of(&signed);
        let diverged = Conflict::Diverged {
            ours: wanted.mark.clone(),
            theirs: theirs.clone(),
        };
        if theirs.timestamp >= wanted.mark.timestamp || theirs.snapshot > wanted.mark.snapshot {
            return Ok(Err(diverged));
        }
        // Numbers alone prove nothing: two publishers count on from the same one.
        let path = format!("metadata/{}.snapshot.json", theirs.snapshot);
        let mut known = BTreeMap::new();
        if tree.has(&path) {
            let own = reach::sha256_of(&tree.read(&path).map_err(PublishError::from)?);
            let meta = signed.signed.snapshot();
            if meta.and_then(|meta| meta.hashes.get("sha256")) != Some(&own) {
                return Ok(Err(diverged));
            }
            reach::needed_by(tree, theirs.snapshot, false, &mut known)?;
        } else if theirs.snapshot == wanted.mark.snapshot {
            return Ok(Err(diverged));
        }
        Ok(Ok(Self::Former(theirs, known)))
    }

    pub(super) fn is_current(&self) -> bool {
        matches!(self, Self::Current(_))
    }

    /// Whether the file there is known to be the one of this name here.
    pub(super) fn is_ours(&self, path: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Current(_) => true,
            Self::Former(_, known) => known.contains_key(path) || is_root(path),
        }
    }

    pub(super) fn mark(&self) -> Option<Mark> {
        match self {
            Self::Nothing => None,
            Self::Current(mark) | Self::Former(mark, _) => Some(mark.clone()),
        }
    }
}
