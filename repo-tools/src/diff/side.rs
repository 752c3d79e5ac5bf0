//! One of the two states.

use std::collections::BTreeMap;

use dkms_index::document::record::Record;
use dkms_index::trust::Expiry;
use jiff::Timestamp as Time;
use serde_json::{Value, json};

use crate::mirror::{MirrorError, State, read_state};
use crate::publish::{PublishError, content};
use crate::reach;
use crate::repository::Repository;
use crate::signed::{RoleKeys, Root, Signed, Targets};
use crate::stage::{Stage, StageError};
use crate::store::Store;
use crate::verify::Tree;

/// Why states cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// A published state cannot be used.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// What is staged cannot be read.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// A list or document cannot be understood.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

impl DiffError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Mirror(error) => error.hint(),
            Self::Stage(error) => error.hint(),
            Self::Publish(error) => error.hint(),
        }
    }

    /// Whether it means that something is not what its signature says.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Mirror(error) if error.is_refusal())
    }
}

/// A state, as far as it is compared.
#[derive(Debug, Clone)]
pub struct Side {
    /// For people.
    pub(super) name: String,
    /// Records by name and version.
    pub(super) packages: BTreeMap<(String, String), Value>,
    pub(super) overrides: Vec<Value>,
    pub(super) revocations: Vec<Value>,
    /// Versions, ends of lifetimes and keys, where the state is signed.
    pub(super) roles: Option<BTreeMap<String, Value>>,
}

impl Side {
    /// What is published in a store.
    ///
    /// # Errors
    /// When a machine with this root would refuse it, expired metadata excepted.
    pub async fn published(store: &Store, pinned_root: &[u8], now: Time) -> Result<Self, DiffError> {
        let state = read_state(store, pinned_root, now, Expiry::AllowStale).await?;
        let roles = roles(&state)?;
        let revocations = &state.metadata.revocations().revoked;
        Ok(Self {
            revocations: revocations.iter().map(|one| json!(one)).collect(),
            roles: Some(roles),
            ..Self::of_records(store.address(), state.records)
        })
    }

    /// What is staged in a repository.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn staged(repository: &Repository) -> Result<Self, DiffError> {
        let packages = Stage::of(repository).list()?.into_iter().map(|package| package.record);
        let overrides = content::override_list(repository)?;
        let records = packages
            .map(Record::Package)
            .chain(overrides.into_iter().map(Record::Override));
        let revocations = content::revocations(repository)?.revoked;
        Ok(Self {
            revocations: revocations.iter().map(|one| json!(one)).collect(),
            ..Self::of_records("what is staged", records.collect())
        })
    }

    fn of_records(name: &str, records: Vec<Record>) -> Self {
        let mut side = Self {
            name: name.to_owned(),
            packages: BTreeMap::new(),
            overrides: Vec::new(),
            revocations: Vec::new(),
            roles: None,
        };
        for record in records {
            match record {
                Record::Package(package) => {
                    let key = (package.name.clone(), package.version.clone());
                    side.packages.insert(key, json!(package));
                }
                Record::Override(one) => side.overrides.push(json!(one)),
            }
        }
        side
    }
}

/// Version, end of lifetime and keys of every role that was read.
fn roles(state: &State) -> Result<BTreeMap<String, Value>, DiffError> {
    let tree = &state.tree;
    let versions = state.metadata.versions();
    let root_version = versions.get("root").copied().unwrap_or(1);
    let root: Signed<Root> = reach::must(tree, &format!("metadata/{root_version}.root.json"))?;
    let mut keys: BTreeMap<String, RoleKeys> = root.signed.roles;
    if let Some(version) = versions.get("targets") {
        let targets: Signed<Targets> = reach::must(tree, &format!("metadata/{version}.targets.json"))?;
        let delegations = targets.signed.delegations.unwrap_or_default();
        keys.extend(delegations.roles.into_iter().map(|role| (role.name, role.keys)));
    }
    let mut roles = BTreeMap::new();
    for (role, version) in versions {
        let keys = keys.get(&role);
        let mut known = json!({
            "version": version,
            "keys": keys.map(|keys| &keys.keyids),
            "threshold": keys.map(|keys| keys.threshold),
        });
        if let Some(expires) = expires(tree, &role, version) {
            known["expires"] = expires;
        }
        roles.insert(role, known);
    }
    Ok(roles)
}

/// The end of a role's lifetime, where its file was read.
fn expires(tree: &Tree, role: &str, version: u64) -> Option<Value> {
    let path = match role {
        "timestamp" => crate::store::TIMESTAMP.to_owned(),
        _ => format!("metadata/{version}.{role}.json"),
    };
    let document: Value = reach::must(tree, &path).ok()?;
    document["signed"].get("expires").cloned()
}
