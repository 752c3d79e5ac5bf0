//! What a publisher should know before signing: every problem of a staged package, typed.

mod in_tree;

use std::collections::BTreeSet;
use std::fmt;

use dkms_index::document::manifest::{Manifest, Module};
use dkms_index::document::record::{BuildOutcome, Record};
use dkms_index::pattern::{Pattern, PatternProblem};
use serde::Serialize;

use crate::stage::StagedPackage;

pub use in_tree::InTree;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Information.
    Note,
    /// Probably not what was meant.
    Warning,
    /// Must not be published.
    Error,
}

/// One problem of one package version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The package.
    pub name: String,
    /// Its version in the index.
    pub version: String,
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    #[serde(flatten)]
    pub problem: Problem,
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "problem", rename_all = "kebab-case")]
pub enum Problem {
    /// A document that no reader of the index accepts.
    Invalid {
        /// The rule it breaks.
        why: String,
    },
    /// A pattern that matches nothing, or so much that it can hardly be meant.
    SuspiciousPattern {
        /// The pattern.
        pattern: String,
        /// What is suspicious.
        why: String,
    },
    /// Patterns without a bus match devices of every kind.
    MatchesEverything {
        /// The pattern.
        pattern: String,
    },
    /// Its license is not known.
    NoLicense,
    /// It has no summary.
    NoSummary,
    /// Scripts that run as root on every machine that installs it.
    RootScripts {
        /// The directives, in lower case.
        scripts: Vec<String>,
    },
    /// It has no pattern, so that no device selects it.
    NoPatterns,
    /// The patterns come from the source text; no build has confirmed them.
    NeverScanned,
    /// It was tried, and built nowhere.
    BuildsNowhere {
        /// The kernels that were tried.
        kernels: Vec<String>,
    },
    /// The built modules do not claim what the source seems to say, or claim more.
    SourceDiffers {
        /// Patterns in the source or the metadata only.
        only_declared: Vec<String>,
        /// How many patterns only the built modules have.
        only_built: usize,
    },
    /// Built modules have aliases that are not those of devices: only the curated role may sign the package.
    OtherAliases {
        /// The aliases.
        aliases: Vec<String>,
    },
    /// The kernel has a driver of its own for these devices.
    InTree {
        /// The kernel.
        kernel: String,
        /// Its modules.
        modules: Vec<String>,
        /// How many of the package's patterns they claim, too.
        patterns: usize,
        /// Of how many.
        of: usize,
    },
    /// Two versions in the index are one in the DKMS tree: a machine holds one of them at a time.
    SharesDkmsVersion {
        /// `PACKAGE_VERSION`.
        dkms_version: String,
        /// The other version in the index.
        other: String,
    },
}

impl Problem {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Invalid { .. } | Self::MatchesEverything { .. } => Severity::Error,
            Self::SuspiciousPattern { .. }
            | Self::NoLicense
            | Self::RootScripts { .. }
            | Self::BuildsNowhere { .. }
            | Self::NeverScanned
            | Self::InTree { .. } => Severity::Warning,
            Self::NoSummary
            | Self::NoPatterns
            | Self::SourceDiffers { .. }
            | Self::OtherAliases { .. }
            | Self::SharesDkmsVersion { .. } => Severity::Note,
        }
    }

    /// Suggested fix, where there is one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NeverScanned => Some("let trial builds confirm the patterns: dkms-repo scan"),
            Self::NoLicense | Self::NoSummary => {
                Some("write license and summary into the staged manifest.json and record.json")
            }
            _ => None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { why } => f.write_str(why),
            Self::SuspiciousPattern { pattern, why } => write!(f, "the pattern {pattern} {why}"),
            Self::MatchesEverything { pattern } => write!(f, "the pattern {pattern} matches devices of every kind"),
            Self::NoLicense => f.write_str("no license is known"),
            Self::NoSummary => f.write_str("it has no summary"),
            Self::RootScripts { scripts } => write!(f, "it runs scripts as root: {}", scripts.join(", ")),
            Self::NoPatterns => f.write_str("it claims no device, so that it will only ever be installed by name"),
            Self::NeverScanned => f.write_str("it was never built: its patterns are a guess"),
            Self::BuildsNowhere { kernels } => write!(f, "it builds on none of {}", kernels.join(", ")),
            Self::SourceDiffers {
                only_declared,
                only_built,
            } => write!(
                f,
                "{} patterns of its source are not in the built modules, {only_built} of the modules not in the source",
                only_declared.len()
            ),
            Self::OtherAliases { aliases } => write!(
                f,
                "its modules have aliases of no device, which only the curated role may sign: {}",
                aliases.join(", ")
            ),
            Self::InTree {
                kernel,
                modules,
                patterns,
                of,
            } => write!(
                f,
                "{kernel} claims {patterns} of its {of} patterns itself ({})",
                modules.join(", ")
            ),
            Self::SharesDkmsVersion { dkms_version, other } => {
                write!(f, "in the DKMS tree it is {dkms_version}, and so is {other}")
            }
        }
    }
}

/// Every problem of every package, in their order, the worst of a package first.
pub fn lint(packages: &[StagedPackage], kernels: &[InTree]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages {
        let mut problems = problems(package, kernels);
        problems.extend(shares_version(package, packages));
        problems.sort_by_key(|problem| std::cmp::Reverse(problem.severity()));
        findings.extend(problems.into_iter().map(|problem| Finding {
            name: package.manifest.name.clone(),
            version: package.manifest.version.clone(),
            severity: problem.severity(),
            problem,
        }));
    }
    findings
}

fn problems(package: &StagedPackage, kernels: &[InTree]) -> Vec<Problem> {
    let manifest = &package.manifest;
    let mut found = Vec::new();
    let patterns: BTreeSet<&str> = manifest.patterns().collect();
    let record = Record::Package(package.record.clone());
    let broken_rules = manifest
        .problems()
        .into_iter()
        .chain(record.problems())
        .map(|rule| rule.to_string());
    // A rule that both documents break is one problem.
    found.extend(
        broken_rules
            .collect::<BTreeSet<_>>()
            .into_iter()
            .map(|why| Problem::Invalid { why }),
    );
    found.extend(patterns.iter().flat_map(|pattern| pattern_problems(pattern)));
    if manifest.license.is_empty() {
        found.push(Problem::NoLicense);
    }
    if manifest.summary.is_empty() {
        found.push(Problem::NoSummary);
    }
    if !manifest.recipe.root_scripts.is_empty() {
        found.push(Problem::RootScripts {
            scripts: manifest.recipe.root_scripts.clone(),
        });
    }
    found.extend(build_problems(package));
    if patterns.is_empty() {
        found.push(Problem::NoPatterns);
    }
    found.extend(source_differs(manifest));
    let others: BTreeSet<&String> = manifest.modules.iter().flat_map(|m| &m.other_aliases).collect();
    if !others.is_empty() {
        found.push(Problem::OtherAliases {
            aliases: others.into_iter().cloned().collect(),
        });
    }
    found.extend(kernels.iter().filter_map(|kernel| {
        let (modules, claimed) = kernel.claims(&patterns);
        (claimed > 0).then(|| Problem::InTree {
            kernel: kernel.release().to_owned(),
            modules,
            patterns: claimed,
            of: patterns.len(),
        })
    }));
    found
}

fn pattern_problems(text: &str) -> Vec<Problem> {
    // A text that is not a valid pattern is reported as a problem of the document.
    let Ok(pattern) = Pattern::parse(text) else {
        return Vec::new();
    };
    let problem = |fault: PatternProblem| match fault {
        PatternProblem::NoBus => Problem::MatchesEverything {
            pattern: text.to_owned(),
        },
        other => Problem::SuspiciousPattern {
            pattern: text.to_owned(),
            why: other.to_string(),
        },
    };
    pattern.problems().into_iter().map(problem).collect()
}

fn build_problems(package: &StagedPackage) -> Option<Problem> {
    let builds = &package.record.builds;
    if builds.is_empty() {
        return Some(Problem::NeverScanned);
    }
    let nowhere = builds.iter().all(|fact| fact.outcome != BuildOutcome::Built);
    nowhere.then(|| {
        let mut kernels: Vec<String> = builds.iter().map(|fact| fact.kernel.clone()).collect();
        // By several compilers.
        kernels.dedup();
        Problem::BuildsNowhere { kernels }
    })
}

/// Where the patterns of the source and of the built modules differ. None where the source has no
/// tables or was never built.
fn source_differs(manifest: &Manifest) -> Option<Problem> {
    let all = |patterns: fn(&Module) -> &Vec<String>| -> BTreeSet<&String> {
        manifest.modules.iter().flat_map(patterns).collect()
    };
    let (built, declared) = (all(|m| &m.aliases), all(|m| &m.declared));
    let only_declared: Vec<String> = declared.difference(&built).map(|p| (*p).clone()).collect();
    let only_built = built.difference(&declared).count();
    let comparable = !built.is_empty() && !declared.is_empty();
    (comparable && (!only_declared.is_empty() || only_built > 0)).then_some(Problem::SourceDiffers {
        only_declared,
        only_built,
    })
}

fn shares_version(package: &StagedPackage, all: &[StagedPackage]) -> Option<Problem> {
    let own = &package.manifest;
    let same = |other: &Manifest| {
        other.name == own.name && other.version != own.version && other.dkms_version() == own.dkms_version()
    };
    let other = all.iter().map(|other| &other.manifest).find(|other| same(other))?;
    Some(Problem::SharesDkmsVersion {
        dkms_version: own.dkms_version().to_owned(),
        other: other.version.clone(),
    })
}

#[cfg(test)]
mod tests;
