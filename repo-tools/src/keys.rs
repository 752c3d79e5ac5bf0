//! Private keys: ed25519, one PKCS#8 PEM file each, mode 0600, in a directory of their own.
//!
//! A key belongs to a role because the signed metadata says so, not because of its file's name; the name is
//! for people. Keys that are offline are not loaded; the public half that stays beside them, `<name>.pub`, lets an error name
//! the file that is needed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, KeypairBytes};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::canonical::{CanonicalError, canonical};
use crate::files::{self, FileError};

/// Why keys could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file in the directory of keys is not a key.
    #[error("{} is not an ed25519 private key in PKCS#8 PEM", .0.display())]
    Malformed(PathBuf),
    /// A text or file that should be a public key is none.
    #[error("{0} is not an ed25519 public key: neither PEM, nor 64 hex digits, nor a .pub file of this program")]
    NotPublic(String),
    /// A file that should have a public key has a private one.
    #[error("{} has a private key; only the public one is taken", .0.display())]
    Private(PathBuf),
    /// The key could be read by others.
    #[error("private key {} can be read by others than its owner (mode {mode:03o})", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// No randomness, or the key could not be written in its format.
    #[error("no key could be made: {0}")]
    Make(String),
    /// A key file of this name is there already.
    #[error("key file {} exists already", .0.display())]
    Exists(PathBuf),
    /// A public key has no canonical form, and so no key id.
    #[error("the public key has no key id: {0}")]
    Id(#[from] CanonicalError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl KeyError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Malformed(path) => Some(format!(
                "make one with `openssl genpkey -algorithm ed25519 -out {}`",
                path.display()
            )),
            Self::NotPublic(_) => Some(
                "make a pair with `openssl genpkey -algorithm ed25519 -out vendor.pem`, and give what \
                 `openssl pkey -in vendor.pem -pubout` prints"
                    .to_owned(),
            ),
            Self::Private(path) => Some(format!(
                "keep it, and give what `openssl pkey -in {} -pubout` prints",
                path.display()
            )),
            Self::Exposed { path, .. } => Some(format!(
                "`chmod 600 {}`, and rotate the key if somebody may have read it",
                path.display()
            )),
            Self::Make(_) | Self::Id(_) => None,
            Self::Exists(path) => Some(format!("move {} away if it is not needed any more", path.display())),
            Self::File(e) => e.hint(),
        }
    }
}

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
    /// [`write_public`] writes.
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

    fn of_verifying(key: &VerifyingKey) -> Self {
        let public = hex::encode(key.to_bytes());
        Self {
            keytype: "ed25519".to_owned(),
            scheme: "ed25519".to_owned(),
            keyval: KeyValue { public },
        }
    }

    /// The SHA-256 of its canonical JSON.
    ///
    /// # Errors
    /// When it has none.
    pub fn key_id(&self) -> Result<String, CanonicalError> {
        Ok(hex::encode(Sha256::digest(canonical(self)?)))
    }
}

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The id of the key that made it.
    pub keyid: String,
    /// The signature, in hex.
    pub sig: String,
}

/// The private keys that are at hand, by key id.
#[derive(Default)]
pub struct KeyRing {
    keys: BTreeMap<String, SigningKey>,
    /// Names of files by key id, also of keys that are not at hand.
    names: BTreeMap<String, String>,
    dir: PathBuf,
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.keys.keys()).finish()
    }
}

impl KeyRing {
    /// Reads all `*.pem` of a directory; an absent directory has none.
    pub fn load(dir: &Path) -> Result<Self, KeyError> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Ok(Self {
                    dir: dir.to_owned(),
                    ..Self::default()
                });
            }
            Err(e) => return Err(FileError::on("list", dir)(e).into()),
        };
        let mut ring = Self {
            dir: dir.to_owned(),
            ..Self::default()
        };
        for entry in entries {
            let path = entry.map_err(FileError::on("list", dir))?.path();
            let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else {
                continue;
            };
            let public = match path.extension().and_then(|e| e.to_str()) {
                Some("pem") => {
                    let key = read_key(&path)?;
                    let public = PublicKey::of(&key);
                    ring.keys.insert(public.key_id()?, key);
                    Some(public)
                }
                // Used only for names in messages, so errors are ignored.
                Some("pub") => files::read(&path)
                    .ok()
                    .and_then(|bytes| serde_json::from_slice(&bytes).ok()),
                _ => None,
            };
            if let Some(public) = public {
                ring.names.insert(public.key_id()?, name.to_owned());
            }
        }
        Ok(ring)
    }

    /// The directory that it was read from.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The name of a key's file, also when the key is not at hand; a text with the key id where the name is not known.
    pub fn file_name(&self, key_id: &str) -> String {
        match self.names.get(key_id) {
            Some(name) => format!("{name}.pem"),
            None => format!("the file of key {key_id}"),
        }
    }

    /// Whether the key is at hand.
    pub fn holds(&self, key_id: &str) -> bool {
        self.keys.contains_key(key_id)
    }

    /// Signs with one of the keys at hand.
    pub fn sign(&self, key_id: &str, message: &[u8]) -> Option<Signature> {
        let key = self.keys.get(key_id)?;
        Some(Signature {
            keyid: key_id.to_owned(),
            sig: hex::encode(key.sign(message).to_bytes()),
        })
    }
}

/// Whether there is a key of this name, here or offline.
pub fn is_known(dir: &Path, name: &str) -> bool {
    ["pem", "pub"]
        .iter()
        .any(|kind| dir.join(format!("{name}.{kind}")).exists())
}

/// Makes a key file `<dir>/<name>.pem`, with its public half beside it, and returns that.
pub fn generate(dir: &Path, name: &str) -> Result<PublicKey, KeyError> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};

    if !dir.exists() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(FileError::on("create directory", dir))?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
            .map_err(FileError::on("set permissions of", dir))?;
    }
    let path = dir.join(format!("{name}.pem"));
    if path.exists() {
        return Err(KeyError::Exists(path));
    }
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|e| KeyError::Make(e.to_string()))?;
    // Without the public half, which OpenSSL before 3.0 does not read.
    let pem = KeypairBytes {
        secret_key: seed,
        public_key: None,
    }
    .to_pkcs8_pem(LineEnding::LF)
    .map_err(|e| KeyError::Make(e.to_string()))?;
    files::write_atomic_mode(&path, pem.as_bytes(), 0o600)?;
    let public = PublicKey::of(&SigningKey::from_bytes(&seed));
    write_public(dir, name, &public)?;
    Ok(public)
}

/// Writes the public half of a key, unless it is there.
pub fn write_public(dir: &Path, name: &str, public: &PublicKey) -> Result<(), KeyError> {
    let path = dir.join(format!("{name}.pub"));
    if !path.exists() {
        files::write_atomic(&path, serde_json::json!(public).to_string().as_bytes())?;
    }
    Ok(())
}

/// Reads one key file, if only its owner can.
pub fn read_key(path: &Path) -> Result<SigningKey, KeyError> {
    use std::os::unix::fs::PermissionsExt;

    let metadata = fs::metadata(path).map_err(FileError::on("read", path))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let text = String::from_utf8(files::read(path)?).map_err(|_| KeyError::Malformed(path.to_owned()))?;
    SigningKey::from_pkcs8_pem(&text).map_err(|_| KeyError::Malformed(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_generated_key_is_private_and_signs() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        let public = generate(&keys, "root-1").unwrap();
        let path = keys.join("root-1.pem");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o700);
        let ring = KeyRing::load(&keys).unwrap();
        assert!(ring.holds(&public.key_id().unwrap()));
        assert!(ring.sign(&public.key_id().unwrap(), b"x").is_some());
        assert!(ring.sign("other", b"x").is_none());
        assert!(matches!(generate(&keys, "root-1"), Err(KeyError::Exists(_))));
    }

    #[test]
    fn a_public_key_is_read_in_each_of_its_forms_and_a_private_one_is_not() {
        use ed25519_dalek::pkcs8::EncodePublicKey;
        let dir = tempfile::tempdir().unwrap();
        let public = generate(dir.path(), "vendor").unwrap();
        let key = read_key(&dir.path().join("vendor.pem")).unwrap().verifying_key();
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

    #[test]
    fn keys_that_others_can_read_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        generate(dir.path(), "k").unwrap();
        fs::set_permissions(dir.path().join("k.pem"), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            KeyRing::load(dir.path()),
            Err(KeyError::Exposed { mode: 0o640, .. })
        ));
    }
}
