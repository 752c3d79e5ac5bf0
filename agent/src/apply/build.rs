//! Adding, building and installing what was fetched.

use std::collections::BTreeMap;
use std::sync::Arc;

use dkms_engine::build::{BuildError, BuildFailure, BuildOptions, BuildOutcome, BuildRequest, Diagnosis, build_all};
use dkms_engine::command;
use dkms_engine::excerpt;
use dkms_engine::install::{InstallError, InstallOutcome, Session as InstallSession};
use dkms_engine::kernel::KernelTarget;
use dkms_engine::package::{KernelId, PackageId as TreeId};

use super::source::{self, Origin};
use super::{End, Fault, Obtained, Setback, Worker, tree_id};
use crate::candidate::PackageId;
use crate::cli::failure::{chain, is_disk_full_at_last};
use crate::files;
use crate::plan::{Plan, Step};

/// Builds and installs wave by wave: a step has its turn when all it needs is installed, and fails when one of those did.
pub(super) fn waves(
    worker: &Worker<'_>,
    plan: &Plan,
    target: &Arc<KernelTarget>,
    sources: &BTreeMap<PackageId, Obtained>,
    options: &BuildOptions,
    session: &mut InstallSession<'_>,
    ends: &mut BTreeMap<PackageId, End>,
) {
    loop {
        let waiting = plan.steps.iter().filter(|step| !ends.contains_key(&step.offer.id));
        let is_installed = |&need: &usize| matches!(ends.get(&plan.steps[need].offer.id), Some(End::Installed { .. }));
        let ready: Vec<&Step> = waiting
            .clone()
            .filter(|step| step.after.iter().all(is_installed))
            .collect();
        if ready.is_empty() {
            let blocked: Vec<&Step> = waiting.collect();
            for step in blocked {
                let reason = "a package that it needs could not be installed".to_owned();
                let setback = Setback::of(Fault::Machine, reason);
                ends.insert(step.offer.id.clone(), End::Failed(setback));
            }
            return;
        }
        one_wave(worker, &ready, target, sources, options, session, ends);
    }
}

fn one_wave(
    worker: &Worker<'_>,
    steps: &[&Step],
    target: &Arc<KernelTarget>,
    sources: &BTreeMap<PackageId, Obtained>,
    options: &BuildOptions,
    session: &mut InstallSession<'_>,
    ends: &mut BTreeMap<PackageId, End>,
) {
    let kernel = KernelId::from(&**target);
    let mut added: Vec<(&Step, BuildRequest, Origin)> = Vec::new();
    for step in steps {
        let id = &step.offer.id;
        let outcome = match (tree_id(&step.offer), sources.get(id)) {
            (Some(package), Some(obtained)) => {
                source::add(worker, session, &package, &kernel, obtained).map(|origin| (package, origin))
            }
            _ => Err(Setback::of(
                Fault::Package,
                "its name cannot be used in the DKMS tree".to_owned(),
            )),
        };
        match outcome {
            Ok((package, origin)) => added.push((*step, BuildRequest::new(package, Arc::clone(target)), origin)),
            Err(setback) => {
                worker.tell_failure(step, &kernel, &setback);
                ends.insert(id.clone(), End::Failed(setback));
            }
        }
    }
    let requests: Vec<BuildRequest> = added.iter().map(|(_, request, _)| request.clone()).collect();
    let outcomes = build_all(worker.tree, worker.lock, &requests, options, worker.reporter);
    for ((step, request, origin), outcome) in added.iter().zip(outcomes) {
        // The builder has told of its own failures, but not of the way out.
        let is_told = matches!(outcome, BuildOutcome::Failed(_));
        let end = match built(worker, outcome) {
            // What was ended halfway says nothing about itself, and what was not installed yet can wait.
            _ if command::is_stopped() => {
                End::Failed(Setback::of(Fault::Machine, "the run was interrupted".to_owned()))
            }
            Ok(()) => install(worker, session, &request.package, &kernel),
            Err(setback) => End::Failed(setback),
        };
        if let End::Failed(setback) = &end {
            match setback.fault {
                _ if is_told => worker
                    .reporter
                    .explain(setback.excerpt.as_deref(), setback.hint.as_deref()),
                // What is not meant for this kernel has not failed.
                Fault::Unfit => {}
                _ => worker.tell_failure(step, &kernel, setback),
            }
            forget(worker, session, &request.package, setback, *origin);
        }
        ends.insert(step.offer.id.clone(), end);
    }
}

fn built(worker: &Worker<'_>, outcome: BuildOutcome) -> Result<(), Setback> {
    match outcome {
        BuildOutcome::Built(_) | BuildOutcome::Current(_) => Ok(()),
        BuildOutcome::Excluded { why, .. } => Err(Setback::of(Fault::Unfit, why.to_string())),
        BuildOutcome::Failed(failure) => Err(match fault_of(&failure) {
            // Its log would only take more of what there is too little of.
            Fault::NoSpace => Setback {
                hint: Some(files::free_some(worker.tree.path())),
                ..Setback::of(Fault::NoSpace, failure.to_string())
            },
            fault => Setback {
                reason: failure.to_string(),
                excerpt: excerpt::of(&failure.error),
                hint: failure.hint(),
                log: failure.log.clone(),
                fault,
            },
        }),
    }
}

/// Whether a failed build says something about the package, or only about this machine at this time.
fn fault_of(failure: &BuildFailure) -> Fault {
    use Diagnosis::{CompilerMismatch, HeadersIncomplete, Killed, LibraryMissing, NoSpace, TimedOut, ToolMissing};
    match &failure.error {
        error if is_disk_full_at_last(error) => Fault::NoSpace,
        BuildError::Tree(_)
        | BuildError::Program { .. }
        | BuildError::Io { .. }
        | BuildError::Jobserver(_)
        | BuildError::ScriptsForbidden(_) => Fault::Machine,
        error => match error.diagnosis() {
            Some(NoSpace) => Fault::NoSpace,
            Some(
                Killed { .. }
                | ToolMissing { .. }
                | LibraryMissing { .. }
                | CompilerMismatch { .. }
                | HeadersIncomplete { .. }
                | TimedOut { .. },
            ) => Fault::Machine,
            _ => Fault::Package,
        },
    }
}

fn install(worker: &Worker<'_>, session: &mut InstallSession<'_>, package: &TreeId, kernel: &KernelId) -> End {
    match session.install(package, kernel) {
        Ok(InstallOutcome::Installed(installed)) => End::Installed {
            files: installed.files,
            loaded: false,
            pending: None,
        },
        Ok(InstallOutcome::Already) => End::Installed {
            files: Vec::new(),
            loaded: false,
            pending: None,
        },
        Err(error) => {
            let fault = match &error {
                error if is_disk_full_at_last(error) => Fault::NoSpace,
                InstallError::NotNewer { .. } => Fault::Unfit,
                InstallError::Tree(_) | InstallError::NoKernel { .. } => Fault::Machine,
                _ => Fault::Package,
            };
            let reason = format!("failed to {}", chain(&error));
            let hint = match fault {
                Fault::NoSpace => Some(files::free_some(&worker.tree.modules_dir(&kernel.release))),
                _ => error.hint(),
            };
            End::Failed(Setback {
                excerpt: excerpt::of(&error),
                hint,
                ..Setback::of(fault, reason)
            })
        }
    }
}

/// Takes a package that failed out of the tree again, unless another kernel uses it. One that has a log stays with it.
fn forget(worker: &Worker<'_>, session: &mut InstallSession<'_>, package: &TreeId, setback: &Setback, origin: Origin) {
    // The log of the failure is inside the tree, and people want to read it.
    if setback.log.is_some() || !worker.tree.is_added(package) || !worker.tree.built_kernels(package).is_empty() {
        return;
    }
    // What stays is a source that nothing uses; the next run replaces it.
    let _ = session.remove(package, &[]);
    source::take_back(worker.tree, package, origin);
}
