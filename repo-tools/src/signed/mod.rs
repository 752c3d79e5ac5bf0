//! TUF 1.0 metadata as it is written: types, canonical JSON, signatures.

mod body;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use body::{
    Body, Delegation, Delegations, Meta, RoleKeys, Root, SPEC_VERSION, Snapshot, Target, Targets, Timestamp, expiry,
};

use crate::canonical::{CanonicalError, canonical};
use crate::keys::{KeyError, KeyRing, Signature};

/// A metadata file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed<T> {
    /// Signatures by all keys that were at hand.
    pub signatures: Vec<Signature>,
    /// The signed part; the signatures are over its canonical JSON.
    pub signed: T,
}

/// Why metadata was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// Too few of a role's keys are at hand.
    #[error("too few keys to sign role {role}: {held} of its keys are at hand, {threshold} are needed")]
    TooFewKeys {
        /// The role.
        role: String,
        /// Keys at hand.
        held: usize,
        /// Keys needed.
        threshold: usize,
        /// The files of the others; those whose names are not known by their key ids.
        missing: Vec<String>,
        /// Where they belong.
        keys_dir: PathBuf,
    },
    /// A key could not be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The metadata cannot be written as canonical JSON.
    #[error("the metadata of role {role} cannot be signed: {source}")]
    Canonical {
        /// The role.
        role: String,
        /// Why.
        source: CanonicalError,
    },
}

impl SignError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::TooFewKeys {
                held,
                threshold,
                missing,
                keys_dir,
                ..
            } => Some(format!(
                "put {} of these private keys into {}, and take them offline again afterwards: {}; or let those who have them sign \
                 elsewhere, with --prepare of publish, rotate, delegate or renew",
                threshold.saturating_sub(*held),
                keys_dir.display(),
                missing.join(", ")
            )),
            Self::Key(error) => error.hint(),
            Self::Canonical { .. } => {
                Some("correct the published metadata, or restore public/ from a mirror, and publish again".to_owned())
            }
        }
    }
}

impl RoleKeys {
    /// Whether enough of the keys are at hand to sign for `role`.
    pub fn check_at_hand(&self, role: &str, ring: &KeyRing) -> Result<(), SignError> {
        let (held, missing): (Vec<&String>, Vec<&String>) = self.keyids.iter().partition(|id| ring.holds(id));
        if held.len() >= self.threshold {
            return Ok(());
        }
        Err(SignError::TooFewKeys {
            role: role.to_owned(),
            held: held.len(),
            threshold: self.threshold,
            missing: missing.into_iter().map(|id| ring.file_name(id)).collect(),
            keys_dir: ring.dir().to_owned(),
        })
    }
}

impl<T: Body> Signed<T> {
    /// Signs a body with every key at hand of each of `authorities`, all of which must reach their threshold. A new
    /// root has two: the old keys and its own.
    pub fn sign(role: &str, signed: T, authorities: &[&RoleKeys], ring: &KeyRing) -> Result<Self, SignError> {
        let message = message(role, &signed)?;
        let mut signatures: Vec<Signature> = Vec::new();
        for authority in authorities {
            authority.check_at_hand(role, ring)?;
            for id in &authority.keyids {
                if !signatures.iter().any(|s| s.keyid == *id) {
                    signatures.extend(ring.sign(id, &message)?);
                }
            }
        }
        Ok(Self { signatures, signed })
    }

    /// A body that nobody has signed yet.
    pub fn unsigned(signed: T) -> Self {
        Self {
            signatures: Vec::new(),
            signed,
        }
    }

    /// Signs with those keys of another authority that are at hand, too, and returns how many of its keys have signed.
    ///
    /// # Errors
    /// When the body has no canonical form.
    pub fn sign_also(&mut self, role: &str, authority: &RoleKeys, ring: &KeyRing) -> Result<usize, SignError> {
        let message = message(role, &self.signed)?;
        for id in &authority.keyids {
            if !self.signatures.iter().any(|s| s.keyid == *id) {
                self.signatures.extend(ring.sign(id, &message)?);
            }
        }
        let signed = |id: &&String| self.signatures.iter().any(|s| s.keyid == **id);
        Ok(authority.keyids.iter().filter(signed).count())
    }

    /// The file: compact, and nothing behind the closing brace, so that every byte is needed.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::json!(self).to_string().into_bytes()
    }
}

/// What the signatures of a role cover.
pub(crate) fn message(role: &str, signed: &impl Serialize) -> Result<Vec<u8>, SignError> {
    canonical(signed).map_err(|source| SignError::Canonical {
        role: role.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp as Time;
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_without_a_canonical_form_is_not_signed() {
        let dir = tempfile::tempdir().unwrap();
        let public = crate::keys::generate(dir.path(), "index-1").unwrap();
        let ring = KeyRing::load(dir.path()).unwrap();
        let keys = RoleKeys {
            keyids: vec![public.key_id().unwrap()],
            threshold: 1,
        };
        let mut targets = Targets {
            kind: "targets".to_owned(),
            spec_version: SPEC_VERSION.to_owned(),
            version: 1,
            expires: Time::UNIX_EPOCH,
            targets: BTreeMap::from([(
                "index/x".to_owned(),
                Target::of(b"x", Some(json!({"decoded_length": 1}))),
            )]),
            delegations: None,
        };
        let good = Signed::sign("index", targets.clone(), &[&keys], &ring).unwrap();
        assert_eq!(good.signatures.len(), 1);
        targets.targets.insert(
            "index/y".to_owned(),
            Target::of(b"y", Some(json!({"decoded_length": 0.5}))),
        );
        let refused = Signed::sign("index", targets, &[&keys], &ring).unwrap_err();
        assert!(
            matches!(&refused, SignError::Canonical { role, .. } if role == "index"),
            "{refused}"
        );
        assert!(refused.hint().is_some());
    }
}
