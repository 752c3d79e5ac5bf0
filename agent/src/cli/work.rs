//! What the subcommands that change a machine share: the lock on the tree, the worker, and the exit code.

use std::sync::Arc;

use dkms_engine::recovery::lock_and_recover;
use dkms_engine::tree::{Tree, TreeLock};

use super::context::Context;
use super::failure::Failure;
use super::sync::Opened;
use crate::apply::{Attempt, AttemptedRemoval, Cause, Done, End, Loader, Obtain, RemovalOutcome, Worker};
use crate::candidate::Rejected;
use crate::exit::Exit;
use crate::fetch::Store;
use crate::plan::{Decision, Plan, Removal};
use crate::report::progress::path_in_root;
use crate::report::{InstallStatus, KernelReport, PackageReport, RemovalReport, RemovalStatus};
use crate::state::records::Records;
use crate::survey::Machine;
use crate::verdict::Verdict;

/// A locked tree with the records.
pub(super) struct Work<'a> {
    context: &'a Context,
    tree: &'a Tree,
    lock: TreeLock,
    records: &'a Records,
}

/// Takes the tree's lock, which also finishes what an interrupted run left behind.
pub(super) fn begin<'a>(context: &'a Context, tree: &'a Tree, records: &'a Records) -> Result<Work<'a>, Failure> {
    let lock = lock_and_recover(tree, &context.reporter)?;
    Ok(Work {
        context,
        tree,
        lock,
        records,
    })
}

impl Work<'_> {
    /// Carries out plans.
    pub(super) fn worker(&self) -> Worker<'_> {
        Worker {
            tree: self.tree,
            lock: &self.lock,
            run_state: Arc::default(),
            records: self.records,
            reporter: &self.context.reporter,
            now: self.context.now,
            run: self.context.run(),
            policy: &self.context.config.policy,
            loader: Loader::default(),
        }
    }
}

/// The sources of this run.
pub(super) fn obtain<'s, 'a>(context: &Context, opened: &'s mut [Opened<'a>]) -> Obtain<'s, 'a> {
    Obtain {
        repositories: opened
            .iter_mut()
            .map(|opened| (&opened.session, &mut opened.metadata))
            .collect(),
        store: Store::of(&context.paths),
        scratch: context.paths.unpacked(),
    }
}

/// Adds the outcomes to the report on a kernel.
pub(super) fn add_outcomes(kernel: &mut KernelReport, context: &Context, machine: &Machine<'_>, done: &Done) {
    let packages = done.attempts.iter().map(|attempt| package(context, machine, attempt));
    kernel.packages = packages.collect();
    kernel.removals = done.removals.iter().map(removal).collect();
}

fn removal(attempted: &AttemptedRemoval) -> RemovalReport {
    let Removal {
        package,
        dkms_version,
        reason,
        ..
    } = &attempted.removal;
    RemovalReport {
        package: package.clone(),
        dkms_version: dkms_version.clone(),
        revoked: reason.clone(),
        outcome: match &attempted.end {
            RemovalOutcome::Removed => RemovalStatus::Removed { until_reboot: false },
            RemovalOutcome::AtReboot => RemovalStatus::Removed { until_reboot: true },
            RemovalOutcome::Failed(failure) => RemovalStatus::Failed {
                reason: failure.reason.clone(),
                hint: failure.hint.clone(),
            },
        },
    }
}

fn package(context: &Context, machine: &Machine<'_>, attempt: &Attempt) -> PackageReport {
    let shown = |path: &std::path::Path| path_in_root(context.root(), path).display().to_string();
    let record = &attempt.offer.record;
    PackageReport {
        package: attempt.offer.id.clone(),
        dkms_version: record.dkms_version().to_owned(),
        summary: record.summary.clone(),
        serves: attempt
            .serves
            .iter()
            .map(|&n| machine.devices[n].path.clone())
            .collect(),
        outcome: match &attempt.end {
            End::Installed { files, loaded, pending } => InstallStatus::Installed {
                modules: files.iter().map(|file| shown(file)).collect(),
                loaded: *loaded,
                pending: pending.as_ref().map(|waiting| waiting.reason.clone()),
                hint: pending.as_ref().and_then(|waiting| waiting.hint.clone()),
            },
            End::Failed(failure) => InstallStatus::Failed {
                reason: failure.reason.clone(),
                log: failure.log.as_deref().map(shown),
                hint: failure.hint.clone(),
            },
        },
    }
}

/// Whether anything on the machine was changed.
pub(super) fn is_change(done: &Done) -> bool {
    let removed = |attempted: &AttemptedRemoval| !matches!(attempted.end, RemovalOutcome::Failed(_));
    done.attempts.iter().any(has_changed) || done.removals.iter().any(removed)
}

/// Whether the attempt changed anything: a package may be installed by an earlier run and still wait for its key.
fn has_changed(attempt: &Attempt) -> bool {
    matches!(&attempt.end, End::Installed { files, loaded, .. } if !files.is_empty() || *loaded)
}

/// The exit code for one kernel: for what was done, and for what its devices have now.
pub(super) fn exit(done: &Done, plan: &Plan) -> Exit {
    let left_without = |removal: &AttemptedRemoval| {
        plan.decisions.iter().any(|decision| {
            let is_it = |rejected: &Rejected| rejected.package.is_same_package(&removal.removal.package);
            matches!(&decision.verdict, Verdict::Refused { why } if why.iter().any(is_it))
        })
    };
    let is_unbound = |decision: &Decision| matches!(decision.verdict, Verdict::Unbound { .. });
    match exit_of_work(done) {
        // Removing what was revoked took a driver away, and no other one took its place.
        Exit::Converged | Exit::Pending if done.removals.iter().any(left_without) => Exit::Partly,
        Exit::Converged if plan.decisions.iter().any(is_unbound) => Exit::Unserved,
        exit => exit,
    }
}

/// The exit code for what was done. A package whose next version was installed has not failed.
pub(super) fn exit_of_work(done: &Done) -> Exit {
    let was_replaced = |failed: &Attempt| {
        let covered = |n: &usize| done.attempts.iter().any(|a| a.is_installed() && a.serves.contains(n));
        !failed.serves.is_empty() && failed.serves.iter().all(covered)
    };
    let attempts = done.attempts.iter().filter(|attempt| !was_replaced(attempt));
    let tried = attempts.filter_map(|attempt| match &attempt.end {
        // A package whose dkms.conf excludes this kernel has not failed.
        End::Failed(failure) if failure.cause != Cause::Unfit => Some(failure.cause),
        _ => None,
    });
    let failures: Vec<Cause> = tried.collect();
    let failed_removal = |attempted: &AttemptedRemoval| matches!(attempted.end, RemovalOutcome::Failed(_));
    let waits = |attempt: &Attempt| matches!(&attempt.end, End::Installed { pending: Some(_), .. });
    let in_use = |attempted: &AttemptedRemoval| matches!(attempted.end, RemovalOutcome::AtReboot);
    match failures.as_slice() {
        failures
            if failures
                .iter()
                .any(|cause| matches!(cause, Cause::Trust | Cause::Refused)) =>
        {
            Exit::Untrusted
        }
        _ if done.removals.iter().any(failed_removal) => Exit::Partly,
        [] if done.attempts.iter().any(waits) || done.removals.iter().any(in_use) => Exit::Pending,
        [] => Exit::Converged,
        _ if is_change(done) => Exit::Partly,
        failures if failures.iter().all(|cause| *cause == Cause::Network) => Exit::NoNetwork,
        failures if failures.contains(&Cause::NoSpace) => Exit::TryAgain,
        _ => Exit::BuildsFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use crate::apply::{Failure, PendingStep};
    use crate::candidate::OfferId;
    use crate::candidate::tests::offer;

    fn installed(pending: bool) -> End {
        End::Installed {
            files: Vec::new(),
            loaded: !pending,
            pending: pending.then(|| PendingStep {
                reason: "its key is not enrolled".into(),
                hint: None,
            }),
        }
    }

    fn failure(cause: Cause) -> Failure {
        Failure {
            reason: "it failed".into(),
            excerpt: None,
            hint: None,
            log: None,
            cause,
        }
    }

    /// Each attempt is for the device of its number.
    fn check(attempts: &[(usize, End)], removal_outcomes: &[RemovalOutcome], expected: Exit) {
        let attempt = |(device, end): &(usize, End)| Attempt {
            offer: Arc::new(offer("edu", "1.0")),
            tree_name: "edu".into(),
            serves: vec![*device],
            end: end.clone(),
        };
        let removal = Removal {
            package: OfferId {
                name: "edu".into(),
                version: "1.0".into(),
                repository: "test".into(),
                scope: String::new(),
            },
            tree_name: "edu".into(),
            dkms_version: "1.0".into(),
            modules: Vec::new(),
            reason: "it corrupts memory".into(),
        };
        let done = Done {
            attempts: attempts.iter().map(attempt).collect(),
            removals: removal_outcomes
                .iter()
                .map(|end| AttemptedRemoval {
                    removal: removal.clone(),
                    end: end.clone(),
                })
                .collect(),
        };
        assert_eq!(exit_of_work(&done), expected, "{attempts:?} {removal_outcomes:?}");
    }

    #[test]
    fn the_exit_code_says_what_is_left_to_do() {
        let failed = |cause| End::Failed(failure(cause));
        check(&[], &[], Exit::Converged);
        check(&[(0, installed(false))], &[], Exit::Converged);
        check(&[(0, installed(true))], &[], Exit::Pending);
        check(&[(0, failed(Cause::Package))], &[], Exit::BuildsFailed);
        check(&[(0, failed(Cause::Machine))], &[], Exit::BuildsFailed);
        check(&[(0, failed(Cause::Unfit))], &[], Exit::Converged);
        check(&[(0, failed(Cause::Network))], &[], Exit::NoNetwork);
        check(&[(0, failed(Cause::NoSpace))], &[], Exit::TryAgain);
        check(
            &[(0, failed(Cause::Trust)), (1, installed(false))],
            &[],
            Exit::Untrusted,
        );
        check(&[(0, failed(Cause::Refused))], &[], Exit::Untrusted);
        check(&[(0, failed(Cause::Package)), (1, installed(false))], &[], Exit::Partly);
        // The next candidate served the same device.
        check(
            &[(0, failed(Cause::Package)), (0, installed(false))],
            &[],
            Exit::Converged,
        );
        check(&[(0, failed(Cause::Package)), (0, installed(true))], &[], Exit::Pending);
        check(&[], &[RemovalOutcome::Removed], Exit::Converged);
        check(&[], &[RemovalOutcome::AtReboot], Exit::Pending);
        check(&[], &[RemovalOutcome::Failed(failure(Cause::Machine))], Exit::Partly);
        check(&[(0, failed(Cause::Network))], &[RemovalOutcome::Removed], Exit::Partly);
    }
}
