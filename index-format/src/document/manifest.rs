//! A manifest: the authority to install one package version.

use serde::{Deserialize, Serialize};

use super::limits::{LIST_MAX, MANIFEST_MAX_BYTES, MODULES_MAX, PATTERNS_MAX};
use super::problem::{Checker, Problem};
use super::{BundleRef, DocumentError, Recipe};
use crate::modalias::VendorId;

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
    pub license: String,
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
    /// Aliases of the compiled .ko that are not those of devices: `fs-…`, `char-major-…`, other names of the module. Devices
    /// are not matched with them. Only the curated role may sign them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_aliases: Vec<String>,
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

impl Manifest {
    /// Reads and checks a manifest. Unknown fields are passed over: what a reader must understand raises [`SCHEMA`].
    ///
    /// # Errors
    /// When it is too large, not JSON of this shape, of another schema, or has [`Manifest::problems`].
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let manifest = Self::read(bytes)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Reads a manifest that will be checked later.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, DocumentError> {
        super::read("manifest", bytes, MANIFEST_MAX_BYTES)
    }

    /// Whether a reader of this schema would take it.
    ///
    /// # Errors
    /// When it is of another schema, or has [`Manifest::problems`].
    pub fn check(&self) -> Result<(), DocumentError> {
        super::checked_schema("manifest", self.schema)?;
        let problems = self.problems();
        if problems.is_empty() {
            return Ok(());
        }
        let subject = format!("manifest of {:?} {:?}", self.name, self.version);
        Err(DocumentError::Invalid { subject, problems })
    }

    /// Where it belongs. `None` when [`Manifest::scope`] is malformed.
    pub fn scope(&self) -> Option<Scope> {
        Scope::parse(&self.scope)
    }

    /// All that is wrong with it; a reader refuses a manifest with any problem.
    pub fn problems(&self) -> Vec<Problem> {
        let mut check = Checker::default();
        check.name("name", &self.name);
        check.name("version", &self.version);
        check.name("dkms_version", self.dkms_version());
        check.text("summary", &self.summary);
        check.text("license", &self.license);
        check.text("homepage", &self.homepage);
        check.bundle(&self.bundle);
        check.recipe(&self.recipe);
        check.name("upstream_since", self.upstream_since.as_deref().unwrap_or("0"));
        check.count("firmware", self.firmware.len(), LIST_MAX);
        for file in &self.firmware {
            check.path("firmware", file);
        }
        check.names("conflicts", &self.conflicts);
        check.oem_sets(&self.oem_sets);
        self.check_modules(&mut check);
        check.problems
    }

    fn check_modules(&self, check: &mut Checker) {
        let scope = self.scope();
        if scope.is_none() {
            check.push(Problem::Scope(self.scope.clone()));
        }
        if self.modules.is_empty() {
            check.push(Problem::Missing("modules"));
        }
        check.count("modules", self.modules.len(), MODULES_MAX);
        let patterns = || self.modules.iter().flat_map(|m| m.aliases.iter().chain(&m.declared));
        check.count("patterns", patterns().count(), PATTERNS_MAX);
        for module in &self.modules {
            check.name("module", &module.name);
            check.texts("other_aliases", &module.other_aliases);
            if let (Some(Scope::Vendor(vendor)), Some(alias)) = (scope, module.other_aliases.first()) {
                check.push(Problem::OutOfScope {
                    pattern: alias.clone(),
                    vendor,
                });
            }
        }
        for text in patterns() {
            let Some(pattern) = check.pattern(text) else { continue };
            if let Some(Scope::Vendor(vendor)) = scope
                && pattern.vendor_id() != Some(vendor)
            {
                check.push(Problem::OutOfScope {
                    pattern: text.clone(),
                    vendor,
                });
            }
        }
    }
}

/// The directory of a manifest, and so the role that may sign it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// `curated`: any pattern.
    Curated,
    /// `by-id/<bus>-<vendor>`: only patterns that are literally of that bus and vendor.
    Vendor(VendorId),
}

impl Scope {
    /// `None` when it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("by-id/") {
            Some(vendor) => vendor.parse().ok().map(Self::Vendor),
            None => (text == "curated").then_some(Self::Curated),
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Curated => f.write_str("curated"),
            Self::Vendor(vendor) => write!(f, "by-id/{vendor}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{BundleFormat, canonical};

    fn manifest() -> Manifest {
        Manifest {
            schema: SCHEMA,
            name: "r8168".into(),
            version: "8.051.02-2".into(),
            dkms_version: Some("8.051.02".into()),
            scope: "by-id/pci-10ec".into(),
            summary: "Realtek gigabit".into(),
            license: "GPL-2.0-or-later".into(),
            homepage: String::new(),
            bundle: BundleRef {
                sha256: "a".repeat(64),
                length: 100,
                format: BundleFormat::TarZst,
            },
            modules: vec![Module {
                name: "r8168".into(),
                aliases: vec!["pci:v000010ECd00008168sv*sd*bc*sc*i*".into()],
                declared: Vec::new(),
                other_aliases: Vec::new(),
            }],
            recipe: Recipe::default(),
            upstream_since: None,
            firmware: Vec::new(),
            conflicts: Vec::new(),
            oem_sets: Vec::new(),
        }
    }

    fn check(change: impl FnOnce(&mut Manifest), expected: &[&str]) {
        let mut manifest = manifest();
        change(&mut manifest);
        let found: Vec<String> = manifest.problems().iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
        let read = Manifest::parse(&canonical::to_bytes(&manifest).unwrap());
        if expected.is_empty() {
            assert_eq!(read.unwrap(), manifest);
        } else {
            let error = read.unwrap_err().to_string();
            assert!(expected.iter().all(|e| error.contains(e)), "{error}");
        }
    }

    #[test]
    fn a_vendor_signs_only_for_its_own_devices() {
        check(|_| {}, &[]);
        let with = |pattern: &'static str| move |m: &mut Manifest| m.modules[0].declared = vec![pattern.into()];
        check(with("pci:v000010ECd*sv*sd*bc02sc*i*"), &[]);
        for foreign in [
            "pci:v00008086d00008168sv*sd*bc*sc*i*",
            "pci:v*d00008168sv*sd*bc*sc*i*",
            "usb:v10ECp8168d*dc*dsc*dp*ic*isc*ip*in*",
            "pci*:v000010ECd00008168sv*sd*bc*sc*i*",
            "acpi*:RTL8168:*",
        ] {
            check(
                with(foreign),
                &[&format!("pattern {foreign:?} is not literally of pci-10ec")],
            );
            check(
                |m| {
                    with(foreign)(m);
                    m.scope = "curated".into();
                },
                &[],
            );
        }
    }

    #[test]
    fn names_and_paths_cannot_leave_their_directory() {
        check(
            |m| m.name = "../x".into(),
            &["name \"../x\" begins with a dot or a dash"],
        );
        check(
            |m| m.version = "1/2".into(),
            &["version \"1/2\" has characters other than letters, digits and `.+-_~`"],
        );
        check(
            |m| m.dkms_version = Some("1\n".into()),
            &["dkms_version \"1\\n\" has characters other than letters, digits and `.+-_~`"],
        );
        check(
            |m| m.scope = "by-id/../curated".into(),
            &["scope \"by-id/../curated\" is neither curated nor by-id/<bus>-<vendor>"],
        );
        check(
            |m| m.firmware = vec!["rtl_nic/x.fw".into(), "/etc/passwd".into(), "a/../b".into()],
            &[
                "firmware \"/etc/passwd\" is not a plain relative path",
                "firmware \"a/../b\" is not a plain relative path",
            ],
        );
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        check(
            |m| {
                m.summary = "\u{1b}[31m".into();
                m.bundle.sha256 = "A".repeat(64);
                m.bundle.length = 0;
                m.modules[0].aliases.push("*".into());
                m.scope = "curated".into();
            },
            &[
                "summary has control characters",
                &format!(
                    "{:?} is not a SHA-256 in 64 lower-case hexadecimal digits",
                    "A".repeat(64)
                ),
                "a bundle of 0 bytes is not possible",
                "pattern \"*\" has no three literal bytes in a row",
            ],
        );
        check(|m| m.modules.clear(), &["no modules"]);
        let mut hostile = manifest();
        hostile.conflicts = vec![String::new(); 100_000];
        assert_eq!(hostile.problems().len(), 1000, "problems take memory, too");
        let other = |m: &mut Manifest| m.modules[0].other_aliases = vec!["char-major-10-200".into()];
        check(other, &["pattern \"char-major-10-200\" is not literally of pci-10ec"]);
        check(
            |m| {
                other(m);
                m.scope = "curated".into();
            },
            &[],
        );
    }

    #[test]
    fn what_is_not_a_manifest_is_refused() {
        let check = |bytes: &[u8], expected: &str| {
            let error = Manifest::parse(bytes).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        check(b"{", "manifest is not valid");
        check(b"\xff", "manifest is not valid");
        check(&vec![b' '; MANIFEST_MAX_BYTES + 1], "manifest has 2097153 bytes");
        let mut newer = manifest();
        newer.schema = 2;
        check(&canonical::to_bytes(&newer).unwrap(), "manifest has schema 2");
    }
}
