//! Index records: one JSON object a line, sorted, cut into segments and compressed with zstd.
//!
//! A record is a hint for matching and planning. It never authorises code: that is the manifest it names.

use serde::{Deserialize, Serialize};

use super::limits::{LINE_MAX_BYTES, LIST_MAX, MODULES_MAX, PATTERNS_MAX};
use super::manifest::Scope;
use super::problem::{Checker, Problem, check_name};
use super::{BundleRef, DocumentError, Recipe};
use crate::pattern::Pattern;

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
    /// What trial builds showed, sorted by kernel, architecture and compiler. Of one kernel there may be facts by several compilers: the one that
    /// a machine has counts for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub builds: Vec<BuildFact>,
    /// Staged rollout; absent: offered to all machines.
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
    /// How the build ended.
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
    /// Differs between rollouts, so that each chooses other machines.
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

impl Record {
    /// Reads and checks one line, without its line feed. Unknown fields are passed over.
    ///
    /// # Errors
    /// When it is too long, not JSON of this shape, of an unknown type, or has [`Record::problems`].
    pub fn parse(line: &[u8]) -> Result<Self, DocumentError> {
        // In two steps, because serde buffers the whole line for a tagged enum.
        #[derive(Deserialize)]
        struct Tag {
            #[serde(rename = "type")]
            kind: Kind,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        enum Kind {
            Package,
            Override,
        }
        let what = "index line";
        let record = match super::read::<Tag>(what, line, LINE_MAX_BYTES)?.kind {
            Kind::Package => Self::Package(super::read(what, line, LINE_MAX_BYTES)?),
            Kind::Override => Self::Override(super::read(what, line, LINE_MAX_BYTES)?),
        };
        let problems = record.problems();
        if problems.is_empty() {
            return Ok(record);
        }
        let subject = match &record {
            Self::Package(package) => format!("index line of {:?} {:?}", package.name, package.version),
            Self::Override(over) => format!("override of {:?}", over.subject),
        };
        Err(DocumentError::Invalid { subject, problems })
    }

    /// All that is wrong with it; a reader passes over a record with any problem, and says so.
    pub fn problems(&self) -> Vec<Problem> {
        let mut check = Checker::default();
        match self {
            Self::Package(package) => package.check(&mut check),
            Self::Override(over) => over.check(&mut check),
        }
        check.problems
    }

    /// The order of lines: packages by name and version, then overrides by subject and pattern, all by bytes. No two
    /// records of an index have the same place.
    pub fn place(&self) -> (bool, &str, &str) {
        match self {
            Self::Package(package) => (false, &package.name, &package.version),
            Self::Override(over) => (true, &over.subject, &over.pattern),
        }
    }
}

impl PackageRecord {
    fn check(&self, check: &mut Checker) {
        check.name("name", &self.name);
        check.name("version", &self.version);
        check.name("dkms_version", self.dkms_version());
        check.text("summary", &self.summary);
        check.bundle(&self.bundle);
        check.recipe(&self.recipe);
        check.name("upstream_since", self.upstream_since.as_deref().unwrap_or("0"));
        check.names("conflicts", &self.conflicts);
        check.oem_sets(&self.oem_sets);
        let file = format!("/{}@{}.json", self.name, self.version);
        if self.manifest.strip_suffix(&file).and_then(Scope::parse).is_none() {
            check.push(Problem::ManifestPath(self.manifest.clone()));
        }
        check.count("modules", self.modules.len(), MODULES_MAX);
        for module in &self.modules {
            check.name("module", module);
        }
        check.count("patterns", self.patterns.len(), PATTERNS_MAX);
        for pattern in &self.patterns {
            check.pattern(pattern);
        }
        check.count("builds", self.builds.len(), LIST_MAX);
        for build in &self.builds {
            build.check(check);
        }
        if let Some(rollout) = &self.rollout {
            if rollout.permille > 1000 {
                check.push(Problem::Permille(rollout.permille));
            }
            check.text("rollout.salt", &rollout.salt);
            check.names("rollout.rings", &rollout.rings);
        }
    }
}

impl BuildFact {
    fn check(&self, check: &mut Checker) {
        check.name("builds.kernel", &self.kernel);
        check.name("builds.arch", &self.arch);
        check.text("builds.compiler", &self.compiler);
        check.text("builds.reason", &self.reason);
        // jiff also accepts other spellings of a day, and the dates of build facts are compared as text.
        if self.date.len() != 10 || self.date.parse::<jiff::civil::Date>().is_err() {
            check.push(Problem::Day(self.date.clone()));
        }
    }
}

impl OverrideRecord {
    fn check(&self, check: &mut Checker) {
        let named = ["package:", "kernel:"]
            .iter()
            .find_map(|kind| self.subject.strip_prefix(kind));
        if named.is_none_or(|name| check_name(name).is_err()) {
            check.push(Problem::OverrideSubject(self.subject.clone()));
        }
        if let Err(error) = Pattern::parse(&self.pattern) {
            check.push(Problem::Pattern {
                pattern: self.pattern.clone(),
                error,
            });
        }
        check.text("reason", &self.reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::canonical;

    const LINE: &str = concat!(
        r#"{"type":"package","name":"xtrx","version":"0.0.1-2","manifest":"curated/xtrx@0.0.1-2.json","#,
        r#""bundle":{"sha256":"SHA","length":9,"format":"tar-zst"},"modules":["xtrx"],"#,
        r#""patterns":["pci:v000010EEd00007012sv*sd*bc*sc*i*"],"builds":[{"kernel":"6.1.0-56-amd64","arch":"x86_64","#,
        r#""compiler":"gcc","date":"2026-01-02","outcome":"built"}]}"#
    );

    fn check(from: &str, to: &str, expected: Option<&str>) {
        assert!(LINE.contains(from), "{from}");
        let line = LINE.replacen(from, to, 1).replace("SHA", &"0".repeat(64));
        match (Record::parse(line.as_bytes()), expected) {
            (Ok(record), None) => {
                let again = Record::parse(&canonical::to_bytes(&record).unwrap()).unwrap();
                assert_eq!(record, again, "reads back what it wrote");
            }
            (Err(error), Some(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            (found, _) => panic!("{line}: {found:?}"),
        }
    }

    #[test]
    fn a_line_is_read_and_checked() {
        check("", "", None);
        check("\"modules\"", "\"later_field\":[1],\"modules\"", None);
        check("package", "novelty", Some("unknown variant `novelty`"));
        check("\"name\":\"xtrx\",", "", Some("missing field `name`"));
        check(
            "\"name\":\"xtrx\"",
            "\"name\":\"xtrx\",\"name\":\"y\"",
            Some("duplicate field `name`"),
        );
        check(
            "curated/xtrx@",
            "curated/other@",
            Some("is not where this version's manifest belongs"),
        );
        check(
            "curated/xtrx@",
            "../curated/xtrx@",
            Some("is not where this version's manifest belongs"),
        );
        check("curated/xtrx@", "by-id/pci-10ee/xtrx@", None);
        check(
            "pci:v000010EEd00007012sv*sd*bc*sc*i*",
            "pci\\u0000",
            Some("control character"),
        );
        check("\"length\":9", "\"length\":99999999999", Some("is not possible"));
        check("2026-01-02", "2026-13-02", Some("is not a day"));
        check("2026-01-02", "20260102", Some("is not a day"));
    }

    #[test]
    fn overrides_name_a_package_or_a_module() {
        let check = |subject: &str, good: bool| {
            let record = Record::Override(OverrideRecord {
                subject: subject.into(),
                pattern: "pci:v*d*sv*sd*bc02sc80i*".into(),
                reason: "claims every vendor's wireless card".into(),
            });
            let line = canonical::to_bytes(&record).unwrap();
            assert_eq!(Record::parse(&line).is_ok(), good, "{subject}");
        };
        check("package:broadcom-sta", true);
        check("kernel:r8169", true);
        check("kernel:", false);
        check("device:x", false);
    }
}
