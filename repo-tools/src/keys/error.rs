//! Why keys could not be read, made or used.

use std::path::PathBuf;

use super::passphrase::VARIABLE;
use crate::canonical::CanonicalError;
use crate::files::FileError;

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
