//! Takes the signatures of several people, and publishes when they are enough.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::document::{Body, Document};
use super::error::CeremonyError;
use super::need::check_signatures;
use super::sentences::{differences, disagreements};
use super::set::{Set, home};
use super::status::SetStatus;
use crate::files;
use crate::publish::release::{self, Release, Request};
use crate::publish::{Published, Report, content, write};
use crate::recovery;
use crate::repository::Repository;
use crate::roles::TARGETS;
use crate::signed::{Root, Signed, Targets};
use crate::stage::Stage;

/// What came of a merge.
#[derive(Debug, Default, Serialize)]
pub struct Merged {
    /// The changes that were published, by number, with what that did.
    pub published: BTreeMap<u64, Report>,
    /// The changes that wait for signatures.
    pub waiting: Vec<SetStatus>,
}

/// Takes the signatures of these files, and publishes each prepared change that has enough of them. Without files, it tells what waits, and
/// publishes what has enough.
///
/// `with_old` waits for the old keys of roles that get new ones, too, so that no machine is refused.
///
/// # Errors
/// When a file is not what was prepared, or a signature does not fit: then nothing of any file is taken. When a change cannot be published:
/// then its signatures are kept.
pub fn merge(
    repository: &Repository,
    paths: &[PathBuf],
    with_old: bool,
    now: Timestamp,
) -> Result<Merged, CeremonyError> {
    let _lock = recovery::lock(repository.path())?;
    let mut published = Published::load(&repository.public_dir())?;
    let mut sets = Vec::new();
    for set in Set::all(repository)? {
        // Published by a run that was killed before it could remove it.
        if set.documents.iter().all(|document| is_published(&published, document)) {
            set.remove(repository)?;
        } else {
            sets.push(set);
        }
    }
    take(&mut sets, &published, paths)?;
    let mut merged = Merged::default();
    for set in sets {
        let status = set.status(&published, now)?;
        if status.is_complete(with_old) {
            let report = publish_set(repository, &published, &set, now)?;
            set.remove(repository)?;
            merged.published.insert(set.number, report);
            published = Published::load(&repository.public_dir())?;
        } else {
            merged.waiting.push(status);
        }
    }
    Ok(merged)
}

/// Forgets a prepared change, and the signatures that it has.
///
/// # Errors
/// When there is none of this number, or it cannot be removed.
pub fn drop_set(repository: &Repository, number: u64) -> Result<(), CeremonyError> {
    let _lock = recovery::lock(repository.path())?;
    // Also one that cannot be read.
    let dir = home(repository).join(number.to_string());
    if !dir.is_dir() {
        return Err(CeremonyError::NoSet(number));
    }
    Ok(files::remove_dir(&dir, &home(repository))?)
}

fn is_published(published: &Published, document: &Document) -> bool {
    match &document.body {
        Body::Root(root) => published.root.signed == *root,
        Body::Targets(targets) => published
            .roles
            .get(&document.role)
            .is_some_and(|role| role.signed == *targets),
    }
}

/// Puts the signatures of all files into the sets, on disk when all of them were verified.
fn take(sets: &mut [Set], published: &Published, paths: &[PathBuf]) -> Result<(), CeremonyError> {
    let mut changed: Vec<(usize, usize)> = Vec::new();
    for path in paths {
        let given = Document::read(path)?;
        let (set, at) = place(sets, published, path, &given)?;
        let needs = sets[set].around(published).needs(&given);
        check_signatures(path, &given, &needs)?;
        let document = &mut sets[set].documents[at];
        for signature in given.signatures {
            if document.signatures.iter().all(|known| known.keyid != signature.keyid) {
                document.signatures.push(signature);
            }
        }
        changed.push((set, at));
    }
    for (set, at) in changed {
        let document = &sets[set].documents[at];
        files::write_atomic(&sets[set].dir.join(document.name()), &document.to_bytes())?;
    }
    Ok(())
}

/// The prepared document that is this one.
fn place(sets: &[Set], published: &Published, path: &Path, given: &Document) -> Result<(usize, usize), CeremonyError> {
    let (role, version) = (&given.role, given.body.version());
    for (number, set) in sets.iter().enumerate() {
        let same = |document: &Document| document.role == *role && document.body.version() == version;
        let Some(at) = set.documents.iter().position(same) else {
            continue;
        };
        let prepared = &set.documents[at];
        if prepared.message()? == given.message()? {
            return Ok((number, at));
        }
        return Err(CeremonyError::OtherBytes {
            path: path.to_owned(),
            role: role.clone(),
            version,
            dir: set.dir.clone(),
            differences: disagreements(&prepared.body, &given.body),
        });
    }
    let before = published_version(published, role);
    if before >= version {
        return Err(CeremonyError::Version {
            path: path.to_owned(),
            role: role.clone(),
            offered: version,
            before,
        });
    }
    Err(CeremonyError::NotPrepared(path.to_owned()))
}

fn published_version(published: &Published, role: &str) -> u64 {
    if role == "root" {
        return published.root.signed.version;
    }
    published.roles.get(role).map_or(0, |signed| signed.signed.version)
}

fn publish_set(
    repository: &Repository,
    published: &Published,
    set: &Set,
    now: Timestamp,
) -> Result<Report, CeremonyError> {
    check_current(published, set, now)?;
    let content = if set.purpose.publishes_staged {
        content::of_stage(repository, &Stage::of(repository), published)?
    } else {
        content::Content::default()
    };
    let (root, prepared) = parts(set);
    let delegations = prepared
        .get(TARGETS)
        .and_then(|targets| targets.signed.delegations.clone());
    let delegations = delegations.unwrap_or_else(|| published.delegations());
    let new_root = root.as_ref().map_or(&published.root.signed, |root| &root.signed);
    let next = release::next(Some(published), &delegations, new_root, &content);
    for (role, signed) in &prepared {
        let mut body = next.iter().find(|next| next.role == role).map(|next| next.body.clone());
        // These two are the document's own.
        if let Some(body) = &mut body {
            (body.version, body.expires) = (signed.signed.version, signed.signed.expires);
        }
        if body.as_ref() != Some(&signed.signed) {
            let now = body.map(Body::Targets);
            let lines = now.map(|now| differences(Some(&Body::Targets(signed.signed.clone())), &now));
            return Err(CeremonyError::Differs {
                dir: set.dir.clone(),
                role: role.clone(),
                differences: lines.unwrap_or_else(|| vec!["Nobody delegates to it.".to_owned()]),
            });
        }
    }
    let request = Request {
        content: &content,
        delegations: Some(delegations),
        root: root.as_ref(),
        renew: None,
        prepared,
    };
    let release = release::release(
        Some(published),
        published.root.clone(),
        request,
        &repository.keys()?,
        &repository.config().expires_days,
        now,
    )?;
    let new_files = write::write(repository, &content, &release, now)?;
    let Release { report, .. } = release;
    Ok(Report { new_files, ..report })
}

/// Refuses what the repository has overtaken, and what has expired.
fn check_current(published: &Published, set: &Set, now: Timestamp) -> Result<(), CeremonyError> {
    for document in &set.documents {
        let (role, version) = (&document.role, document.body.version());
        let before = published_version(published, role);
        if before + 1 != version {
            return Err(CeremonyError::Moved {
                dir: set.dir.clone(),
                role: role.clone(),
                offered: version,
                before,
            });
        }
        if document.body.expires() <= now {
            return Err(CeremonyError::Expired {
                dir: set.dir.clone(),
                role: role.clone(),
                version,
                expired: document.body.expires(),
            });
        }
    }
    Ok(())
}

/// Its root, and its other documents by role.
fn parts(set: &Set) -> (Option<Signed<Root>>, BTreeMap<String, Signed<Targets>>) {
    let (mut root, mut roles) = (None, BTreeMap::new());
    for document in &set.documents {
        let signatures = document.signatures.clone();
        match &document.body {
            Body::Root(signed) => {
                root = Some(Signed {
                    signatures,
                    signed: signed.clone(),
                });
            }
            Body::Targets(signed) => {
                let signed = signed.clone();
                roles.insert(document.role.clone(), Signed { signatures, signed });
            }
        }
    }
    (root, roles)
}
