//! Signing modules with a machine owner's key (MOK).

mod error;
mod keys;
mod program;
mod signer;

pub use error::SignError;
pub use keys::{KeyPair, NewKeys, certificate_path, ensure_key_pair};
pub(crate) use keys::{enrolment, warn_of_shared_key};
pub use signer::Signer;

pub(super) use signer::Signers;
