//! The documents that travel on the wire.
//!
//! - [`manifest`]: the authority to install one package version, signed by an offline role.
//! - [`record`]: one line of the index, a hint for matching and planning, signed by the online role.
//! - [`revocation`]: what must not be installed any more; it can only deny.

mod agreement;
pub mod canonical;
pub mod limits;
pub mod manifest;
mod problem;
pub mod record;
pub mod revocation;
pub mod segment;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use agreement::Disagreement;
pub use problem::{Problem, check_name};

/// Where a package's source bundle lies and how it is verified: `bundles/sha256/<first two hex digits>/<sha256>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BundleRef {
    /// SHA-256 of the bundle, 64 lower-case hex digits.
    pub sha256: String,
    /// Length in bytes; a download stops there.
    pub length: u64,
    /// How the bundle is packed.
    pub format: BundleFormat,
}

/// The packing of a source bundle. Ingestion normalises everything to [`BundleFormat::TarZst`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BundleFormat {
    /// A zstd-compressed POSIX tar, whose one top directory `<name>-<version>/` holds `dkms.conf`.
    TarZst,
}

/// What the package's `dkms.conf` says about where and how it can be built.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recipe {
    /// Lowest kernel, `BUILD_EXCLUSIVE_KERNEL_MIN`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_min: Option<String>,
    /// Highest kernel, `BUILD_EXCLUSIVE_KERNEL_MAX` or `OBSOLETE_BY`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_max: Option<String>,
    /// Extended regular expression on the kernel release, `BUILD_EXCLUSIVE_KERNEL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_regex: Option<String>,
    /// Extended regular expression on the architecture, `BUILD_EXCLUSIVE_ARCH`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch_regex: Option<String>,
    /// Kernel options that must be set, `BUILD_EXCLUSIVE_CONFIG`; a leading `!` means: must not be set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub config: Vec<String>,
    /// Names of packages that must be built before, `BUILD_DEPENDS`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub build_depends: Vec<String>,
    /// Directives whose scripts run as root (`POST_INSTALL`, …), by directive name in lower case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub root_scripts: Vec<String>,
}

/// Why bytes are not a valid document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Larger than the limit.
    #[error("{what} has {bytes} bytes, at most {max} are read")]
    TooLong {
        /// Kind of document.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Not JSON, or JSON of another shape.
    #[error("{what} is not valid: {source}")]
    Json {
        /// Kind of document.
        what: &'static str,
        /// The place in the text, and the reason.
        source: serde_json::Error,
    },
    /// Of another schema than this program reads.
    #[error("{what} has schema {found}, this program reads schema {}", manifest::SCHEMA)]
    Schema {
        /// Kind of document.
        what: &'static str,
        /// Its schema.
        found: u32,
    },
    /// Its content breaks rules.
    #[error("{subject} is not valid: {}", list(problems))]
    Invalid {
        /// Kind and name of the document.
        subject: String,
        /// All that is wrong.
        problems: Vec<Problem>,
    },
}

impl DocumentError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Schema { found, .. } if *found > manifest::SCHEMA => {
                Some("the repository is newer than this program: update dkms-fetch".to_owned())
            }
            _ => Some("the repository has published a faulty document: tell its maintainers".to_owned()),
        }
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn read<T: DeserializeOwned>(what: &'static str, bytes: &[u8], max: usize) -> Result<T, DocumentError> {
    if bytes.len() > max {
        return Err(DocumentError::TooLong {
            what,
            bytes: bytes.len(),
            max,
        });
    }
    serde_json::from_slice(bytes).map_err(|source| DocumentError::Json { what, source })
}

fn checked_schema(what: &'static str, found: u32) -> Result<(), DocumentError> {
    if found == manifest::SCHEMA {
        Ok(())
    } else {
        Err(DocumentError::Schema { what, found })
    }
}
