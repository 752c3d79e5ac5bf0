//! Fixes the bytes that others have to sign.

use jiff::Timestamp;

use super::document::Document;
use super::error::CeremonyError;
use super::set::{Purpose, Set};
use super::status::SetStatus;
use crate::authority::change::{self, Change, Wanted};
use crate::keys::KeyRing;
use crate::publish::{Published, content, release};
use crate::recovery;
use crate::repository::Repository;
use crate::roles::{INDEX, REVOCATIONS, TARGETS};
use crate::signed::{RoleKeys, SignError, Signed};
use crate::stage::Stage;

/// Prepares a change, or the publication of what is staged where none is given, for the signatures of keys that are not here. Those that
/// are here sign at once. Nothing of it is published.
///
/// # Errors
/// When the change cannot be made, when nobody else has to sign it, or when another one is prepared for the same versions.
pub fn prepare(repository: &Repository, wanted: Option<&Wanted>, now: Timestamp) -> Result<SetStatus, CeremonyError> {
    let _lock = recovery::lock(repository.path())?;
    let published = Published::load(&repository.public_dir())?;
    let sets = Set::all(repository)?;
    if let Some(wanted) = wanted {
        check_anybody_else(repository, &published, wanted)?;
    }
    let change = match wanted {
        Some(wanted) => change::plan(repository, &published, wanted, false, now)?,
        None => Change::default(),
    };
    let documents = documents(repository, &published, change, wanted.is_none(), now)?;
    for document in &documents {
        let same = |set: &&Set| {
            let other = set.document(&document.role);
            other.is_some_and(|other| other.body.version() == document.body.version())
        };
        if let Some(set) = sets.iter().find(same) {
            return Err(CeremonyError::PreparedAlready {
                role: document.role.clone(),
                version: document.body.version(),
                dir: set.dir.clone(),
            });
        }
    }
    let number = sets.last().map_or(1, |set| set.number + 1);
    let purpose = Purpose {
        what: wanted.map_or_else(|| "publish".to_owned(), Wanted::words),
        publishes_staged: wanted.is_none(),
    };
    // Looked at before it is kept: what all sign who are here is published by the command itself.
    let candidate = Set {
        number,
        dir: repository.keys_dir(),
        purpose: purpose.clone(),
        documents: documents.clone(),
    };
    if candidate.status(&published, now)?.is_complete(false) {
        return Err(CeremonyError::NothingToSign(repository.keys_dir()));
    }
    let set = Set::create(repository, number, purpose, documents, &published, now)?;
    set.status(&published, now)
}

/// Refuses to make new keys for a change that nobody else has to sign.
fn check_anybody_else(repository: &Repository, published: &Published, wanted: &Wanted) -> Result<(), CeremonyError> {
    let maker = wanted
        .maker_of_keys()
        .and_then(|role| Some((role, published.root.signed.roles.get(role)?)));
    match maker {
        Some((role, keys)) if keys.check_at_hand(role, &repository.keys()?).is_ok() => {
            Err(CeremonyError::NothingToSign(repository.keys_dir()))
        }
        _ => Ok(()),
    }
}

fn documents(
    repository: &Repository,
    published: &Published,
    change: Change,
    publishes_staged: bool,
    now: Timestamp,
) -> Result<Vec<Document>, CeremonyError> {
    let ring = repository.keys()?;
    let expires = &repository.config().expires_days;
    let content = if publishes_staged {
        content::of_stage(repository, &Stage::of(repository), published)?
    } else {
        content::Content::default()
    };
    let (old_root, mut documents) = (&published.root.signed, Vec::new());
    let root = change.root.unwrap_or_else(|| old_root.clone());
    if root != *old_root {
        let (old, own) = (&old_root.roles["root"], root.roles["root"].clone());
        let signed = by_those_here("root", Signed::unsigned(root.clone()), &[old, &own], &ring)?;
        documents.push(Document::of_root(signed));
    }
    let delegations = change.delegations.unwrap_or_else(|| published.delegations());
    for next in release::next(Some(published), &delegations, &root, &content) {
        let (role, Some(authority)) = (next.role, next.authority) else {
            continue;
        };
        let is_due = publishes_staged && next.is_due(expires, now);
        let has_to_be = next.has_changed() || is_due || change.renew.as_deref() == Some(role);
        // The online roles are signed when it is published.
        if [INDEX, REVOCATIONS].contains(&role) || next.is_awaiting(&ring) || !has_to_be {
            continue;
        }
        // So is what only keys sign that are here; but not `targets`, which has the delegations that were asked for.
        if role != TARGETS && authority.check_at_hand(role, &ring).is_ok() {
            continue;
        }
        let outgoing = old_root.roles.get(role).filter(|_| role == TARGETS);
        let authorities: Vec<&RoleKeys> = std::iter::once(authority).chain(outgoing).collect();
        let body = Signed::unsigned(next.renewed(expires, now));
        let signed = by_those_here(role, body, &authorities, &ring)?;
        documents.push(Document::of_targets(role, signed));
    }
    Ok(documents)
}

/// Signs with all keys at hand.
fn by_those_here<T: crate::signed::Body>(
    role: &str,
    mut signed: Signed<T>,
    authorities: &[&RoleKeys],
    ring: &KeyRing,
) -> Result<Signed<T>, SignError> {
    for authority in authorities {
        signed.sign_also(role, authority, ring)?;
    }
    Ok(signed)
}
