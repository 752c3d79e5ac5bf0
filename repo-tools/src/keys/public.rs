//! Public keys, as metadata shows them and as people give them.

use std::fs;
use std::io;
use std::path::Path;

use ed25519_dalek::{SigningKey, VerifyingKey};
use pkcs8::spki::DecodePublicKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::KeyError;
use crate::canonical::{CanonicalError, canonical};
use crate::files::FileError;

/// No file with a public key is longer.
const PUBLIC_KEY_MAX_BYTES: u64 = 64 << 10;

/// The key that 64 hex digits are. None where `text` is not of that form; within, none where they are no usable key.
fn from_hex(text: &str) -> Option<Option<PublicKey>> {
    let bytes: [u8; 32] = hex::decode(text).ok()?.try_into().ok()?;
    let key = VerifyingKey::from_bytes(&bytes).ok().filter(|key| !key.is_weak());
    Some(key.as_ref().map(PublicKey::of_verifying))
}

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
        Self::of_verifying(&key.verifying_key())
    }

    /// Reads `source`: 64 hex digits, or the path of a file with such digits, with PEM (SubjectPublicKeyInfo), or with what
    /// [`super::write_public`] writes.
    ///
    /// # Errors
    /// When it is none of these, a key by which any signature can be made to fit, or a private key.
    pub fn read(source: &str) -> Result<Self, KeyError> {
        if let Some(key) = from_hex(source) {
            return key.ok_or_else(|| KeyError::NotPublic(source.to_owned()));
        }
        let path = Path::new(source);
        let malformed = || KeyError::NotPublic(path.display().to_string());
        let mut text = String::new();
        let file = fs::File::open(path).map_err(FileError::on("read", path))?;
        io::Read::read_to_string(&mut io::Read::take(file, PUBLIC_KEY_MAX_BYTES), &mut text)
            .map_err(|_| malformed())?;
        let text = text.trim();
        if text.contains("PRIVATE KEY") {
            return Err(KeyError::Private(path.to_owned()));
        }
        if let Some(key) = from_hex(text) {
            return key.ok_or_else(malformed);
        }
        if let Ok(key) = VerifyingKey::from_public_key_pem(text) {
            return (!key.is_weak()).then(|| Self::of_verifying(&key)).ok_or_else(malformed);
        }
        let own: Self = serde_json::from_str(text).map_err(|_| malformed())?;
        from_hex(&own.keyval.public)
            .flatten()
            .filter(|key| *key == own)
            .ok_or_else(malformed)
    }

    /// The key itself.
    pub(super) fn verifying(&self) -> Option<VerifyingKey> {
        let bytes: [u8; 32] = hex::decode(&self.keyval.public).ok()?.try_into().ok()?;
        VerifyingKey::from_bytes(&bytes).ok()
    }

    fn of_verifying(key: &VerifyingKey) -> Self {
        let public = hex::encode(key.to_bytes());
        Self {
            keytype: "ed25519".to_owned(),
            scheme: "ed25519".to_owned(),
            keyval: KeyValue { public },
        }
    }

    /// Whether `signature`, in hex, is one of `message` by this key.
    pub fn verifies(&self, message: &[u8], signature: &str) -> bool {
        let bytes = hex::decode(signature).ok().and_then(|bytes| bytes.try_into().ok());
        let (Some(key), Some(bytes)) = (self.verifying(), bytes) else {
            return false;
        };
        self.keytype == "ed25519"
            && self.scheme == "ed25519"
            && key
                .verify_strict(message, &ed25519_dalek::Signature::from_bytes(&bytes))
                .is_ok()
    }

    /// The SHA-256 of its canonical JSON.
    ///
    /// # Errors
    /// When it has none.
    pub fn key_id(&self) -> Result<String, CanonicalError> {
        Ok(hex::encode(Sha256::digest(canonical(self)?)))
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::pkcs8::EncodePublicKey;
    use pkcs8::LineEnding;

    use super::super::file::{decode, generate, read_private};
    use super::super::secrets::Secrets;
    use super::*;

    #[test]
    fn a_public_key_is_read_in_each_of_its_forms_and_a_private_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let public = generate(dir.path(), "vendor").unwrap();
        let path = dir.path().join("vendor.pem");
        let key = decode(&path, &read_private(&path).unwrap(), &Secrets::default())
            .unwrap()
            .verifying_key();
        let digits = hex::encode(key.to_bytes());
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let pem = key.to_public_key_pem(LineEnding::LF).unwrap();
        for source in [
            digits.clone(),
            digits.to_uppercase(),
            write("hex", &format!("{digits}\n")),
            write("pem", &pem),
            dir.path().join("vendor.pub").display().to_string(),
        ] {
            assert_eq!(PublicKey::read(&source).unwrap(), public, "{source}");
        }
        let refused = |source: &str| PublicKey::read(source).unwrap_err();
        let private = dir.path().join("vendor.pem").display().to_string();
        let error = refused(&private);
        assert!(matches!(error, KeyError::Private(_)), "{error}");
        assert!(error.hint().unwrap().contains("-pubout"));
        // The neutral element: everything would be signed by it.
        let weak = format!("01{}", "00".repeat(31));
        let other = serde_json::json!({"keytype": "rsa", "scheme": "ed25519", "keyval": {"public": digits}});
        for source in [
            weak.clone(),
            write("weak", &weak),
            write("text", "no key"),
            write("other", &other.to_string()),
        ] {
            assert!(matches!(refused(&source), KeyError::NotPublic(_)), "{source}");
        }
        assert!(matches!(refused("/no/such/file"), KeyError::File(_)));
    }
}
