//! Private keys: ed25519, one PKCS#8 PEM file each, mode 0600, in a directory of their own.
//!
//! A key belongs to a role because the signed metadata says so, not because of its file's name; the name is
//! for people. Keys that are offline are not loaded; the public half that stays beside them, `<name>.pub`, lets an error name
//! the file that is needed. A file may be encrypted by a passphrase ([`Secrets`]), and a key may be one that only another program has:
//! `<name>.signer` (`program`).

mod error;
mod file;
mod passphrase;
mod program;
mod public;
mod ring;
mod secrets;

pub use error::KeyError;
pub use file::{encrypt, existing, generate, is_known, write_public};
pub use passphrase::{Passphrase, VARIABLE};
pub use public::PublicKey;
pub use ring::{KeyRing, Signature};
pub use secrets::Secrets;
