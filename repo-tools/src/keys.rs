//! Private keys: ed25519, one PKCS#8 PEM file each, mode 0600, in a directory of their own.
//!
//! A key belongs to a role because the signed metadata says so, not because of its file's name; the name is
//! for people. Keys that are offline are not loaded; the public half that stays beside them, `<name>.pub`, lets an error name
//! the file that is needed. A file may be encrypted by a passphrase ([`Secrets`]), and a key may be one that only another program has:
//! `<name>.signer` (`program`).

mod program;
mod secrets;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ed25519_dalek::pkcs8::KeypairBytes;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use pkcs8::der::zeroize::Zeroizing;
use pkcs8::spki::DecodePublicKey;
use pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::canonical::{CanonicalError, canonical};
use crate::files::{self, FileError};

pub use secrets::{Passphrase, Secrets, VARIABLE};

use program::Program;

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
    /// The passphrase does not fit.
    #[error("{} cannot be decrypted: the passphrase is wrong, or the encryption is not one of PKCS#8 (PBES2)", .0.display())]
    Passphrase(PathBuf),
    /// Nobody was there to be asked.
    #[error("{} is encrypted, and no passphrase was given", .0.display())]
    NoPassphrase(PathBuf),
    /// Anybody could use the key.
    #[error("the new passphrase is empty")]
    EmptyPassphrase,
    /// A slip of the fingers would make the key useless.
    #[error("the two passphrases differ")]
    TwoPassphrases,
    /// It is no text.
    #[error("the passphrase in {0} is not UTF-8")]
    NotText(String),
    /// It has a passphrase already.
    #[error("{} is encrypted already", .0.display())]
    Encrypted(PathBuf),
    /// The public half beside it is that of another key.
    #[error("{} is not the private half of the key in the .pub file beside it", .0.display())]
    OtherHalf(PathBuf),
    /// A program that signs could not be used, or did not give a signature.
    #[error("cannot sign by {}: {why}", path.display())]
    Signer {
        /// `NAME.signer`.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Others could name another program.
    #[error("{} can be written by others than its owner", .0.display())]
    Writable(PathBuf),
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
            Self::Passphrase(_) | Self::NoPassphrase(_) => Some(format!(
                "give it on a terminal, by --passphrase-file, --passphrase-fd, or in {VARIABLE}"
            )),
            Self::EmptyPassphrase | Self::TwoPassphrases => Some("choose one and try again; nothing was changed".to_owned()),
            Self::NotText(_) => Some("give it in UTF-8, on one line".to_owned()),
            Self::Encrypted(path) => Some(format!(
                "to change its passphrase: `openssl pkcs8 -topk8 -scrypt -in {0} -out {0}.new`",
                path.display()
            )),
            Self::OtherHalf(path) => Some(format!("bring the right file, or remove {}", path.with_extension("pub").display())),
            Self::Signer { .. } => Some(
                "run its command by hand: it gets what is to be signed on standard input and gives the signature on standard output"
                    .to_owned(),
            ),
            Self::Writable(path) => Some(format!("look whether it names the right program, then `chmod 644 {}`", path.display())),
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

    /// The key in hex.
    fn hex(&self) -> &str {
        &self.keyval.public
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

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The id of the key that made it.
    pub keyid: String,
    /// The signature, in hex.
    pub sig: String,
}

/// Who has a private key.
enum Holder {
    /// This program.
    Plain(Box<SigningKey>),
    /// This program, once it has the passphrase of the file.
    Encrypted(PathBuf, PublicKey),
    /// Another program.
    Program(Program),
}

/// The private keys that are at hand, by key id.
#[derive(Default)]
pub struct KeyRing {
    keys: BTreeMap<String, Holder>,
    /// Names of files by key id, also of keys that are not at hand.
    names: BTreeMap<String, String>,
    dir: PathBuf,
    secrets: Arc<Secrets>,
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.keys.keys()).finish()
    }
}

impl KeyRing {
    /// As [`KeyRing::open`], for keys that are not encrypted, or whose passphrase is in the environment or asked for.
    ///
    /// # Errors
    /// As [`KeyRing::open`].
    pub fn load(dir: &Path) -> Result<Self, KeyError> {
        Self::open(dir, Arc::default())
    }

    /// Reads all `*.pem` and `*.signer` of a directory; an absent directory has none. A file that is encrypted is decrypted when its key
    /// is needed.
    ///
    /// # Errors
    /// When one of them cannot be read, or others could read or change it.
    pub fn open(dir: &Path, secrets: Arc<Secrets>) -> Result<Self, KeyError> {
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
            secrets,
            ..Self::default()
        };
        for entry in entries {
            let path = entry.map_err(FileError::on("list", dir))?.path();
            // Used only for names in messages, so errors are ignored.
            let named = path.extension().is_some_and(|kind| kind == "pub").then(|| {
                let bytes = files::read(&path).ok()?;
                serde_json::from_slice(&bytes).ok()
            });
            let public = match named {
                Some(public) => public,
                None => ring.add(&path)?,
            };
            if let (Some(public), Some(name)) = (public, path.file_stem().and_then(|stem| stem.to_str())) {
                ring.names.insert(public.key_id()?, name.to_owned());
            }
        }
        Ok(ring)
    }

    /// The keys of these files alone, `NAME.pem` or `NAME.signer`, wherever they lie.
    ///
    /// # Errors
    /// When one of them is no key, or others could read or change it.
    pub fn of_files(paths: &[PathBuf], secrets: Arc<Secrets>) -> Result<Self, KeyError> {
        let mut ring = Self {
            secrets,
            ..Self::default()
        };
        for path in paths {
            let public = match ring.add(path)? {
                Some(public) => public,
                // Under any other name it is a file with a key.
                None => ring.add_file(path)?,
            };
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            ring.names.insert(public.key_id()?, name);
        }
        Ok(ring)
    }

    /// The ids of the keys at hand.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    /// Adds the key that a file has or names, by what its name ends in; none where that is no key's.
    fn add(&mut self, path: &Path) -> Result<Option<PublicKey>, KeyError> {
        match path.extension().and_then(|kind| kind.to_str()) {
            Some("pem") => self.add_file(path).map(Some),
            Some("signer") => {
                let name = path.file_stem().unwrap_or_default().to_string_lossy();
                let program = Program::read(path, &name)?;
                let public = program.public().clone();
                self.keys.insert(public.key_id()?, Holder::Program(program));
                Ok(Some(public))
            }
            _ => Ok(None),
        }
    }

    /// Adds the key of a file, decrypted only where it is not known otherwise which key it is.
    fn add_file(&mut self, path: &Path) -> Result<PublicKey, KeyError> {
        let text = read_private(path)?;
        let public = path.with_extension("pub");
        let (public, holder) = if is_encrypted(&text) && public.exists() {
            let public = PublicKey::read(&public.to_string_lossy())?;
            (public.clone(), Holder::Encrypted(path.to_owned(), public))
        } else {
            let key = decode(path, &text, &self.secrets)?;
            (PublicKey::of(&key), Holder::Plain(Box::new(key)))
        };
        self.keys.insert(public.key_id()?, holder);
        Ok(public)
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

    /// Whether the name of the key's file is known.
    pub fn is_named(&self, key_id: &str) -> bool {
        self.names.contains_key(key_id)
    }

    /// Whether the key is at hand.
    pub fn holds(&self, key_id: &str) -> bool {
        self.keys.contains_key(key_id)
    }

    /// Signs with one of the keys at hand; none where it is not.
    ///
    /// # Errors
    /// When it cannot be decrypted, or the program that has it gives no signature by it.
    pub fn sign(&self, key_id: &str, message: &[u8]) -> Result<Option<Signature>, KeyError> {
        let signature = match self.keys.get(key_id) {
            None => return Ok(None),
            Some(Holder::Plain(key)) => key.sign(message).to_bytes(),
            Some(Holder::Encrypted(path, public)) => {
                let key = decode(path, &read_private(path)?, &self.secrets)?;
                if PublicKey::of(&key) != *public {
                    return Err(KeyError::OtherHalf(path.clone()));
                }
                key.sign(message).to_bytes()
            }
            Some(Holder::Program(program)) => program.sign(message)?,
        };
        Ok(Some(Signature {
            keyid: key_id.to_owned(),
            sig: hex::encode(signature),
        }))
    }
}

/// Whether there is a key of this name, here or offline.
pub fn is_known(dir: &Path, name: &str) -> bool {
    ["pem", "pub", "signer"]
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
    let pem = without_public(&seed)
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

/// The public half of a key that is there already under this name, as a file or with a program; none where there is none.
///
/// # Errors
/// When it cannot be read or decrypted.
pub fn existing(dir: &Path, name: &str, secrets: &Secrets) -> Result<Option<PublicKey>, KeyError> {
    let (file, signer) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.signer")));
    if file.exists() {
        return Ok(Some(PublicKey::of(&decode(&file, &read_private(&file)?, secrets)?)));
    }
    if signer.exists() {
        return Ok(Some(Program::read(&signer, name)?.public().clone()));
    }
    Ok(None)
}

/// Encrypts a key file with a passphrase, in its place.
///
/// # Errors
/// When it is encrypted already, or cannot be read or written.
pub fn encrypt(path: &Path, secrets: &Secrets) -> Result<(), KeyError> {
    let text = read_private(path)?;
    if is_encrypted(&text) {
        return Err(KeyError::Encrypted(path.to_owned()));
    }
    let key = decode(path, &text, secrets)?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    write_public(path.parent().unwrap_or(Path::new(".")), &name, &PublicKey::of(&key))?;
    let passphrase = secrets.choose(path)?;
    let pem = without_public(&key.to_bytes())
        .to_pkcs8_encrypted_pem(passphrase.as_bytes(), LineEnding::LF)
        .map_err(|error| KeyError::Make(error.to_string()))?;
    Ok(files::write_atomic_mode(path, pem.as_bytes(), 0o600)?)
}

/// Without the public half, which OpenSSL before 3.0 does not read.
fn without_public(seed: &[u8; 32]) -> KeypairBytes {
    KeypairBytes {
        secret_key: *seed,
        public_key: None,
    }
}

/// Reads one key file, if only its owner can.
fn read_private(path: &Path) -> Result<Zeroizing<String>, KeyError> {
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
    Ok(Zeroizing::new(text))
}

fn is_encrypted(text: &str) -> bool {
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
}

fn decode(path: &Path, text: &str, secrets: &Secrets) -> Result<SigningKey, KeyError> {
    if is_encrypted(text) {
        return secrets.open(path, |passphrase| {
            SigningKey::from_pkcs8_encrypted_pem(text, passphrase.as_bytes()).ok()
        });
    }
    SigningKey::from_pkcs8_pem(text).map_err(|_| KeyError::Malformed(path.to_owned()))
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
        assert!(ring.sign(&public.key_id().unwrap(), b"x").unwrap().is_some());
        assert!(ring.sign("other", b"x").unwrap().is_none());
        assert!(matches!(generate(&keys, "root-1"), Err(KeyError::Exists(_))));
    }

    #[test]
    fn a_public_key_is_read_in_each_of_its_forms_and_a_private_one_is_not() {
        use ed25519_dalek::pkcs8::EncodePublicKey;
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
