//! What a delegation, a rotation or a renewal makes of the root and the delegations; nothing is signed here.

use dkms_index::modalias::VendorId;
use jiff::Timestamp;

use super::error::AuthorityError;
use crate::init::{self, Quorum};
use crate::keys::{PublicKey, write_public};
use crate::publish::Published;
use crate::repository::Repository;
use crate::roles::{self, TARGETS, TOP_LEVEL};
use crate::signed::{Delegations, RoleKeys, Root, expiry};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A vendor's role.
    Delegate {
        /// The vendor.
        vendor: VendorId,
        /// Its keys; without any, new ones are made.
        keys: Vec<PublicKey>,
        /// How many have to sign; none is one of all.
        quorum: Option<Quorum>,
    },
    /// Other keys of a role.
    Rotate {
        /// The role.
        role: String,
        /// Its keys; without any, new ones are made.
        keys: Vec<PublicKey>,
        /// How many have to sign; none is as many as before.
        quorum: Option<Quorum>,
    },
    /// A new lifetime of what a role has signed.
    Renew {
        /// The role.
        role: String,
    },
}

/// What has to be signed for it, besides what follows from that.
#[derive(Debug, Default)]
pub struct Change {
    /// The next root.
    pub root: Option<Root>,
    /// The next delegations of `targets`.
    pub delegations: Option<Delegations>,
    /// A role that is signed again, though nothing of it changes.
    pub renew: Option<String>,
}

impl Wanted {
    /// The words of the command that asks for it.
    pub fn words(&self) -> String {
        match self {
            Self::Delegate { vendor, .. } => format!("delegate {vendor}"),
            Self::Rotate { role, .. } => format!("rotate {role}"),
            Self::Renew { role } => format!("renew {role}"),
        }
    }

    /// The role that has to sign it before all others, where new keys would be made for it.
    pub fn maker_of_keys(&self) -> Option<&'static str> {
        match self {
            Self::Delegate { keys, .. } if keys.is_empty() => Some(TARGETS),
            Self::Rotate { role, keys, .. } if keys.is_empty() => {
                let is_top = TOP_LEVEL.contains(&role.as_str());
                Some(if is_top { "root" } else { TARGETS })
            }
            _ => None,
        }
    }
}

impl Change {
    fn of_delegations(delegations: Delegations) -> Self {
        Self {
            delegations: Some(delegations),
            ..Self::default()
        }
    }
}

/// Finds out what has to be signed. New keys are made where none are given.
///
/// With `is_signed_now`, the keys that have to sign must be at hand: nothing is made then that could not be used.
///
/// # Errors
/// When the role or its keys do not fit, or keys are missing or cannot be made.
pub fn plan(
    repository: &Repository,
    published: &Published,
    wanted: &Wanted,
    is_signed_now: bool,
    now: Timestamp,
) -> Result<Change, AuthorityError> {
    match wanted {
        Wanted::Delegate { vendor, keys, quorum } => {
            let role = roles::of_vendor(*vendor);
            if published.delegations().roles.iter().any(|d| d.name == role) {
                return Err(AuthorityError::Delegated(role));
            }
            if is_signed_now {
                check_targets_keys(repository, published)?;
            }
            delegate(repository, published, *vendor, keys, *quorum)
        }
        Wanted::Rotate { role, keys, quorum } => {
            let of_role = |old: &RoleKeys| new_keys(repository, role, old, keys, *quorum);
            rotate(repository, published, role, is_signed_now, of_role, now)
        }
        Wanted::Renew { role } if role == "root" => Ok(Change {
            root: Some(next_root(repository, published, now)),
            ..Change::default()
        }),
        Wanted::Renew { role } => {
            let delegations = published.delegations();
            let is_known = TOP_LEVEL.contains(&role.as_str()) || delegations.roles.iter().any(|d| d.name == *role);
            if !is_known {
                return Err(AuthorityError::UnknownRole(role.clone()));
            }
            Ok(Change {
                renew: Some(role.clone()),
                ..Change::default()
            })
        }
    }
}

fn delegate(
    repository: &Repository,
    published: &Published,
    vendor: VendorId,
    keys: &[PublicKey],
    quorum: Option<Quorum>,
) -> Result<Change, AuthorityError> {
    let role = roles::of_vendor(vendor);
    let one_of = |keys| Quorum { threshold: 1, keys };
    let (keys, role_keys) = if keys.is_empty() {
        init::generate(&repository.keys_dir(), &role, quorum.unwrap_or(one_of(1)))?
    } else {
        let (keys, role_keys) = given_keys(keys.to_vec(), quorum.unwrap_or(one_of(keys.len())))?;
        for (number, id) in (1..).zip(&role_keys.keyids) {
            // So that later messages name the file that is needed.
            write_public(&repository.keys_dir(), &format!("{role}-{number}"), &keys[id])?;
        }
        (keys, role_keys)
    };
    let mut delegations = published.delegations();
    let paths = roles::paths_of_scope(&roles::scope_of_vendor(vendor));
    init::add_delegation(&mut delegations, &role, &paths, keys, role_keys);
    Ok(Change::of_delegations(delegations))
}

/// Delegates to vendors that have no role yet, with one new key each, to be signed now.
///
/// # Errors
/// As [`plan`].
pub(super) fn to_vendors(
    repository: &Repository,
    published: &Published,
    vendors: &[VendorId],
) -> Result<Change, AuthorityError> {
    check_targets_keys(repository, published)?;
    let mut delegations = published.delegations();
    for vendor in vendors {
        let role = roles::of_vendor(*vendor);
        let one = Quorum { threshold: 1, keys: 1 };
        let (keys, role_keys) = init::generate(&repository.keys_dir(), &role, one)?;
        let paths = roles::paths_of_scope(&roles::scope_of_vendor(*vendor));
        init::add_delegation(&mut delegations, &role, &paths, keys, role_keys);
    }
    Ok(Change::of_delegations(delegations))
}

fn rotate(
    repository: &Repository,
    published: &Published,
    role: &str,
    is_signed_now: bool,
    of_role: impl FnOnce(&RoleKeys) -> Result<(init::KeysById, RoleKeys), AuthorityError>,
    now: Timestamp,
) -> Result<Change, AuthorityError> {
    if TOP_LEVEL.contains(&role) {
        if is_signed_now {
            published.root.signed.roles["root"].check_at_hand("root", &repository.keys()?)?;
        }
        let mut root = next_root(repository, published, now);
        let (keys, role_keys) = of_role(&root.roles[role])?;
        root.roles.insert(role.to_owned(), role_keys);
        root.keys.extend(keys);
        let used: Vec<String> = root.roles.values().flat_map(|r| r.keyids.clone()).collect();
        root.keys.retain(|id, _| used.contains(id));
        return Ok(Change {
            root: Some(root),
            ..Change::default()
        });
    }
    let mut delegations = published.delegations();
    let old = delegations.roles.iter().find(|d| d.name == role).cloned();
    let old = old.ok_or_else(|| AuthorityError::UnknownRole(role.to_owned()))?;
    if is_signed_now {
        check_targets_keys(repository, published)?;
    }
    let (keys, role_keys) = of_role(&old.keys)?;
    init::add_delegation(&mut delegations, role, &old.paths.join(""), keys, role_keys);
    Ok(Change::of_delegations(delegations))
}

/// The root with the next version and a new lifetime.
fn next_root(repository: &Repository, published: &Published, now: Timestamp) -> Root {
    let mut root = published.root.signed.clone();
    root.version += 1;
    root.expires = expiry(now, repository.config().expires_days.root);
    root
}

/// The next keys of a role: those that are given, or new ones. Public keys that are given say how many there are.
fn new_keys(
    repository: &Repository,
    role: &str,
    old: &RoleKeys,
    given: &[PublicKey],
    quorum: Option<Quorum>,
) -> Result<(init::KeysById, RoleKeys), AuthorityError> {
    if given.is_empty() {
        let as_before = Quorum {
            threshold: old.threshold,
            keys: old.keyids.len(),
        };
        return Ok(init::generate(
            &repository.keys_dir(),
            role,
            quorum.unwrap_or(as_before),
        )?);
    }
    let as_before = Quorum {
        threshold: old.threshold.min(given.len()),
        keys: given.len(),
    };
    let (keys, role_keys) = given_keys(given.to_vec(), quorum.unwrap_or(as_before))?;
    // So that later messages name the file that is needed.
    let (dir, ring) = (repository.keys_dir(), repository.keys()?);
    for id in role_keys.keyids.iter().filter(|id| !ring.is_named(id)) {
        write_public(&dir, &init::next_name(&dir, role), &keys[id])?;
    }
    Ok((keys, role_keys))
}

/// The keys of a role, if there are as many as the quorum says and each is another one: one key twice would count for two.
fn given_keys(keys: Vec<PublicKey>, quorum: Quorum) -> Result<(init::KeysById, RoleKeys), AuthorityError> {
    let (wanted, given) = (quorum.keys, keys.len());
    if wanted != given {
        return Err(AuthorityError::KeyCount { wanted, given });
    }
    let (keys, role_keys) = init::with_threshold(keys, quorum.threshold)?;
    let ids = &role_keys.keyids;
    match (1..ids.len()).find(|&at| ids[..at].contains(&ids[at])) {
        Some(at) => Err(AuthorityError::SameKey(ids[at].clone())),
        None => Ok((keys, role_keys)),
    }
}

/// Whether `targets` can be signed, before new keys are generated.
fn check_targets_keys(repository: &Repository, published: &Published) -> Result<(), AuthorityError> {
    let ring = repository.keys()?;
    Ok(published.root.signed.roles[TARGETS].check_at_hand(TARGETS, &ring)?)
}
