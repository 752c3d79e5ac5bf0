//! Why a distribution's package cannot be made.

use thiserror::Error;

/// A package version does not fit into a distribution's package.
#[derive(Debug, Error)]
pub enum ExportError {
    /// Its documents are not those of a package that could be published.
    #[error("{name} {version} cannot be packaged: {problem}")]
    Invalid {
        /// The package.
        name: String,
        /// Its version.
        version: String,
        /// The first problem of its manifest.
        problem: String,
    },
    /// Writing an archive failed.
    #[error("the {format} of {name} {version} cannot be written: {source}")]
    Archive {
        /// `.deb` or `.rpm`.
        format: &'static str,
        /// The package.
        name: String,
        /// Its version.
        version: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ExportError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Invalid { .. } => Some("correct the dkms.conf of the source, and add it again".to_owned()),
            Self::Archive { .. } => {
                Some("look for unusual file names or a very large file in the source; nothing was written".to_owned())
            }
        }
    }
}
