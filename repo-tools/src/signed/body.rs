//! The signed parts of the four kinds of metadata.

use std::collections::BTreeMap;

use jiff::{Timestamp as Time, ToSpan};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::keys::PublicKey;

/// The TUF specification that the files follow.
pub const SPEC_VERSION: &str = "1.0.31";

/// What all four kinds have in common.
pub trait Body: Serialize {
    /// The version.
    fn version(&self) -> u64;
    /// When it expires.
    fn expires(&self) -> Time;
}

macro_rules! body {
    ($($kind:ty),*) => {$(
        impl Body for $kind {
            fn version(&self) -> u64 {
                self.version
            }
            fn expires(&self) -> Time {
                self.expires
            }
        }
    )*};
}

body!(Root, Targets, Snapshot, Timestamp);

/// The end of a lifetime that begins now, in whole seconds as TUF wants it.
pub fn expiry(now: Time, days: u32) -> Time {
    let end = now.checked_add((i64::from(days) * 24).hours()).unwrap_or(Time::MAX);
    Time::from_second(end.as_second()).unwrap_or(Time::MAX)
}

/// Keys and threshold of a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleKeys {
    /// The ids of the keys that may sign.
    pub keyids: Vec<String>,
    /// How many of them must sign.
    pub threshold: usize,
}

/// `root`: who may sign what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// `root`.
    #[serde(rename = "_type")]
    pub kind: String,
    /// [`SPEC_VERSION`].
    pub spec_version: String,
    /// Counts up by one.
    pub version: u64,
    /// End of its lifetime.
    pub expires: Time,
    /// Always true.
    pub consistent_snapshot: bool,
    /// All keys of `roles`, by key id.
    pub keys: BTreeMap<String, PublicKey>,
    /// `root`, `targets`, `snapshot`, `timestamp`.
    pub roles: BTreeMap<String, RoleKeys>,
}

/// `targets` and every role it delegates to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Targets {
    /// `targets`.
    #[serde(rename = "_type")]
    pub kind: String,
    /// [`SPEC_VERSION`].
    pub spec_version: String,
    /// Counts up.
    pub version: u64,
    /// End of its lifetime.
    pub expires: Time,
    /// Its targets, by target path.
    pub targets: BTreeMap<String, Target>,
    /// The roles that it delegates to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegations: Option<Delegations>,
}

/// A target file of a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// In bytes.
    pub length: u64,
    /// `sha256`.
    pub hashes: BTreeMap<String, String>,
    /// The `custom` object of TUF.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<Value>,
}

impl Target {
    /// The entry of a file with this content.
    pub fn of(bytes: &[u8], custom: Option<Value>) -> Self {
        Self {
            length: bytes.len() as u64,
            hashes: sha256(bytes),
            custom,
        }
    }

    /// Where the file of the target at `path` lies below `targets/`: `dir/HASH.name`.
    pub fn file_path(&self, path: &str) -> String {
        let sha256 = self.sha256();
        match path.rsplit_once('/') {
            Some((dir, name)) => format!("{dir}/{sha256}.{name}"),
            None => format!("{sha256}.{path}"),
        }
    }

    /// Its SHA-256 in hex.
    pub fn sha256(&self) -> &str {
        self.hashes.get("sha256").map_or("", String::as_str)
    }
}

/// The roles that a role delegates to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegations {
    /// All keys of `roles`, by key id.
    pub keys: BTreeMap<String, PublicKey>,
    /// In the order in which they are searched.
    pub roles: Vec<Delegation>,
}

/// One delegated role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegation {
    /// Its name.
    pub name: String,
    /// Who may sign, and how many must.
    #[serde(flatten)]
    pub keys: RoleKeys,
    /// The target paths that it may sign; `*` does not match `/`.
    pub paths: Vec<String>,
    /// Whether the search ends here when it does not list the path.
    pub terminating: bool,
}

/// What one metadata file says of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Its version.
    pub version: u64,
    /// In bytes.
    pub length: u64,
    /// `sha256`.
    pub hashes: BTreeMap<String, String>,
}

impl Meta {
    /// The entry of a file with this version and content.
    pub fn of(version: u64, bytes: &[u8]) -> Self {
        Self {
            version,
            length: bytes.len() as u64,
            hashes: sha256(bytes),
        }
    }
}

/// `snapshot`: the versions of all roles that belong together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// `snapshot`.
    #[serde(rename = "_type")]
    pub kind: String,
    /// [`SPEC_VERSION`].
    pub spec_version: String,
    /// Counts up.
    pub version: u64,
    /// End of its lifetime.
    pub expires: Time,
    /// By file name.
    pub meta: BTreeMap<String, Meta>,
}

/// `timestamp`: which snapshot is the newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timestamp {
    /// `timestamp`.
    #[serde(rename = "_type")]
    pub kind: String,
    /// [`SPEC_VERSION`].
    pub spec_version: String,
    /// Counts up.
    pub version: u64,
    /// End of its lifetime.
    pub expires: Time,
    /// When it was signed: a lower bound of the time for machines without a good clock. Ours; TUF ignores it.
    pub issued: Time,
    /// `snapshot.json`.
    pub meta: BTreeMap<String, Meta>,
}

impl Timestamp {
    /// What it says of the snapshot; none where somebody else wrote something else.
    pub fn snapshot(&self) -> Option<&Meta> {
        self.meta.get("snapshot.json")
    }

    /// The version of the snapshot; 0 where it names none.
    pub fn snapshot_version(&self) -> u64 {
        self.snapshot().map_or(0, |meta| meta.version)
    }
}

fn sha256(bytes: &[u8]) -> BTreeMap<String, String> {
    BTreeMap::from([("sha256".to_owned(), hex::encode(Sha256::digest(bytes)))])
}
