//! A new repository: keys, root ceremony, and an empty first publication.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;

use crate::files;
use crate::keys::{self, KeyError, KeyRing, PublicKey, Secrets};
use crate::publish::release::{Request, release};
use crate::publish::{PublishError, content, write};
use crate::recovery;
use crate::repository::{CONFIG_FILE, Config, Repository, RepositoryError};
use dkms_index::trust::scope::CURATED;

use crate::roles::{self, DELEGATED, TARGETS, TOP_LEVEL};
use crate::signed::{Delegation, Delegations, RoleKeys, Root, SPEC_VERSION, SignError, Signed, expiry};
use crate::store::FIRST_ROOT;

/// `m/n`: m of n keys have to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quorum {
    /// How many must sign.
    pub threshold: usize,
    /// How many there are.
    pub keys: usize,
}

/// A text that is not a quorum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not of the form M/N with 1 <= M <= N <= 16, such as 2/3")]
pub struct QuorumError(String);

impl FromStr for Quorum {
    type Err = QuorumError;

    fn from_str(text: &str) -> Result<Self, QuorumError> {
        text.split_once('/')
            .and_then(|(m, n)| {
                Some(Self {
                    threshold: m.parse().ok()?,
                    keys: n.parse().ok()?,
                })
            })
            .filter(|q| (1..=q.keys).contains(&q.threshold) && q.keys <= 16)
            .ok_or_else(|| QuorumError(text.to_owned()))
    }
}

/// The properties of a new repository.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Name and lifetimes.
    pub config: Config,
    /// Keys of root.
    pub root: Quorum,
    /// Keys of targets.
    pub targets: Quorum,
    /// Keys of curated.
    pub curated: Quorum,
    /// Where the passphrases of keys come from that are there already.
    pub secrets: Arc<Secrets>,
}

/// Why no repository was made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is one already.
    #[error("{} is a repository already", .0.display())]
    Exists(PathBuf),
    /// The directory could not be laid out.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The keys could not be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The first publication failed.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The first signatures failed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl InitError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Exists(path) => Some(format!("use it as it is: `dkms-repo -C {} list`", path.display())),
            Self::Repository(e) => e.hint(),
            Self::Key(e) => e.hint(),
            Self::Publish(e) => e.hint(),
            Self::Sign(e) => e.hint(),
        }
    }
}

/// Makes keys and roles in `path`, publishes the empty index, and returns the root file that machines pin.
///
/// Keys that are there already under the names they would get (`keys/root-1.pem`) are used: those that were made elsewhere,
/// or by a run that was interrupted.
pub fn init(path: &Path, plan: &Plan, now: Timestamp) -> Result<PathBuf, InitError> {
    files::create_dir(path).map_err(PublishError::from)?;
    let _lock = recovery::lock(path).map_err(PublishError::from)?;
    if path.join(CONFIG_FILE).exists() {
        return Err(InitError::Exists(path.to_owned()));
    }
    let one = Quorum { threshold: 1, keys: 1 };
    let mut root = Root {
        kind: "root".to_owned(),
        spec_version: SPEC_VERSION.to_owned(),
        version: 1,
        expires: expiry(now, plan.config.expires_days.root),
        consistent_snapshot: true,
        keys: Default::default(),
        roles: Default::default(),
    };
    let dir = path.join("keys");
    for role in TOP_LEVEL {
        let quorum = match role {
            "root" => plan.root,
            TARGETS => plan.targets,
            _ => one,
        };
        let (keys, role_keys) = take_or_generate(&dir, role, quorum, &plan.secrets)?;
        root.keys.extend(keys);
        root.roles.insert(role.to_owned(), role_keys);
    }
    let mut delegations = Delegations::default();
    for role in DELEGATED {
        let quorum = if role == CURATED { plan.curated } else { one };
        let (keys, role_keys) = take_or_generate(&dir, role, quorum, &plan.secrets)?;
        add_delegation(&mut delegations, role, &roles::paths_of_scope(role), keys, role_keys);
    }
    let ring = KeyRing::open(&dir, Arc::clone(&plan.secrets))?;
    let root_keys = root.roles["root"].clone();
    let root = Signed::sign("root", root, &[&root_keys], &ring)?;

    let repository = Repository::lay_out(path, plan.config.clone())?;
    let mut content = content::of_revocations(&repository)?;
    content.index_of_nothing(repository.config().segment_bytes)?;
    let request = Request {
        content: &content,
        delegations: Some(delegations),
        root: Some(&root),
        renew: None,
        prepared: BTreeMap::new(),
    };
    let release = release(None, root.clone(), request, &ring, &plan.config.expires_days, now)?;
    write::write(&repository, &content, &release, now)?;
    // Written last: its presence says that the repository is complete.
    repository.save_config()?;
    Ok(repository.public_dir().join(FIRST_ROOT))
}

/// Public keys by key id.
pub(crate) type KeysById = BTreeMap<String, PublicKey>;

/// The first keys of a role, `<role>-1.pem` and on; those that are not there are made.
fn take_or_generate(
    dir: &Path,
    role: &str,
    quorum: Quorum,
    secrets: &Secrets,
) -> Result<(KeysById, RoleKeys), KeyError> {
    let key = |n: usize| {
        let name = format!("{role}-{n}");
        if let Some(public) = keys::existing(dir, &name, secrets)? {
            keys::write_public(dir, &name, &public)?;
            return Ok(public);
        }
        keys::generate(dir, &name)
    };
    let keys = (1..=quorum.keys).map(key).collect::<Result<Vec<_>, _>>()?;
    with_threshold(keys, quorum.threshold)
}

/// Makes new keys of a role: `<role>-<n>.pem`, with numbers that none of its keys ever had.
pub fn generate(dir: &Path, role: &str, quorum: Quorum) -> Result<(KeysById, RoleKeys), KeyError> {
    let keys = (0..quorum.keys)
        .map(|_| keys::generate(dir, &next_name(dir, role)))
        .collect::<Result<Vec<_>, _>>()?;
    with_threshold(keys, quorum.threshold)
}

/// The first of `<role>-<n>` that no key ever had.
pub(crate) fn next_name(dir: &Path, role: &str) -> String {
    let known = (1..)
        .take_while(|n| keys::is_known(dir, &format!("{role}-{n}")))
        .count();
    format!("{role}-{}", known + 1)
}

/// The keys by their ids, and the role that `threshold` of them sign for.
///
/// # Errors
/// When a key has no id.
pub fn with_threshold(keys: Vec<PublicKey>, threshold: usize) -> Result<(KeysById, RoleKeys), KeyError> {
    let keyids: Vec<String> = keys.iter().map(PublicKey::key_id).collect::<Result<_, _>>()?;
    let keys = keyids.iter().cloned().zip(keys).collect();
    Ok((keys, RoleKeys { keyids, threshold }))
}

/// Delegates `paths` to `role`, in place of an earlier delegation of that name.
pub fn add_delegation(delegations: &mut Delegations, role: &str, paths: &str, keys: KeysById, role_keys: RoleKeys) {
    let delegation = Delegation {
        name: role.to_owned(),
        keys: role_keys,
        paths: vec![paths.to_owned()],
        terminating: true,
    };
    match delegations.roles.iter_mut().find(|d| d.name == role) {
        Some(old) => *old = delegation,
        None => delegations.roles.push(delegation),
    }
    delegations.keys.extend(keys);
    let used = |id: &String| delegations.roles.iter().any(|d| d.keys.keyids.contains(id));
    let keys = std::mem::take(&mut delegations.keys);
    delegations.keys = keys.into_iter().filter(|(id, _)| used(id)).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quorums() {
        let check = |text: &str, expected: Option<(usize, usize)>| {
            let parsed = text.parse::<Quorum>().ok().map(|q| (q.threshold, q.keys));
            assert_eq!(parsed, expected, "{text}");
        };
        check("2/3", Some((2, 3)));
        check("1/1", Some((1, 1)));
        check("0/1", None);
        check("3/2", None);
        check("2", None);
        check("1/17", None);
    }
}
