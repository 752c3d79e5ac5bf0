//! Why who may sign what could not be changed.

use dkms_index::document::revocation::{Revocation, Subject};

use crate::files::FileError;
use crate::keys::KeyError;
use crate::publish::PublishError;
use crate::signed::SignError;

/// Why a delegation, rotation or revocation failed.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The vendor has a role already.
    #[error("{0} is delegated already")]
    Delegated(String),
    /// Other numbers of public keys than the quorum says.
    #[error("the number of public keys is {given}, and --keys says {wanted}")]
    KeyCount {
        /// In the quorum.
        wanted: usize,
        /// Given.
        given: usize,
    },
    /// One public key twice.
    #[error("the public key {0} is given twice")]
    SameKey(String),
    /// No such role.
    #[error("there is no role {0}")]
    UnknownRole(String),
    /// No revocation of just this; those that there are.
    #[error("no revocation names just this")]
    NotRevoked(Vec<Revocation>),
    /// Publication failed.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Keys could not be made or read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Keys are missing.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl AuthorityError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Delegated(role) => Some(format!("to give it new keys, `dkms-repo rotate {role}`")),
            Self::KeyCount { given, .. } => Some(format!("--keys 1/{given}, or leave it out")),
            Self::SameKey(_) => Some("each signature that is needed has to be by another key".to_owned()),
            Self::UnknownRole(_) => Some("see `dkms-repo roles` for all roles".to_owned()),
            Self::NotRevoked(others) if others.is_empty() => Some("nothing is revoked".to_owned()),
            Self::NotRevoked(others) => Some(format!(
                "give bundle or name, --from and --to as one of these has them: {}",
                list(others)
            )),
            Self::Publish(e) => e.hint(),
            Self::Key(e) => e.hint(),
            Self::Sign(e) => e.hint(),
            Self::File(e) => e.hint(),
        }
    }
}

fn list(revocations: &[Revocation]) -> String {
    let end =
        |option: &str, end: &Option<String>| end.as_ref().map_or_else(String::new, |end| format!(" {option} {end}"));
    let subject = |revocation: &Revocation| match &revocation.subject {
        Subject::Bundle(hash) => format!("--bundle {hash}"),
        Subject::Package { name, from, to } => format!("{name}{}{}", end("--from", from), end("--to", to)),
    };
    revocations.iter().map(subject).collect::<Vec<_>>().join("; ")
}
