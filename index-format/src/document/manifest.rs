//! A manifest: the authority to install one package version.

use serde::{Deserialize, Serialize};

use super::{BundleRef, Recipe};

/// The manifest schema this crate reads and writes.
pub const SCHEMA: u32 = 1;

/// One package version, signed by an offline vendor or curated role.
///
/// Its place in the repository is [`Manifest::target_path`]; a vendor's role may only sign manifests whose every
/// pattern has, literally, the bus and vendor of that directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SCHEMA`].
    pub schema: u32,
    /// `PACKAGE_NAME`.
    pub name: String,
    /// The version in the index, unique among all sources of this name: that of the distribution's package
    /// (`0.4.5-1~bpo12+1`, without an epoch) for a source taken from one, else `PACKAGE_VERSION`.
    pub version: String,
    /// `PACKAGE_VERSION`, the version in the DKMS tree, where it is not [`Manifest::version`]: distributions
    /// ship different sources under one `PACKAGE_VERSION`, and a repository must be able to hold both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dkms_version: Option<String>,
    /// The directory of the manifest: `by-id/<bus>-<vendor>` or `curated`.
    pub scope: String,
    /// One line for people.
    #[serde(default)]
    pub summary: String,
    /// SPDX expression, empty when unknown.
    #[serde(default)]
    pub licence: String,
    /// Address of the driver's home page, empty when unknown.
    #[serde(default)]
    pub homepage: String,
    /// The source.
    pub bundle: BundleRef,
    /// The modules that a build makes.
    pub modules: Vec<Module>,
    /// What `dkms.conf` says of kernels, architectures, dependencies and scripts.
    #[serde(default)]
    pub recipe: Recipe,
    /// First kernel release (`6.5`) that carries this driver in its own tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_since: Option<String>,
    /// Firmware files it asks for, below /lib/firmware.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub firmware: Vec<String>,
    /// Names of packages that may not be installed beside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<String>,
    /// DMI patterns of the machines it is meant for; empty: any machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub oem_sets: Vec<String>,
}

/// One kernel module of a package and the devices it claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// The module's own name, `-` written as `_`.
    pub name: String,
    /// Alias patterns read from the compiled .ko of a trial build: the authority.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Alias patterns derived from the source's device tables or the package's metadata: a hint, used
    /// only when no trial build succeeded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub declared: Vec<String>,
}

impl Manifest {
    /// The TUF target path: `<scope>/<name>@<version>.json`.
    pub fn target_path(&self) -> String {
        format!("{}/{}@{}.json", self.scope, self.name, self.version)
    }

    /// The version under which the DKMS tree knows this source: `PACKAGE_VERSION`.
    pub fn dkms_version(&self) -> &str {
        self.dkms_version.as_deref().unwrap_or(&self.version)
    }

    /// The patterns that decide whether a device belongs to this package: of each module the compiled ones,
    /// and the declared ones only where no build ever showed the real ones.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.modules
            .iter()
            .flat_map(|m| if m.aliases.is_empty() { &m.declared } else { &m.aliases })
            .map(String::as_str)
    }
}
