//! `dkms-repo scan`: trial builds against real kernels.

use std::collections::BTreeSet;

use dkms_engine::kbuild::BuildOptions;
use dkms_engine::sandbox::Policy;
use dkms_index::document::record::{BuildFact, BuildOutcome};
use serde_json::json;

use super::kernels::{self, KernelArgs};
use super::progress::Progress;
use super::table::{self, Cell, Tone};
use super::{Context, Failure, print};
use crate::lint::{self, Problem};
use crate::package::Vendors;
use crate::scan::facts::{self, KernelFacts, Results, Trial};
use crate::scan::save::{ResultWriter, Scanned};
use crate::scan::trial::{BuildRoot, log_file};
use crate::stage::{Stage, StagedPackage};

/// Builds the staged packages for real kernels, and records what they claim and where they build.
///
/// A build whose outcome is known (same source, kernel and compiler) is not repeated. What a package needs (BUILD_DEPENDS) is
/// built before it. Each package's outcome is saved as soon as it is known: an interrupted scan goes on where it was.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The packages to scan, as NAME or NAME@VERSION; all if none is given.
    #[arg(value_name = "PACKAGE")]
    packages: Vec<String>,
    #[command(flatten)]
    kernels: KernelArgs,
    /// Build again even where the outcome is recorded.
    #[arg(long)]
    force: bool,
    /// What to do where packages cannot be confined; overrides the setting in repo.toml.
    #[arg(long, value_name = "POLICY")]
    sandbox: Option<Policy>,
    /// Number of parallel jobs; default: number of processors.
    #[arg(short, long, value_name = "N")]
    jobs: Option<usize>,
}

/// Scans, stages the results, and prints one table of packages and kernels.
pub(super) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let repository = context.repository()?;
    context.require_sandbox(&repository, args.sandbox)?;
    let (stage, vendors) = (Stage::of(&repository), Vendors::of(&repository));
    let staged = stage.list()?;
    let packages = select(&staged, &args.packages)?;
    let (build_root, _in_use) = args
        .kernels
        .build_root(&repository.path().join(kernels::DIR), context.now)?;
    let kernels = build_root.kernels().to_vec();
    let date = context.now.to_zoned(jiff::tz::TimeZone::UTC).date().to_string();
    let save = ResultWriter::new(&stage, &staged, &kernels, &date, &vendors);

    let mut work = Vec::new();
    for index in packages {
        let needed = facts::needed(&staged[index], &kernels, args.force);
        if needed.is_empty() {
            // The manifest's directory is chosen again without new results too: the vendor may have a role by now.
            save.save(index, Results::default())?;
        } else {
            work.push((index, needed));
        }
    }
    let outcome = build(&build_root, &stage, &staged, &work, &save, &args, context);
    let mut scanned = save.finish();
    scanned.sort_by(|a, b| name(&a.package).cmp(&name(&b.package)));
    if context.json {
        let all = scanned.iter().map(|one| as_json(one, &kernels));
        print::json(&serde_json::Value::Array(all.collect()));
    } else {
        print(&scanned, &kernels, &stage);
    }
    outcome?;
    let open = scanned
        .iter()
        .flat_map(|one| &one.trials)
        .filter(|(_, trial)| matches!(trial, Trial::Inconclusive(_)));
    let lost = scanned.iter().filter(|one| one.lost.is_some());
    match incomplete(open.count(), lost.count()) {
        None => Ok(()),
        Some(text) => Err(Failure::new(text).with_hint("remove the cause and run the same command again")),
    }
}

/// What is missing in the results: `inconclusive` trial builds, and packages whose results were `lost`.
fn incomplete(inconclusive: usize, lost: usize) -> Option<String> {
    let inconclusive = match inconclusive {
        0 => None,
        1 => Some("1 trial build failed for a reason that is not in its source".to_owned()),
        n => Some(format!(
            "{n} trial builds failed for reasons that are not in their sources"
        )),
    };
    let lost = match lost {
        0 => None,
        1 => Some("the results of 1 package could not be saved".to_owned()),
        n => Some(format!("the results of {n} packages could not be saved")),
    };
    let parts: Vec<String> = inconclusive.into_iter().chain(lost).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn build(
    build_root: &BuildRoot,
    stage: &Stage,
    staged: &[StagedPackage],
    work: &[(usize, Vec<usize>)],
    save: &ResultWriter<'_>,
    args: &Args,
    context: &Context,
) -> Result<(), Failure> {
    let total: usize = work.iter().map(|(_, kernels)| kernels.len()).sum();
    if total == 0 {
        return Ok(());
    }
    let mut options = BuildOptions::new(context.now);
    options.sign = false;
    options.jobs = args.jobs.unwrap_or(options.jobs);
    let progress = Progress::new(total, "trial builds");
    let learnt = |index, results| save.save(index, results);
    let outcome = build_root.run(stage, staged, work, &options, &|event| progress.take(event), &learnt);
    progress.finish();
    Ok(outcome?)
}

/// The packages that are asked for, by index.
fn select(packages: &[StagedPackage], wanted: &[String]) -> Result<Vec<usize>, Failure> {
    let fits = |package: &StagedPackage, wanted: &String| match wanted.split_once('@') {
        Some(both) => name(package) == both,
        None => package.manifest.name == *wanted,
    };
    if let Some(missing) = wanted
        .iter()
        .find(|wanted| !packages.iter().any(|package| fits(package, wanted)))
    {
        return Err(Failure::new(format!("{missing} is not staged")).with_hint("dkms-repo list"));
    }
    if packages.is_empty() {
        return Err(Failure::new("nothing is staged").with_hint("dkms-repo add PATH…"));
    }
    let asked = |package: &StagedPackage| wanted.is_empty() || wanted.iter().any(|wanted| fits(package, wanted));
    Ok((0..packages.len()).filter(|index| asked(&packages[*index])).collect())
}

fn name(package: &StagedPackage) -> (&str, &str) {
    (&package.manifest.name, &package.manifest.version)
}

/// What is known of a package on one kernel now, or why nothing is.
fn state<'a>(one: &'a Scanned, index: usize, kernel: &KernelFacts) -> Result<&'a BuildFact, &'a str> {
    if let Some(reason) = &one.lost {
        return Err(reason);
    }
    let inconclusive = one.trials.iter().find_map(|(tried, trial)| match trial {
        Trial::Inconclusive(reason) | Trial::Blocked(reason) if *tried == index => Some(reason.as_str()),
        _ => None,
    });
    match (inconclusive, facts::fact_for(&one.package, kernel)) {
        (Some(reason), _) => Err(reason),
        (None, Some(fact)) => Ok(fact),
        (None, None) => Err("it was not tried"),
    }
}

fn print(scanned: &[Scanned], kernels: &[KernelFacts], stage: &Stage) {
    let mut header = vec!["PACKAGE".to_owned(), "VERSION".to_owned(), "IDS".to_owned()];
    header.extend(kernels.iter().map(|kernel| kernel.release.clone()));
    let rows = scanned.iter().map(|one| {
        let manifest = &one.package.manifest;
        let ids = one.package.record.patterns.len().to_string();
        let mut row = vec![
            Cell::plain(&manifest.name),
            Cell::plain(&manifest.version),
            Cell::plain(ids),
        ];
        row.extend(
            kernels
                .iter()
                .enumerate()
                .map(|(index, kernel)| match state(one, index, kernel) {
                    Ok(fact) => match fact.outcome {
                        BuildOutcome::Built => Cell::new("built", Tone::Good),
                        BuildOutcome::Failed => Cell::new("failed", Tone::Bad),
                        BuildOutcome::Excluded => Cell::new("excluded", Tone::Dim),
                    },
                    Err(_) => Cell::new("unknown", Tone::Bad),
                }),
        );
        row
    });
    table::print(&header, &rows.collect::<Vec<_>>());
    reasons(scanned, kernels, stage);
    for one in scanned.iter().filter(|one| !one.trials.is_empty()) {
        for finding in lint::lint(std::slice::from_ref(&one.package), &[]) {
            if matches!(finding.problem, Problem::SourceDiffers { .. }) {
                print::note(&format!("{} {}: {}", finding.name, finding.version, finding.problem));
            }
        }
    }
}

/// Why packages do not build; a reason that holds for several kernels is printed once.
fn reasons(scanned: &[Scanned], kernels: &[KernelFacts], stage: &Stage) {
    for one in scanned {
        let mut printed = BTreeSet::new();
        for (index, kernel) in kernels.iter().enumerate() {
            let reason = match state(one, index, kernel) {
                Ok(fact) => fact.reason.as_str(),
                Err(reason) => reason,
            };
            if reason.is_empty() || !printed.insert(reason) {
                continue;
            }
            if printed.len() == 1 {
                print::line(&format!(
                    "\n{} {}",
                    one.package.manifest.name, one.package.manifest.version
                ));
            }
            table::paragraph(&format!("{}: {reason}", kernel.release), 2);
            let log = log_file(stage, &one.package, kernel);
            if log.is_file() {
                print::line(&format!("    {}", log.display()));
            }
        }
    }
}

fn as_json(one: &Scanned, kernels: &[KernelFacts]) -> serde_json::Value {
    let builds = kernels.iter().enumerate().map(|(index, kernel)| {
        let tried = one.trials.iter().any(|(tried, _)| *tried == index);
        match state(one, index, kernel) {
            Ok(fact) => json!({ "fact": fact, "new": tried }),
            Err(reason) => json!({ "kernel": kernel.release, "unknown": reason }),
        }
    });
    json!({
        "name": one.package.manifest.name,
        "version": one.package.manifest.version,
        "scope": one.package.manifest.scope,
        "patterns": one.package.record.patterns,
        "builds": builds.collect::<Vec<_>>(),
    })
}
