//! Who has to sign a document.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::document::Document;
use super::error::CeremonyError;
use crate::keys::PublicKey;
use crate::signed::RoleKeys;

/// Keys of which some have to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Which metadata says so: `root version 4`.
    pub of: String,
    /// How many, of which.
    pub keys: RoleKeys,
    /// The keys.
    pub public: BTreeMap<String, PublicKey>,
    /// Whether nothing can be published without it. The old keys of a role under a new root only spare some machines a refusal.
    pub is_required: bool,
}

impl Need {
    /// Its keys of which `document` has a signature that fits; each counts once.
    pub fn signed_by(&self, message: &[u8], document: &Document) -> BTreeSet<String> {
        let fits = |id: &&String| {
            let mut by_it = document.signatures.iter().filter(|signature| signature.keyid == **id);
            let key = self.public.get(*id);
            key.is_some_and(|key| by_it.any(|signature| key.verifies(message, &signature.sig)))
        };
        self.keys.keyids.iter().filter(fits).cloned().collect()
    }

    /// Whether enough have signed.
    pub fn is_met(&self, message: &[u8], document: &Document) -> bool {
        self.signed_by(message, document).len() >= self.keys.threshold
    }
}

/// Checks every signature of a document: it has to fit, by a key that has to sign it.
///
/// # Errors
/// When one does not.
pub(super) fn check_signatures(path: &Path, document: &Document, needs: &[Need]) -> Result<(), CeremonyError> {
    let message = document.message()?;
    for signature in &document.signatures {
        let key = needs.iter().find_map(|need| {
            let is_of_it = need.keys.keyids.contains(&signature.keyid);
            is_of_it.then(|| need.public.get(&signature.keyid)).flatten()
        });
        let Some(key) = key else {
            return Err(not_its_key(path, document, &signature.keyid, needs));
        };
        if !key.verifies(&message, &signature.sig) {
            return Err(CeremonyError::BadSignature {
                path: path.to_owned(),
                key: signature.keyid.clone(),
            });
        }
    }
    Ok(())
}

/// The error about a key that has nothing to sign in `document`.
pub(super) fn not_its_key(path: &Path, document: &Document, key: &str, needs: &[Need]) -> CeremonyError {
    let keys: BTreeSet<&String> = needs.iter().flat_map(|need| &need.keys.keyids).collect();
    CeremonyError::NotItsKey {
        path: path.to_owned(),
        role: document.role.clone(),
        version: document.body.version(),
        key: key.to_owned(),
        keys: keys.into_iter().cloned().collect(),
    }
}
