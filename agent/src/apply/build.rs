//! Adds what was fetched to the tree, and installs what was built.

use std::sync::Arc;

use dkms_engine::command;
use dkms_engine::excerpt;
use dkms_engine::install::{InstallError, InstallOutcome, Session as InstallSession};
use dkms_engine::kbuild::{BuildError, BuildFailure, BuildOutcome, BuildRequest, Diagnosis};
use dkms_engine::kernel::KernelTarget;
use dkms_engine::package::{DkmsId, KernelId};
use dkms_support::chain;

use super::authority;
use super::source::{self, Origin};
use super::{Cause, End, Failure, Obtained, Worker, tree_id};
use crate::candidate::OfferId;
use crate::disk_full::is_disk_full;
use crate::files;
use crate::plan::Step;

/// Adds the verified source of a step to the tree; returns what is to be built.
pub(super) fn add(
    worker: &Worker<'_>,
    session: &mut InstallSession<'_>,
    step: &Step,
    target: &Arc<KernelTarget>,
    obtained: &Obtained,
) -> Result<(BuildRequest, Origin), Failure> {
    let Some(package) = tree_id(step) else {
        let reason = "its name cannot be used in the DKMS tree".to_owned();
        return Err(Failure::of(Cause::Package, reason));
    };
    let kernel = KernelId::from(&**target);
    let origin = source::add(worker, session, &step.offer.id, &package, &kernel, obtained)?;
    Ok((BuildRequest::new(package, Arc::clone(target)), origin))
}

/// Installs what was built, if it is what its manifest promises. A failure is reported, and leaves nothing.
pub(super) fn finish(
    worker: &Worker<'_>,
    session: &mut InstallSession<'_>,
    step: &Step,
    kernel: &KernelId,
    obtained: &Obtained,
    origin: Origin,
    outcome: BuildOutcome,
) -> End {
    let Some(package) = tree_id(step) else {
        return End::Failed(Failure::of(
            Cause::Package,
            "its name cannot be used in the DKMS tree".to_owned(),
        ));
    };
    // The builder has reported its own failures, but without the suggested fix.
    let is_reported = matches!(outcome, BuildOutcome::Failed(_));
    let end = match built(worker, outcome) {
        // A build that was interrupted has not failed, and what is not installed yet can wait.
        _ if command::is_stopped() => End::Failed(Failure::of(Cause::Machine, "the run was interrupted".to_owned())),
        Ok(()) => match authority::check_modules(worker, &step.offer.id, &package, kernel, &obtained.manifest) {
            Ok(()) => install(worker, session, &step.offer.id, &package, kernel),
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
            _ => worker.report_failure(step, kernel, failure),
        }
        if failure.cause == Cause::Refused {
            // Also its build goes: `dkms autoinstall` would install it.
            let _ = session.unbuild(&package, kernel);
        }
        remove_failed(worker, session, &package, failure, origin);
    }
    end
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
