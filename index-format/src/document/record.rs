//! Index records: one JSON object a line, sorted, cut into segments and compressed with zstd.
//!
//! A record is a hint for matching and planning. It never authorises code: that is the manifest it names.

use serde::{Deserialize, Serialize};

use super::{BundleRef, Recipe};

/// One line of the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Record {
    /// A package version.
    Package(PackageRecord),
    /// Takes a wrong alias of a package, or of the kernel itself, out of matching.
    Override(OverrideRecord),
}

/// A package version as matching and planning need it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageRecord {
    /// `PACKAGE_NAME`.
    pub name: String,
    /// The version in the index, as in the manifest.
    pub version: String,
    /// `PACKAGE_VERSION`, where it is not [`PackageRecord::version`]; as in the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dkms_version: Option<String>,
    /// TUF target path of the manifest.
    pub manifest: String,
    /// One line for people.
    #[serde(default)]
    pub summary: String,
    /// The source, as in the manifest.
    pub bundle: BundleRef,
    /// Names of the modules it builds.
    pub modules: Vec<String>,
    /// The alias patterns of all its modules, sorted and unique.
    pub patterns: Vec<String>,
    /// As in the manifest.
    #[serde(default)]
    pub recipe: Recipe,
    /// As in the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_since: Option<String>,
    /// As in the manifest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<String>,
    /// As in the manifest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub oem_sets: Vec<String>,
    /// What trial builds showed, sorted by kernel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub builds: Vec<BuildFact>,
    /// Whom it is offered to; absent: everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// Whether it is offered at all.
    #[serde(default)]
    pub status: Status,
}

impl PackageRecord {
    /// The version under which the DKMS tree knows this source: `PACKAGE_VERSION`.
    pub fn dkms_version(&self) -> &str {
        self.dkms_version.as_deref().unwrap_or(&self.version)
    }
}

/// The outcome of one trial build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildFact {
    /// Kernel release, `uname -r`.
    pub kernel: String,
    /// Architecture, `uname -m`.
    pub arch: String,
    /// First line of the compiler's `--version`.
    pub compiler: String,
    /// Day of the build, `YYYY-MM-DD`.
    pub date: String,
    /// Whether it built.
    pub outcome: BuildOutcome,
    /// Why not, in one sentence; empty when it built.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Whether a trial build made all its modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BuildOutcome {
    /// All modules were made and passed the checks.
    Built,
    /// It did not build; the package must not be tried on this kernel.
    Failed,
    /// The package excludes this kernel by its own `BUILD_EXCLUSIVE_*`.
    Excluded,
}

/// A staged offer: a machine takes part when its hash with `salt` falls below `permille`, or it is in a ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// 0 to 1000.
    pub permille: u16,
    /// Makes each rollout choose other machines.
    pub salt: String,
    /// Rings that always take part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rings: Vec<String>,
}

/// Whether a package version is offered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Offered.
    #[default]
    Active,
    /// No longer offered; installed ones stay.
    Withdrawn,
}

/// Takes one alias pattern out of matching.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverrideRecord {
    /// The package or in-tree module whose alias is wrong: `package:<name>` or `kernel:<module>`.
    pub subject: String,
    /// The pattern, byte for byte.
    pub pattern: String,
    /// Why, for people.
    pub reason: String,
}
