//! Delegation, key rotation and revocation.

use dkms_index::document::revocation::{Revocation, Revocations, Subject};
use dkms_index::modalias::VendorId;
use dkms_index::trust::scope::BY_ID;
use jiff::Timestamp;

use crate::files::{self, FileError};
use crate::init::{self, Quorum};
use crate::keys::{KeyError, PublicKey, write_public};
use crate::publish::release::{Request, release};
use crate::publish::{Extent, PublishError, Published, Report, content, publish_locked, write};
use crate::recovery;
use crate::repository::Repository;
use crate::roles::{self, TARGETS, TOP_LEVEL};
use crate::signed::{Delegations, RoleKeys, SignError, Signed, expiry};
use crate::stage::Stage;

/// Why a delegation, rotation or revocation failed.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The vendor has a role already.
    #[error("{0} is delegated already")]
    Delegated(String),
    /// Other numbers of public keys than the quorum says.
    #[error("the number of public keys is {given}, and --keys says {wanted}")]
    KeyCount {
        /// In the quorum.
        wanted: usize,
        /// Given.
        given: usize,
    },
    /// One public key twice.
    #[error("the public key {0} is given twice")]
    SameKey(String),
    /// No such role.
    #[error("there is no role {0}")]
    UnknownRole(String),
    /// No revocation of just this; those that there are.
    #[error("no revocation names just this")]
    NotRevoked(Vec<Revocation>),
    /// Publication failed.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Keys could not be made or read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Keys are missing.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl AuthorityError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Delegated(role) => Some(format!("to give it new keys, `dkms-repo rotate {role}`")),
            Self::KeyCount { given, .. } => Some(format!("--keys 1/{given}, or leave it out")),
            Self::SameKey(_) => Some("each signature that is needed has to be by another key".to_owned()),
            Self::UnknownRole(_) => Some("see `dkms-repo roles` for all roles".to_owned()),
            Self::NotRevoked(others) if others.is_empty() => Some("nothing is revoked".to_owned()),
            Self::NotRevoked(others) => Some(format!(
                "give bundle or name, --from and --to as one of these has them: {}",
                list(others)
            )),
            Self::Publish(e) => e.hint(),
            Self::Key(e) => e.hint(),
            Self::Sign(e) => e.hint(),
            Self::File(e) => e.hint(),
        }
    }
}

fn list(revocations: &[Revocation]) -> String {
    let end =
        |option: &str, end: &Option<String>| end.as_ref().map_or_else(String::new, |end| format!(" {option} {end}"));
    let subject = |revocation: &Revocation| match &revocation.subject {
        Subject::Bundle(hash) => format!("--bundle {hash}"),
        Subject::Package { name, from, to } => format!("{name}{}{}", end("--from", from), end("--to", to)),
    };
    revocations.iter().map(subject).collect::<Vec<_>>().join("; ")
}

/// Makes keys for a vendor and lets them sign manifests of that vendor's devices alone.
pub fn delegate(
    repository: &Repository,
    vendor: VendorId,
    quorum: Quorum,
    now: Timestamp,
) -> Result<Report, AuthorityError> {
    let _lock = recovery::lock(repository.path())?;
    let published = not_delegated(repository, vendor)?;
    delegate_all(repository, &published, &[vendor], quorum, now)
}

/// Lets a vendor sign manifests of its own devices by keys whose private halves it keeps. `quorum` has the number of `keys`; None is one of
/// them. The role signs nothing until the private keys are at hand in a publication.
pub fn delegate_to(
    repository: &Repository,
    vendor: VendorId,
    keys: Vec<PublicKey>,
    quorum: Option<Quorum>,
    now: Timestamp,
) -> Result<Report, AuthorityError> {
    let _lock = recovery::lock(repository.path())?;
    let published = not_delegated(repository, vendor)?;
    check_targets_keys(repository, &published)?;
    let one_of_all = Quorum {
        threshold: 1,
        keys: keys.len(),
    };
    let role = roles::of_vendor(vendor);
    let (keys, role_keys) = given_keys(keys, quorum.unwrap_or(one_of_all))?;
    for (number, id) in (1..).zip(&role_keys.keyids) {
        // So that later messages name the file that is needed.
        write_public(&repository.keys_dir(), &format!("{role}-{number}"), &keys[id])?;
    }
    let mut delegations = published.delegations();
    let paths = roles::paths_of_scope(&roles::scope_of_vendor(vendor));
    init::add_delegation(&mut delegations, &role, &paths, keys, role_keys);
    publish_delegations(repository, &published, delegations, now)
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

/// What is published, if the vendor has no role in it.
fn not_delegated(repository: &Repository, vendor: VendorId) -> Result<Published, AuthorityError> {
    let published = Published::load(&repository.public_dir())?;
    let role = roles::of_vendor(vendor);
    if published.delegations().roles.iter().any(|d| d.name == role) {
        return Err(AuthorityError::Delegated(role));
    }
    Ok(published)
}

/// Delegates, with one key each, to the vendors of staged packages that have no role yet.
pub fn delegate_missing(repository: &Repository, now: Timestamp) -> Result<Report, AuthorityError> {
    let _lock = recovery::lock(repository.path())?;
    let published = Published::load(&repository.public_dir())?;
    let known = published.delegations();
    let mut vendors: Vec<VendorId> = Vec::new();
    for package in Stage::of(repository).list().map_err(PublishError::from)? {
        let vendor = package
            .manifest
            .scope
            .strip_prefix(BY_ID)
            .and_then(|id| id.parse().ok());
        vendors.extend(vendor.filter(|v| !known.roles.iter().any(|d| d.name == roles::of_vendor(*v))));
    }
    vendors.sort();
    vendors.dedup();
    if vendors.is_empty() {
        return Ok(Report::default());
    }
    delegate_all(repository, &published, &vendors, Quorum { threshold: 1, keys: 1 }, now)
}

fn delegate_all(
    repository: &Repository,
    published: &Published,
    vendors: &[VendorId],
    quorum: Quorum,
    now: Timestamp,
) -> Result<Report, AuthorityError> {
    check_targets_keys(repository, published)?;
    let mut delegations = published.delegations();
    for vendor in vendors {
        let role = roles::of_vendor(*vendor);
        let (keys, role_keys) = init::generate(&repository.keys_dir(), &role, quorum)?;
        let paths = roles::paths_of_scope(&roles::scope_of_vendor(*vendor));
        init::add_delegation(&mut delegations, &role, &paths, keys, role_keys);
    }
    publish_delegations(repository, published, delegations, now)
}

fn publish_delegations(
    repository: &Repository,
    published: &Published,
    delegations: Delegations,
    now: Timestamp,
) -> Result<Report, AuthorityError> {
    let content = content::Content::default();
    let request = Request {
        content: &content,
        delegations: Some(delegations),
        root: None,
        renew_timestamp: false,
    };
    Ok(carry_out(repository, published, request, now)?)
}

/// Gives a role new keys. For a top-level role that is a new root, signed by the old root keys and the new ones.
///
/// What the role signs is signed by its old keys, too, as far as they are at hand, so that it is valid under the old root and
/// under the new one: no machine is refused, wherever its synchronisation is when the new root appears.
pub fn rotate(
    repository: &Repository,
    role: &str,
    quorum: Option<Quorum>,
    now: Timestamp,
) -> Result<Report, AuthorityError> {
    rotate_to(repository, role, Vec::new(), quorum, now)
}

/// As [`rotate`], with these keys instead of new ones, if there are any. Those that have to sign now must be at hand.
pub fn rotate_to(
    repository: &Repository,
    role: &str,
    given: Vec<PublicKey>,
    quorum: Option<Quorum>,
    now: Timestamp,
) -> Result<Report, AuthorityError> {
    let _lock = recovery::lock(repository.path())?;
    let published = Published::load(&repository.public_dir())?;
    let content = content::Content::default();
    // Public keys that are given say how many there are.
    let new_keys = |old: &RoleKeys| -> Result<_, AuthorityError> {
        if given.is_empty() {
            let asked = quorum.unwrap_or(Quorum {
                threshold: old.threshold,
                keys: old.keyids.len(),
            });
            return Ok(init::generate(&repository.keys_dir(), role, asked)?);
        }
        let as_before = Quorum {
            threshold: old.threshold.min(given.len()),
            keys: given.len(),
        };
        given_keys(given.clone(), quorum.unwrap_or(as_before))
    };
    if TOP_LEVEL.contains(&role) {
        let mut root = published.root.signed.clone();
        let old_root_keys = root.roles["root"].clone();
        old_root_keys.check_at_hand("root", &repository.keys()?)?;
        let (keys, role_keys) = new_keys(&root.roles[role])?;
        root.roles.insert(role.to_owned(), role_keys);
        root.keys.extend(keys);
        let used: Vec<String> = root.roles.values().flat_map(|r| r.keyids.clone()).collect();
        root.keys.retain(|id, _| used.contains(id));
        root.version += 1;
        root.expires = expiry(now, repository.config().expires_days.root);
        let own_keys = root.roles["root"].clone();
        let ring = repository.keys()?;
        let root = Signed::sign("root", root, &[&old_root_keys, &own_keys], &ring)?;
        let request = Request {
            content: &content,
            delegations: None,
            root: Some(&root),
            renew_timestamp: false,
        };
        return Ok(carry_out(repository, &published, request, now)?);
    }
    let mut delegations = published.delegations();
    let old = delegations.roles.iter().find(|d| d.name == role).cloned();
    let old = old.ok_or_else(|| AuthorityError::UnknownRole(role.to_owned()))?;
    check_targets_keys(repository, &published)?;
    let (keys, role_keys) = new_keys(&old.keys)?;
    init::add_delegation(&mut delegations, role, &old.paths.join(""), keys, role_keys);
    publish_delegations(repository, &published, delegations, now)
}

/// Whether `targets` can be signed, before new keys are generated.
fn check_targets_keys(repository: &Repository, published: &Published) -> Result<(), AuthorityError> {
    let ring = repository.keys()?;
    Ok(published.root.signed.roles[TARGETS].check_at_hand(TARGETS, &ring)?)
}

/// Adds a denial and publishes the list at once, with the online keys alone.
pub fn revoke(repository: &Repository, revocation: Revocation, now: Timestamp) -> Result<Report, AuthorityError> {
    let lock = recovery::lock(repository.path())?;
    let mut list: Revocations = content::revocations(repository)?;
    if !list.revoked.contains(&revocation) {
        list.revoked.push(revocation);
        write_revocations(repository, &list)?;
    }
    Ok(publish_locked(repository, &lock, Extent::Revocations, now)?)
}

/// Takes back every denial of `subject` and publishes the list at once, with the online keys alone.
///
/// # Errors
/// When nothing denies it, or the list cannot be published.
pub fn unrevoke(repository: &Repository, subject: &Subject, now: Timestamp) -> Result<Report, AuthorityError> {
    let lock = recovery::lock(repository.path())?;
    let mut list: Revocations = content::revocations(repository)?;
    let before = list.revoked.len();
    list.revoked.retain(|revocation| revocation.subject != *subject);
    if list.revoked.len() == before {
        return Err(AuthorityError::NotRevoked(list.revoked));
    }
    write_revocations(repository, &list)?;
    Ok(publish_locked(repository, &lock, Extent::Revocations, now)?)
}

fn write_revocations(repository: &Repository, list: &Revocations) -> Result<(), AuthorityError> {
    content::check_revocations(list)?;
    let text = format!("{:#}\n", serde_json::json!(list));
    files::write_atomic(&repository.path().join("revocations.json"), text.as_bytes())?;
    Ok(())
}

fn carry_out(
    repository: &Repository,
    published: &Published,
    request: Request<'_>,
    now: Timestamp,
) -> Result<Report, PublishError> {
    let ring = repository.keys()?;
    let content = request.content;
    let release = release(
        Some(published),
        published.root.clone(),
        request,
        &ring,
        &repository.config().expires_days,
        now,
    )?;
    write::write(repository, content, &release, now)?;
    Ok(release.report)
}
