//! Files with private keys, and the public halves beside them.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::KeypairBytes;
use pkcs8::der::zeroize::Zeroizing;
use pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};

use super::error::KeyError;
use super::program::Program;
use super::public::PublicKey;
use super::secrets::Secrets;
use crate::files::{self, FileError};

/// Whether there is a key of this name, here or offline.
pub fn is_known(dir: &Path, name: &str) -> bool {
    ["pem", "pub", "signer"]
        .iter()
        .any(|kind| dir.join(format!("{name}.{kind}")).exists())
}

/// Makes a key file `<dir>/<name>.pem`, with its public half beside it, and returns that.
pub fn generate(dir: &Path, name: &str) -> Result<PublicKey, KeyError> {
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
pub(super) fn read_private(path: &Path) -> Result<Zeroizing<String>, KeyError> {
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

pub(super) fn is_encrypted(text: &str) -> bool {
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
}

pub(super) fn decode(path: &Path, text: &str, secrets: &Secrets) -> Result<SigningKey, KeyError> {
    if is_encrypted(text) {
        return secrets.open(path, |passphrase| {
            SigningKey::from_pkcs8_encrypted_pem(text, passphrase.as_bytes()).ok()
        });
    }
    SigningKey::from_pkcs8_pem(text).map_err(|_| KeyError::Malformed(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::ring::KeyRing;
    use super::*;

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
