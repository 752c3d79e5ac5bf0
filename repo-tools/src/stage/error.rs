//! Why the staging area could not be read or written.

use std::path::PathBuf;

use dkms_index::document::Problem;

use crate::files::FileError;

/// Why the staging area could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A name or version that cannot be a file name.
    #[error("{what} {value:?} of the package is unusable: {why}")]
    Name {
        /// `name` or `version`.
        what: &'static str,
        /// As given.
        value: String,
        /// The rule it breaks.
        why: &'static str,
    },
    /// A document that is not what it should be.
    #[error("{} is not valid: {source}", path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// Line and reason.
        source: serde_json::Error,
    },
    /// Manifest and record differ in a field that they share.
    #[error("{name} {version}: manifest and record differ in {field}")]
    Mismatch {
        /// Package.
        name: String,
        /// Its version.
        version: String,
        /// What differs.
        field: &'static str,
    },
    /// Documents that machines would refuse: all that is wrong, at least one.
    #[error("{name} {version} is unusable: {}", list(problems))]
    Invalid {
        /// Package.
        name: String,
        /// Its version.
        version: String,
        /// What is wrong.
        problems: Vec<Problem>,
    },
    /// No such package in the staging area.
    #[error("{name} {version} is not staged")]
    NotStaged {
        /// Package.
        name: String,
        /// Its version.
        version: String,
    },
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl StageError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Name { .. } => Some("names and versions are letters, digits and `.+-_~`".to_owned()),
            Self::Document { path, .. } => Some(format!(
                "correct {}, or add the package again with `dkms-repo add --force`",
                path.display()
            )),
            Self::Mismatch { .. } => Some("add the package again with `dkms-repo add --force`".to_owned()),
            Self::Invalid { .. } => {
                Some("correct what it says in the package's dkms.conf, control file or module source".to_owned())
            }
            Self::NotStaged { .. } => Some("see `dkms-repo list` for what is staged".to_owned()),
            Self::File(e) => e.hint(),
        }
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
