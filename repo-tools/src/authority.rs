//! Delegation, key rotation and revocation.

pub mod change;
mod error;

use std::collections::BTreeMap;

use dkms_index::document::revocation::{Revocation, Revocations, Subject};
use dkms_index::modalias::VendorId;
use dkms_index::trust::scope::BY_ID;
use jiff::Timestamp;

use crate::files;
use crate::init::Quorum;
use crate::keys::PublicKey;
use crate::lock::Lock;
use crate::publish::release::{Request, release};
use crate::publish::{Extent, PublishError, Published, Report, content, publish_locked, write};
use crate::recovery;
use crate::repository::Repository;
use crate::roles;
use crate::signed::Signed;
use crate::stage::Stage;
use change::{Change, Wanted};

pub use error::AuthorityError;

/// Makes keys for a vendor and lets them sign manifests of that vendor's devices alone.
pub fn delegate(
    repository: &Repository,
    vendor: VendorId,
    quorum: Quorum,
    now: Timestamp,
) -> Result<Report, AuthorityError> {
    let wanted = Wanted::Delegate {
        vendor,
        keys: Vec::new(),
        quorum: Some(quorum),
    };
    sign_now(repository, &wanted, now)
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
    sign_now(repository, &Wanted::Delegate { vendor, keys, quorum }, now)
}

/// Delegates, with one key each, to the vendors of staged packages that have no role yet.
pub fn delegate_missing(repository: &Repository, now: Timestamp) -> Result<Report, AuthorityError> {
    let lock = recovery::lock(repository.path())?;
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
    let change = change::to_vendors(repository, &published, &vendors)?;
    sign_change(repository, &lock, &published, change, now)
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
    let wanted = Wanted::Rotate {
        role: role.to_owned(),
        keys: given,
        quorum,
    };
    sign_now(repository, &wanted, now)
}

/// Signs a role again, so that its lifetime begins anew; for the root that is a new root with the same keys.
///
/// # Errors
/// When there is no such role, or its keys are not at hand.
pub fn renew(repository: &Repository, role: &str, now: Timestamp) -> Result<Report, AuthorityError> {
    sign_now(repository, &Wanted::Renew { role: role.to_owned() }, now)
}

/// Makes a change with the keys that are at hand.
fn sign_now(repository: &Repository, wanted: &Wanted, now: Timestamp) -> Result<Report, AuthorityError> {
    let lock = recovery::lock(repository.path())?;
    let published = Published::load(&repository.public_dir())?;
    let change = change::plan(repository, &published, wanted, true, now)?;
    sign_change(repository, &lock, &published, change, now)
}

fn sign_change(
    repository: &Repository,
    _lock: &Lock,
    published: &Published,
    change: Change,
    now: Timestamp,
) -> Result<Report, AuthorityError> {
    let ring = repository.keys()?;
    let content = content::Content::default();
    let root = change.root.map(|root| {
        let (old, own) = (&published.root.signed.roles["root"], root.roles["root"].clone());
        Signed::sign("root", root, &[old, &own], &ring)
    });
    let root = root.transpose()?;
    let request = Request {
        content: &content,
        delegations: change.delegations,
        root: root.as_ref(),
        renew: change.renew.as_deref(),
        prepared: BTreeMap::new(),
    };
    let release = release(
        Some(published),
        published.root.clone(),
        request,
        &ring,
        &repository.config().expires_days,
        now,
    )?;
    write::write(repository, &content, &release, now)?;
    Ok(release.report)
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
