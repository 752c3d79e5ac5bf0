//! Which trial builds are needed, and what their results change in a package's documents. Pure.

use std::collections::{BTreeMap, BTreeSet};

use dkms_engine::conf::DkmsConf;
use dkms_engine::ko::ModuleInfo;
use dkms_index::document::manifest::{Manifest, Module};
use dkms_index::document::record::{BuildFact, BuildOutcome};

use super::error::ScanError;
use crate::package::{self, Aliases, Vendors};
use crate::stage::StagedPackage;

/// What a build fact is valid for, beside the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelFacts {
    /// Release, `uname -r`.
    pub release: String,
    /// Architecture, `uname -m`.
    pub arch: String,
    /// First line of the compiler's `--version`.
    pub compiler: String,
}

/// How one trial ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// All modules were made and fit the kernel.
    Built(Vec<ModuleInfo>),
    /// The source does not build on this kernel.
    Failed(String),
    /// The package excludes this kernel.
    Excluded(String),
    /// It was not tried, for a package that it depends on is not staged or does not build there.
    Blocked(String),
    /// It says nothing about the source: the failure is one of this machine.
    Inconclusive(String),
}

/// What was tried for one package: trials by index of the kernel, and its `dkms.conf` as each kernel sees it.
#[derive(Debug, Clone, Default)]
pub struct Results {
    /// Trials of this run.
    pub trials: Vec<(usize, Trial)>,
    /// One for each kernel for which it can be evaluated.
    pub confs: Vec<DkmsConf>,
    /// The logs of failed builds, by index of the kernel.
    pub logs: Vec<(usize, Vec<u8>)>,
}

/// Takes the results of a package, by its index, when they are complete.
pub type OnResults<'a> = dyn Fn(usize, Results) -> Result<(), ScanError> + Sync + 'a;

/// The kernels, by index, for which the package has no fact yet: same source, kernel, architecture and compiler.
pub fn needed(package: &StagedPackage, kernels: &[KernelFacts], force: bool) -> Vec<usize> {
    let known = |kernel: &KernelFacts| {
        let mut facts = package.record.builds.iter();
        facts.any(|fact| is_of(fact, kernel) && fact.compiler == kernel.compiler)
    };
    (0..kernels.len())
        .filter(|index| force || !known(&kernels[*index]))
        .collect()
}

/// What is known of a package on a kernel: by its compiler, else the newest by another one.
pub fn fact_for<'a>(package: &'a StagedPackage, kernel: &KernelFacts) -> Option<&'a BuildFact> {
    let facts = package.record.builds.iter();
    facts
        .filter(|fact| is_of(fact, kernel))
        .max_by_key(|fact| (fact.compiler == kernel.compiler, &fact.date))
}

fn is_of(fact: &BuildFact, kernel: &KernelFacts) -> bool {
    fact.kernel == kernel.release && fact.arch == kernel.arch
}

/// Facts by this many compilers are kept of one kernel, the newest ones: a distribution's compiler gets another text with each update.
const COMPILERS_MAX: usize = 4;

/// Puts a fact in the place of the one by the same compiler.
fn replace(builds: &mut Vec<BuildFact>, fact: BuildFact, kernel: &KernelFacts) {
    builds.retain(|old| !is_of(old, kernel) || old.compiler != fact.compiler);
    let mut others: Vec<&BuildFact> = builds.iter().filter(|old| is_of(old, kernel)).collect();
    others.sort_by(|a, b| b.date.cmp(&a.date));
    let too_old: Vec<String> = others
        .iter()
        .skip(COMPILERS_MAX - 1)
        .map(|old| old.compiler.clone())
        .collect();
    builds.retain(|old| !is_of(old, kernel) || !too_old.contains(&old.compiler));
    builds.push(fact);
}

/// The package with what was learnt on `date` (`YYYY-MM-DD`).
///
/// The newest result on a kernel replaces the older one by the same compiler. Aliases of all kernels that it was built for are claimed together;
/// those of older scans stay as long as a fact of an older scan says "built".
pub fn learn(
    package: &StagedPackage,
    kernels: &[KernelFacts],
    results: &Results,
    date: &str,
    vendors: &Vendors,
) -> StagedPackage {
    let mut builds = package.record.builds.clone();
    for (index, trial) in &results.trials {
        let Some(kernel) = kernels.get(*index) else { continue };
        if let Some(fact) = fact(kernel, trial, date) {
            replace(&mut builds, fact, kernel);
        }
    }
    let mut manifest = package.manifest.clone();
    let built: Vec<&ModuleInfo> = results
        .trials
        .iter()
        .filter_map(|(_, trial)| match trial {
            Trial::Built(modules) => Some(modules),
            _ => None,
        })
        .flatten()
        .collect();
    if !built.is_empty() {
        let tried: BTreeSet<&str> = results
            .trials
            .iter()
            .map(|(index, _)| kernels[*index].release.as_str())
            .collect();
        let older_builds = builds
            .iter()
            .any(|fact| fact.outcome == BuildOutcome::Built && !tried.contains(fact.kernel.as_str()));
        manifest.modules = modules(&manifest, &built, older_builds, &results.confs);
        manifest.firmware = firmware(&manifest, &built);
    }
    if !results.confs.is_empty() {
        manifest.recipe = package::recipe(&results.confs);
    }
    package::staged(manifest, builds, Some(package.record.clone()), vendors)
}

fn fact(kernel: &KernelFacts, trial: &Trial, date: &str) -> Option<BuildFact> {
    let (outcome, reason) = match trial {
        Trial::Built(_) => (BuildOutcome::Built, ""),
        Trial::Failed(reason) => (BuildOutcome::Failed, reason.as_str()),
        Trial::Excluded(reason) => (BuildOutcome::Excluded, reason.as_str()),
        Trial::Blocked(_) | Trial::Inconclusive(_) => return None,
    };
    Some(BuildFact {
        kernel: kernel.release.clone(),
        arch: kernel.arch.clone(),
        compiler: kernel.compiler.clone(),
        date: date.to_owned(),
        outcome,
        reason: one_line(reason),
    })
}

/// A reason as the index takes it: one line, no control characters, at most 300 characters.
fn one_line(text: &str) -> String {
    const MAX: usize = 300;
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|w| !w.is_empty())
        .collect();
    let line = words.join(" ");
    match line.char_indices().nth(MAX) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// The modules that were built, with their aliases; the aliases of a built module replace those guessed from its
/// source, also when it has none.
fn modules(manifest: &Manifest, built: &[&ModuleInfo], keep_older: bool, confs: &[DkmsConf]) -> Vec<Module> {
    let (mut aliases, mut others) = (Aliases::new(), Aliases::new());
    if keep_older {
        for module in &manifest.modules {
            aliases.insert(module.name.clone(), module.aliases.iter().cloned().collect());
            others.insert(module.name.clone(), module.other_aliases.iter().cloned().collect());
        }
    }
    for info in built {
        let name = package::installed_name(confs, &info.name);
        let texts = || info.aliases.iter().map(String::as_str);
        let patterns = package::device_patterns(texts());
        others
            .entry(name.clone())
            .or_default()
            .extend(package::other_aliases(texts()));
        aliases.entry(name).or_default().extend(patterns);
    }
    let declared: BTreeMap<&str, &Vec<String>> = manifest
        .modules
        .iter()
        .map(|m| (m.name.as_str(), &m.declared))
        .collect();
    aliases
        .into_iter()
        .map(|(name, aliases)| Module {
            declared: match declared.get(name.as_str()) {
                Some(declared) if !aliases.is_empty() => (*declared).clone(),
                _ => Vec::new(),
            },
            aliases: aliases.into_iter().collect(),
            other_aliases: package::sorted(others.get(&name)),
            name,
        })
        .collect()
}

/// The firmware that the modules may ask for. Names that are no plain paths are not passed on.
fn firmware(manifest: &Manifest, built: &[&ModuleInfo]) -> Vec<String> {
    let plain = |name: &&String| {
        !name.is_empty()
            && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
            && !name.contains(char::is_control)
    };
    let known = manifest
        .firmware
        .iter()
        .chain(built.iter().flat_map(|info| &info.firmware));
    known
        .filter(plain)
        .cloned()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use dkms_index::document::manifest::Manifest;
    use serde_json::json;

    use super::*;

    fn kernels() -> [KernelFacts; 2] {
        ["6.1.0", "6.12.0"].map(|release| KernelFacts {
            release: release.to_owned(),
            arch: "x86_64".to_owned(),
            compiler: "gcc 12".to_owned(),
        })
    }

    fn fresh() -> StagedPackage {
        let manifest: Manifest = serde_json::from_value(json!({
            "schema": 1, "name": "x", "version": "1.0", "scope": "curated",
            "bundle": { "sha256": "0".repeat(64), "length": 1, "format": "tar-zst" },
            "modules": [{ "name": "x", "declared": ["pci:v00001ABCd00000001sv*sd*bc*sc*i*"] }, { "name": "y_core" }]
        }))
        .unwrap();
        package::staged(manifest, Vec::new(), None, &Vendors::default())
    }

    fn module(name: &str, aliases: &[&str]) -> ModuleInfo {
        ModuleInfo {
            name: name.to_owned(),
            aliases: aliases.iter().map(|a| (*a).to_owned()).collect(),
            firmware: vec!["acme/fw.bin".to_owned(), "../evil".to_owned()],
            ..ModuleInfo::default()
        }
    }

    fn results(trials: Vec<(usize, Trial)>) -> Results {
        Results {
            trials,
            ..Results::default()
        }
    }

    fn learnt(package: &StagedPackage, kernels: &[KernelFacts], results: &Results) -> StagedPackage {
        learn(
            package,
            kernels,
            results,
            "2026-01-02",
            &Vendors::these(["by-id/pci-1abc"]),
        )
    }

    const ONE: &str = "pci:v00001ABCd00000001sv*sd*bc*sc*i*";
    const TWO: &str = "pci:v00001ABCd00000002sv*sd*bc*sc*i*";
    const ELSE: &str = "pci:v00001ABDd00000002sv*sd*bc*sc*i*";

    #[test]
    fn built_aliases_replace_the_guess() {
        let kernels = kernels();
        let built = |patterns: &[&str]| Trial::Built(vec![module("x", patterns), module("y_core", &[])]);
        let failed = Trial::Failed("it does\n\tnot fit".to_owned());
        let package = learnt(&fresh(), &kernels, &results(vec![(0, built(&[ONE, TWO])), (1, failed)]));
        assert_eq!(package.record.patterns, [ONE, TWO]);
        assert_eq!(package.manifest.scope, "by-id/pci-1abc");
        assert_eq!(package.manifest.firmware, ["acme/fw.bin"]);
        assert_eq!(package.record.builds[1].reason, "it does not fit");
        assert_eq!(package.check().map_err(|e| e.to_string()), Ok(()));

        // Another kernel adds to what the first showed, and takes the package out of the vendor's directory.
        let more = learnt(&package, &kernels, &results(vec![(1, built(&[ELSE]))]));
        assert_eq!(more.record.patterns, [ONE, TWO, ELSE]);
        assert_eq!(more.manifest.scope, "curated");
        // Where all kernels were tried again, only their results count.
        let again = learnt(&more, &kernels, &results(vec![(0, built(&[ONE])), (1, built(&[ONE]))]));
        assert_eq!(again.record.patterns, [ONE]);
        assert_eq!(again.record.builds.len(), 2);
    }

    #[test]
    fn aliases_of_no_device_are_kept_apart_for_the_curated_role() {
        let trial = |alias| Trial::Built(vec![module("x", &[ONE, alias])]);
        let trials = results(vec![(0, trial("char-major-10-200")), (1, trial("y"))]);
        let package = learnt(&fresh(), &kernels(), &trials);
        assert_eq!(package.record.patterns, [ONE]);
        assert_eq!(package.manifest.modules[0].other_aliases, ["char-major-10-200", "y"]);
        assert_eq!(package.manifest.scope, "curated");
        let again = learnt(&package, &kernels(), &results(vec![(0, trial("y")), (1, trial("y"))]));
        assert_eq!(again.manifest.modules[0].other_aliases, ["y"]);
    }

    #[test]
    fn a_failure_leaves_the_guess() {
        let package = learnt(
            &fresh(),
            &kernels(),
            &results(vec![(0, Trial::Failed("no".to_owned()))]),
        );
        assert_eq!(package.record.patterns, [ONE]);
        assert_eq!(package.record.builds[0].outcome, BuildOutcome::Failed);
        assert_eq!(package.manifest.modules.len(), 2);
    }

    #[test]
    fn a_module_without_aliases_takes_the_guess_back() {
        let trials = vec![(0, Trial::Built(vec![module("x", &[])]))];
        let package = learnt(&fresh(), &kernels(), &results(trials));
        assert_eq!(package.record.patterns, [""; 0]);
        assert_eq!(package.manifest.modules.len(), 1);
    }

    #[test]
    fn only_what_is_not_known_is_needed() {
        let mut kernels = kernels();
        let none = Trial::Inconclusive("disk full".to_owned());
        let package = learnt(
            &fresh(),
            &kernels,
            &results(vec![(0, Trial::Excluded("no".to_owned())), (1, none)]),
        );
        assert_eq!(needed(&package, &kernels, false), [1]);
        assert_eq!(needed(&package, &kernels, true), [0, 1]);
        kernels[0].compiler = "gcc 13".to_owned();
        assert_eq!(needed(&package, &kernels, false), [0, 1]);
    }

    #[test]
    fn facts_of_several_compilers_live_side_by_side() {
        let kernel = |compiler: &str| KernelFacts {
            compiler: compiler.to_owned(),
            ..kernels()[0].clone()
        };
        let tried = |package: &StagedPackage, compiler: &str, date: &str, trial: Trial| {
            let (kernels, results) = ([kernel(compiler)], results(vec![(0, trial)]));
            learn(package, &kernels, &results, date, &Vendors::default())
        };
        let failed = || Trial::Failed("no".to_owned());
        let outcomes = |package: &StagedPackage| -> Vec<(String, BuildOutcome)> {
            let facts = package.record.builds.iter();
            facts.map(|fact| (fact.compiler.clone(), fact.outcome)).collect()
        };
        let of = |compiler: &str, outcome| (compiler.to_owned(), outcome);
        use BuildOutcome::{Built, Failed};
        let package = tried(&fresh(), "gcc 12", "2026-01-01", failed());
        let package = tried(
            &package,
            "gcc 14",
            "2026-01-02",
            Trial::Built(vec![module("x", &[ONE])]),
        );
        assert_eq!(outcomes(&package), [of("gcc 12", Failed), of("gcc 14", Built)]);
        assert_eq!(needed(&package, &[kernel("gcc 12")], false), [0; 0]);
        assert_eq!(needed(&package, &[kernel("gcc 13")], false), [0]);
        let known = |compiler| fact_for(&package, &kernel(compiler)).map(|fact| fact.outcome);
        assert_eq!(
            [known("gcc 12"), known("gcc 14"), known("gcc 13")],
            [Some(Failed), Some(Built), Some(Built)]
        );
        // The same compiler again replaces its own fact.
        let package = tried(
            &package,
            "gcc 12",
            "2026-01-03",
            Trial::Built(vec![module("x", &[ONE])]),
        );
        assert_eq!(outcomes(&package), [of("gcc 12", Built), of("gcc 14", Built)]);
        // Of many the newest stay.
        let days = ["2026-01-04", "2026-01-05", "2026-01-06"];
        let package = days
            .iter()
            .zip(["gcc 15", "gcc 16", "gcc 17"])
            .fold(package, |package, (day, compiler)| {
                tried(&package, compiler, day, failed())
            });
        let kept = [
            of("gcc 12", Built),
            of("gcc 15", Failed),
            of("gcc 16", Failed),
            of("gcc 17", Failed),
        ];
        assert_eq!(outcomes(&package), kept);
    }

    #[test]
    fn reasons_are_one_line() {
        assert_eq!(one_line(" a\u{1b}[31m\n b "), "a [31m b");
        assert_eq!(one_line(&"x".repeat(400)).chars().count(), 301);
    }
}
