//! Signs a prepared document on a machine that has no repository: only its directory, and a key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::around::Around;
use super::document::{Body, Document};
use super::error::CeremonyError;
use super::need::{Need, check_signatures, not_its_key};
use super::sentences::sentences;
use super::set::{PUBLISHED, documents_in};
use super::status::Status;
use crate::files;
use crate::keys::KeyRing;
use crate::roles::TARGETS;
use crate::signed::{Root, SignError};

/// A document that was read and checked, and can be signed.
#[derive(Debug)]
pub struct Reading {
    path: PathBuf,
    document: Document,
    changes: Vec<String>,
    needs: Vec<Need>,
    /// Whether what it is compared with follows from a root that the caller trusts.
    is_vouched: bool,
}

impl Reading {
    /// Reads the document at `path` and what lies beside it.
    ///
    /// All in `published` has to be signed by those who had to. That only proves something with `trusted`, a root that the caller has by
    /// another way: then the roots have to follow from it.
    ///
    /// # Errors
    /// When it cannot be understood as a whole, is not newer than what it replaces, or is not what its signatures or `published` say.
    pub fn of(path: &Path, trusted: Option<&Path>, now: Timestamp) -> Result<Self, CeremonyError> {
        let document = Document::read(path)?;
        let dir = path
            .parent()
            .filter(|dir| !dir.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let trusted = trusted.map(Document::read_root).transpose()?;
        let around = published(path, dir, trusted.as_ref())?.with(&documents_in(dir)?);
        let before = around.before(&document.role);
        let (offered, before_version) = (document.body.version(), before.as_ref().map_or(0, Body::version));
        let is_next = if document.role == "root" {
            offered == before_version + 1
        } else {
            offered > before_version
        };
        if !is_next {
            return Err(CeremonyError::Version {
                path: path.to_owned(),
                role: document.role,
                offered,
                before: before_version,
            });
        }
        let needs = around.needs(&document);
        check_signatures(path, &document, &needs)?;
        Ok(Self {
            path: path.to_owned(),
            changes: sentences(&document.role, before.as_ref(), &document.body, now),
            document,
            needs,
            is_vouched: trusted.is_some(),
        })
    }

    /// Whether what it is compared with follows from a root that the caller trusts.
    pub fn is_vouched(&self) -> bool {
        self.is_vouched
    }

    /// What it changes, and how far its signatures are.
    ///
    /// # Errors
    /// When it has no canonical form.
    pub fn status(&self) -> Result<Status, SignError> {
        Status::of(self.path.clone(), &self.document, &self.needs, self.changes.clone())
    }

    /// Refuses keys that have nothing to sign here, before any of them is asked for a passphrase.
    ///
    /// # Errors
    /// When one of them has not.
    pub fn check_keys(&self, ring: &KeyRing) -> Result<(), CeremonyError> {
        let is_of_it = |id: &str| {
            self.needs
                .iter()
                .any(|need| need.keys.keyids.iter().any(|own| own == id))
        };
        match ring.ids().find(|id| !is_of_it(id)) {
            Some(id) => Err(not_its_key(&self.path, &self.document, id, &self.needs)),
            None => Ok(()),
        }
    }

    /// Signs with all keys of `ring` that have not signed yet, and writes the file.
    ///
    /// # Errors
    /// When a key is not one that signs it, or cannot be used, or the file cannot be written.
    pub fn sign(&mut self, ring: &KeyRing) -> Result<(), CeremonyError> {
        self.check_keys(ring)?;
        let message = self.document.message()?;
        for id in ring.ids() {
            if self.document.signatures.iter().all(|known| known.keyid != *id) {
                self.document.signatures.extend(ring.sign(id, &message)?);
            }
        }
        // What a program gave, or a file that does not belong to its public half, is found here and not by those who merge it.
        check_signatures(&self.path, &self.document, &self.needs)?;
        Ok(files::write_atomic(&self.path, &self.document.to_bytes())?)
    }
}

/// What is in `published` beside the document, as far as it is signed by those who had to.
fn published(path: &Path, dir: &Path, trusted: Option<&Document>) -> Result<Around, CeremonyError> {
    let dir = dir.join(PUBLISHED);
    let missing = |what: String| CeremonyError::NoBase {
        path: path.to_owned(),
        what,
        dir: dir.clone(),
    };
    if !dir.is_dir() {
        return Err(missing("all that is published".to_owned()));
    }
    let (mut roots, mut others) = (BTreeMap::new(), BTreeMap::new());
    for document in documents_in(&dir)? {
        match document.body {
            Body::Root(_) => drop(roots.insert(document.body.version(), document)),
            Body::Targets(_) => drop(others.insert(document.role.clone(), document)),
        }
    }
    let root = newest_root(&dir, &roots, trusted)?.ok_or_else(|| missing("the root".to_owned()))?;
    let mut around = Around::root(&root);
    let targets = others
        .remove(TARGETS)
        .ok_or_else(|| missing("that of role targets".to_owned()))?;
    for document in std::iter::once(targets).chain(others.into_values()) {
        check_signed(&dir, &document, &around)?;
        if let Body::Targets(body) = document.body {
            around.roles.insert(document.role, body);
        }
    }
    Ok(around)
}

/// The newest root, reached from the trusted one, or from the oldest one where none is.
fn newest_root(
    dir: &Path,
    roots: &BTreeMap<u64, Document>,
    trusted: Option<&Document>,
) -> Result<Option<Root>, CeremonyError> {
    let Some(first) = trusted.or_else(|| roots.values().next()) else {
        return Ok(None);
    };
    let mut newest: Option<Root> = None;
    for document in std::iter::once(first).chain(roots.range(first.body.version() + 1..).map(|(_, root)| root)) {
        let Body::Root(root) = &document.body else { continue };
        let (before, version) = (newest.as_ref().unwrap_or(root), root.version);
        if version > before.version + 1 {
            return Err(CeremonyError::Unvouched {
                path: dir.join(document.name()),
                why: format!("root version {} is missing between", before.version + 1),
            });
        }
        check_signed(dir, document, &Around::root(before))?;
        newest = Some(root.clone());
    }
    if let Some(same) = roots.get(&first.body.version())
        && same.message()? != first.message()?
    {
        return Err(CeremonyError::Unvouched {
            path: dir.join(same.name()),
            why: "it is not the root of this version that was given".to_owned(),
        });
    }
    Ok(newest)
}

fn check_signed(dir: &Path, document: &Document, around: &Around) -> Result<(), CeremonyError> {
    let (needs, message) = (around.needs(document), document.message()?);
    let unmet = needs.iter().find(|need| !need.is_met(&message, document));
    match unmet {
        None if !needs.is_empty() => Ok(()),
        unmet => Err(CeremonyError::Unvouched {
            path: dir.join(document.name()),
            why: match unmet {
                Some(need) => format!(
                    "it is not signed by {} of the {} keys that {} names",
                    need.keys.threshold,
                    need.keys.keyids.len(),
                    need.of
                ),
                None => "nobody delegates to its role".to_owned(),
            },
        }),
    }
}
