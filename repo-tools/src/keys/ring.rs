//! The private keys that are at hand.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ed25519_dalek::{Signer, SigningKey};
use serde::{Deserialize, Serialize};

use super::error::KeyError;
use super::file::{decode, is_encrypted, read_private};
use super::program::Program;
use super::public::PublicKey;
use super::secrets::Secrets;
use crate::files::{self, FileError};

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
