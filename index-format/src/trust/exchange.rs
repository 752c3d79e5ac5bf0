//! The interface to the caller, who does all I/O: it fetches files and stores files.

use std::collections::BTreeMap;

use super::TrustError;

/// A file to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// Path below the repository's root: plain segments between slashes, no `..`, ASCII.
    pub path: String,
    /// Stop reading beyond this; more is an attack (endless data).
    pub max_bytes: u64,
    /// Whether the repository may lack the file. [`Answer::Absent`] then needs a definite answer (404, `ENOENT`), not a failure.
    pub may_be_absent: bool,
    /// Whether the file never changes under this name, so that a cached copy can be used.
    pub immutable: bool,
}

/// The result of fetching a [`Want`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The whole file.
    Bytes(&'a [u8]),
    /// The repository definitely does not have it.
    Absent,
}

/// The files stored by earlier runs, by name (without directories). They are verified again before they are used.
pub type Kept = BTreeMap<String, Vec<u8>>;

/// A change to the stored files. The caller makes the changes in order and durably.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Store these verified bytes under this name (a plain file name).
    Store {
        /// File name, without directories.
        name: String,
        /// The file as it was served.
        bytes: Vec<u8>,
    },
    /// Remove this file, if it is stored.
    Remove {
        /// File name.
        name: String,
    },
}

impl Change {
    /// Makes the change to files in memory.
    pub fn apply(&self, kept: &mut Kept) {
        match self {
            Self::Store { name, bytes } => kept.insert(name.clone(), bytes.clone()),
            Self::Remove { name } => kept.remove(name),
        };
    }
}

/// A state machine without I/O: as long as it wants a file, fetch it and feed the answer.
///
/// After each feed, also after one that failed, make the [`Exchange::changes`].
pub trait Exchange {
    /// The next file; `None` when done.
    fn want(&self) -> Option<Want>;

    /// Takes the answer to the current [`Exchange::want`].
    ///
    /// # Errors
    /// When the file is not acceptable. The exchange is over then.
    fn feed(&mut self, answer: Answer<'_>) -> Result<(), TrustError>;

    /// What has to be stored or removed since the last call.
    fn changes(&mut self) -> Vec<Change>;
}

/// The answer's bytes, if they are there and no more than wanted.
pub(super) fn bytes_of<'a>(want: &Want, answer: Answer<'a>) -> Result<&'a [u8], TrustError> {
    match answer {
        Answer::Absent => Err(TrustError::Missing {
            file: want.path.clone(),
        }),
        Answer::Bytes(bytes) if bytes.len() as u64 > want.max_bytes => Err(TrustError::TooLong {
            file: want.path.clone(),
            max_bytes: want.max_bytes,
        }),
        Answer::Bytes(bytes) => Ok(bytes),
    }
}
