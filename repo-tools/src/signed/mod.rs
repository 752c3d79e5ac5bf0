//! TUF 1.0 metadata as it is written: types, canonical JSON, signatures.

mod body;

use std::path::PathBuf;

use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sigstore_tuf::canonical_json::to_canonical_bytes;

pub use body::{
    Body, Delegation, Delegations, Meta, RoleKeys, Root, SPEC_VERSION, Snapshot, Target, Targets, Timestamp, expiry,
};

use crate::keys::KeyRing;

/// A public key as metadata shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    keytype: String,
    scheme: String,
    keyval: KeyValue,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeyValue {
    public: String,
}

impl PublicKey {
    /// The public half of `key`.
    pub fn of(key: &SigningKey) -> Self {
        let public = hex::encode(key.verifying_key().to_bytes());
        Self {
            keytype: "ed25519".to_owned(),
            scheme: "ed25519".to_owned(),
            keyval: KeyValue { public },
        }
    }

    /// The SHA-256 of its canonical JSON.
    pub fn key_id(&self) -> String {
        hex::encode(Sha256::digest(canonical(self)))
    }
}

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Whose.
    pub keyid: String,
    /// In hex.
    pub sig: String,
}

/// A metadata file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed<T> {
    /// By all keys that were at hand.
    pub signatures: Vec<Signature>,
    /// What they cover, as canonical JSON.
    pub signed: T,
}

/// Too few of a role's keys are at hand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("sign {role}: {held} of its keys are at hand, {threshold} are needed")]
pub struct SignError {
    /// The role.
    pub role: String,
    /// Keys at hand.
    pub held: usize,
    /// Keys needed.
    pub threshold: usize,
    /// The files of the others; those whose names are not known by their key ids.
    pub missing: Vec<String>,
    /// Where they belong.
    pub keys_dir: PathBuf,
}

impl SignError {
    /// The way out.
    pub fn hint(&self) -> Option<String> {
        let more = self.threshold.saturating_sub(self.held);
        Some(format!(
            "put {more} of these private keys into {}, and take them offline again afterwards: {}",
            self.keys_dir.display(),
            self.missing.join(", ")
        ))
    }
}

impl RoleKeys {
    /// Whether enough of the keys are at hand to sign for `role`.
    pub fn check_at_hand(&self, role: &str, ring: &KeyRing) -> Result<(), SignError> {
        let (held, missing): (Vec<&String>, Vec<&String>) = self.keyids.iter().partition(|id| ring.holds(id));
        if held.len() >= self.threshold {
            return Ok(());
        }
        Err(SignError {
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
        let message = canonical(&signed);
        let mut signatures: Vec<Signature> = Vec::new();
        for authority in authorities {
            authority.check_at_hand(role, ring)?;
            for id in &authority.keyids {
                if !signatures.iter().any(|s| s.keyid == *id) {
                    signatures.extend(ring.sign(id, &message));
                }
            }
        }
        Ok(Self { signatures, signed })
    }

    /// Signs with those keys of another authority that are at hand, too, and tells how many of its keys have signed.
    pub fn sign_also(&mut self, authority: &RoleKeys, ring: &KeyRing) -> usize {
        let message = canonical(&self.signed);
        for id in &authority.keyids {
            if !self.signatures.iter().any(|s| s.keyid == *id) {
                self.signatures.extend(ring.sign(id, &message));
            }
        }
        let signed = |id: &&String| self.signatures.iter().any(|s| s.keyid == **id);
        authority.keyids.iter().filter(signed).count()
    }

    /// The file: compact, and nothing behind the closing brace, so that no byte of it can be spared.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::json!(self).to_string().into_bytes()
    }
}

/// Canonical JSON of one of our own types, which have string keys and integers only.
fn canonical(value: &impl Serialize) -> Vec<u8> {
    to_canonical_bytes(&serde_json::json!(value)).unwrap_or_default()
}
