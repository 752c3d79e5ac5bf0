//! Policy: what the owner of the machine pins, denies and allows. See `config.toml`.

use dkms_engine::sandbox;
use dkms_index::trust::Expiry;
use serde::Deserialize;

use super::Network;

/// The whole of `config.toml`. Everything absent has the safe default.
///
/// ```toml
/// deny = ["nvidia-*"]
/// allow_root_scripts = ["digimend"]
/// allow_plain_http = false
/// rings = ["early"]
/// healthy_target = "multi-user.target"
///
/// [network]
/// metadata_s = 90
///
/// [[pin]]
/// package = "r8168"
/// version = "8.051.*"
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Package names (glob patterns) that are never offered.
    pub deny: Vec<String>,
    /// Packages that are pinned to versions.
    pub pin: Vec<PolicyRule>,
    /// Package names whose scripts may run as root.
    pub allow_root_scripts: Vec<String>,
    /// Whether mirrors may be plain `http://` beyond loopback. Signatures make that safe from forgery; it lets
    /// onlookers see which files are fetched, and so it is the owner's choice.
    pub allow_plain_http: bool,
    /// Whether signatures may have expired: for media that were made once and are carried to machines for months. All
    /// other checks stay.
    pub allow_stale: bool,
    /// Whether packages are evaluated and built where they cannot be confined.
    pub sandbox: sandbox::Policy,
    /// Rollout rings that this machine takes part in.
    pub rings: Vec<String>,
    /// The target whose boot ends the trial of what was installed.
    pub healthy_target: HealthyTarget,
    /// Whether a run may install what a build lacks; where nothing is said, only one with `--install-toolchain`.
    pub toolchain: Option<Toolchain>,
    /// Whether what was installed for builds stays: it does where nothing is said.
    pub toolchain_keep: Option<bool>,
    /// How long servers may keep a run waiting.
    pub network: Network,
}

impl Policy {
    /// Whether scripts of this package may run as root.
    pub fn allows_root_scripts(&self, package: &str) -> bool {
        self.allow_root_scripts.iter().any(|glob| glob_matches(glob, package))
    }

    /// Whether expired signatures are accepted.
    pub fn expiry(&self) -> Expiry {
        if self.allow_stale {
            Expiry::AllowStale
        } else {
            Expiry::Enforce
        }
    }
}

/// Whether a run may install headers, a compiler and make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Toolchain {
    /// It may.
    Install,
    /// It may not, whatever the command line says.
    Never,
}

/// The systemd target that a healthy boot reaches.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HealthyTarget(String);

impl HealthyTarget {
    /// The name of the unit.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl Default for HealthyTarget {
    fn default() -> Self {
        Self("multi-user.target".to_owned())
    }
}

impl TryFrom<String> for HealthyTarget {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.:@".contains(c);
        match name.strip_suffix(".target") {
            Some(stem) if !stem.is_empty() && stem.len() < 200 && stem.chars().all(is_name) => Ok(Self(name)),
            _ => Err(format!(
                "{name:?} is not the name of a systemd target, as multi-user.target is"
            )),
        }
    }
}

/// A glob of the owner's policy. One that cannot be read matches only itself.
pub(crate) fn glob_matches(glob: &str, text: &str) -> bool {
    glob::Pattern::new(glob).map_or(glob == text, |glob| glob.matches(text))
}

/// A package that is pinned to versions.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRule {
    /// Package name, a glob pattern.
    pub package: String,
    /// Version, a glob pattern.
    pub version: String,
}
