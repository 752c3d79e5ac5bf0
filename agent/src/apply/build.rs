//! Adds, builds and installs what was fetched.

use std::collections::BTreeMap;
use std::sync::Arc;

use dkms_engine::command;
use dkms_engine::excerpt;
use dkms_engine::install::{InstallError, InstallOutcome, Session as InstallSession};
use dkms_engine::kbuild::{BuildError, BuildFailure, BuildOptions, BuildOutcome, BuildRequest, Diagnosis, build_all};
use dkms_engine::kernel::KernelTarget;
use dkms_engine::package::{DkmsId, KernelId};
use dkms_support::chain;

use super::authority;
use super::source::{self, Origin};
use super::{Cause, End, Failure, Obtained, Worker, tree_id};
use crate::candidate::OfferId;
use crate::disk_full::is_disk_full;
use crate::files;
use crate::plan::{Plan, Step};

/// Builds and installs in waves: a step is built when all it needs is installed, and fails when one of those failed.
pub(super) fn waves(
    worker: &Worker<'_>,
    plan: &Plan,
    target: &Arc<KernelTarget>,
    sources: &BTreeMap<OfferId, Obtained>,
    options: &BuildOptions,
    session: &mut InstallSession<'_>,
    ends: &mut BTreeMap<OfferId, End>,
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
                let failure = Failure::of(Cause::Machine, reason);
                ends.insert(step.offer.id.clone(), End::Failed(failure));
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
    sources: &BTreeMap<OfferId, Obtained>,
    options: &BuildOptions,
    session: &mut InstallSession<'_>,
    ends: &mut BTreeMap<OfferId, End>,
) {
    let kernel = KernelId::from(&**target);
    let mut added: Vec<(&Step, BuildRequest, Origin)> = Vec::new();
    for step in steps {
        let id = &step.offer.id;
        let outcome = match (tree_id(step), sources.get(id)) {
            (Some(package), Some(obtained)) => {
                source::add(worker, session, id, &package, &kernel, obtained).map(|origin| (package, origin))
            }
            _ => Err(Failure::of(
                Cause::Package,
                "its name cannot be used in the DKMS tree".to_owned(),
            )),
        };
        match outcome {
            Ok((package, origin)) => added.push((*step, BuildRequest::new(package, Arc::clone(target)), origin)),
            Err(failure) => {
                worker.report_failure(step, &kernel, &failure);
                ends.insert(id.clone(), End::Failed(failure));
            }
        }
    }
    let requests: Vec<BuildRequest> = added.iter().map(|(_, request, _)| request.clone()).collect();
    let outcomes = build_all(worker.tree, worker.lock, &requests, options, worker.reporter);
    for ((step, request, origin), outcome) in added.iter().zip(outcomes) {
        // The builder has reported its own failures, but without the suggested fix.
        let is_reported = matches!(outcome, BuildOutcome::Failed(_));
        let end = match built(worker, outcome) {
            // A build that was interrupted has not failed, and what is not installed yet can wait.
            _ if command::is_stopped() => {
                End::Failed(Failure::of(Cause::Machine, "the run was interrupted".to_owned()))
            }
            Ok(()) => match check(worker, &step.offer.id, &request.package, &kernel, sources) {
                Ok(()) => install(worker, session, &step.offer.id, &request.package, &kernel),
                Err(failure) => End::Failed(failure),
            },
            Err(failure) => End::Failed(failure),
        };
        if let End::Failed(failure) = &end {
            match failure.cause {
                _ if is_reported => worker
                    .reporter
                    .explain(failure.excerpt.as_deref(), failure.hint.as_deref()),
                // A package that excludes this kernel has not failed.
                Cause::Unfit => {}
                _ => worker.report_failure(step, &kernel, failure),
            }
            if failure.cause == Cause::Refused {
                // Also its build goes: `dkms autoinstall` would install it.
                let _ = session.unbuild(&request.package, &kernel);
            }
            remove_failed(worker, session, &request.package, failure, *origin);
        }
        ends.insert(step.offer.id.clone(), end);
    }
}

/// Whether the built modules are what the manifest says.
fn check(
    worker: &Worker<'_>,
    offer: &OfferId,
    package: &DkmsId,
    kernel: &KernelId,
    sources: &BTreeMap<OfferId, Obtained>,
) -> Result<(), Failure> {
    let obtained = sources.get(offer);
    obtained.map_or(Ok(()), |obtained| {
        authority::check_modules(worker, offer, package, kernel, &obtained.manifest)
    })
}

fn built(worker: &Worker<'_>, outcome: BuildOutcome) -> Result<(), Failure> {
    match outcome {
        BuildOutcome::Built(_) | BuildOutcome::Current(_) => Ok(()),
        BuildOutcome::Excluded { why, .. } => Err(Failure::of(Cause::Unfit, why.to_string())),
        BuildOutcome::Failed(failure) => Err(match cause_of(&failure) {
            // A copy of its log would need more space.
            Cause::NoSpace => Failure {
                hint: Some(files::free_some(worker.tree.path())),
                ..Failure::of(Cause::NoSpace, failure.to_string())
            },
            cause => Failure {
                reason: failure.to_string(),
                excerpt: excerpt::of(&failure.error),
                hint: failure.hint(),
                log: failure.log.clone(),
                cause,
            },
        }),
    }
}

/// Whether a failed build says something about the package, or only about this machine at this time.
fn cause_of(failure: &BuildFailure) -> Cause {
    use Diagnosis::{CompilerMismatch, HeadersIncomplete, Killed, LibraryMissing, NoSpace, TimedOut, ToolMissing};
    match &failure.error {
        error if is_disk_full(error) => Cause::NoSpace,
        BuildError::Tree(_)
        | BuildError::Program { .. }
        | BuildError::Io { .. }
        | BuildError::Jobserver(_)
        | BuildError::ScriptsForbidden(_) => Cause::Machine,
        error => match error.diagnosis() {
            Some(NoSpace) => Cause::NoSpace,
            Some(
                Killed { .. }
                | ToolMissing { .. }
                | LibraryMissing { .. }
                | CompilerMismatch { .. }
                | HeadersIncomplete { .. }
                | TimedOut { .. },
            ) => Cause::Machine,
            _ => Cause::Package,
        },
    }
}

fn install(
    worker: &Worker<'_>,
    session: &mut InstallSession<'_>,
    offer: &OfferId,
    package: &DkmsId,
    kernel: &KernelId,
) -> End {
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
        Err(InstallError::ScriptNotAllowed(error)) => End::Failed(authority::refused(offer, error.to_string())),
        Err(error) => {
            let cause = match &error {
                error if is_disk_full(error) => Cause::NoSpace,
                InstallError::NotNewer { .. } => Cause::Unfit,
                InstallError::Tree(_) | InstallError::NoKernel { .. } => Cause::Machine,
                _ => Cause::Package,
            };
            let reason = chain(&error);
            let hint = match cause {
                Cause::NoSpace => Some(files::free_some(&worker.tree.modules_dir(&kernel.release))),
                _ => error.hint(),
            };
            End::Failed(Failure {
                excerpt: excerpt::of(&error),
                hint,
                ..Failure::of(cause, reason)
            })
        }
    }
}

/// Removes a package that failed from the tree, unless another kernel uses it. One that has a log stays with it.
fn remove_failed(
    worker: &Worker<'_>,
    session: &mut InstallSession<'_>,
    package: &DkmsId,
    failure: &Failure,
    origin: Origin,
) {
    // The log of the failure is inside the tree.
    if failure.log.is_some() || !worker.tree.is_added(package) || !worker.tree.built_kernels(package).is_empty() {
        return;
    }
    // A source that stays is not used; the next run replaces it.
    let _ = session.remove(package, &[]);
    source::remove_unused(worker, package, origin);
}
