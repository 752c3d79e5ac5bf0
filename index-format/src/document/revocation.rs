//! Revocations: documents that can only deny.

use serde::{Deserialize, Serialize};

/// The TUF target path of the list of revocations.
pub const TARGET_PATH: &str = "revocations/revocations.json";

/// The whole list, replaced with every publication.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocations {
    /// [`super::manifest::SCHEMA`].
    pub schema: u32,
    /// All that is denied.
    pub revoked: Vec<Revocation>,
}

/// One denial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// What is denied.
    pub subject: Subject,
    /// Why, for people.
    pub reason: String,
    /// What the agent does about it.
    pub action: Action,
}

/// What a revocation names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// One bundle, by its SHA-256 in lower-case hex.
    Bundle(String),
    /// Versions of a package, both ends included; an absent end is open.
    Package {
        /// `PACKAGE_NAME`.
        name: String,
        /// Lowest version.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// Highest version.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
}

/// What the agent does about a revoked package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Never install it.
    Block,
    /// Never install it, and remove it where it is.
    Uninstall,
}
