//! What the subcommands that change a machine share: the lock on the tree, the loop's helpers, and what to make of its end.

use dkms_engine::tree::{Tree, TreeLock};

use super::context::Context;
use super::failure::Failure;
use super::sync::Opened;
use crate::apply::{Attempt, Cause, Done, End, Loader, Obtain, RemovalOutcome, Withdrawn, Worker};
use crate::exit::Exit;
use crate::fetch::Store;
use crate::plan::Removal;
use crate::report::progress::inside;
use crate::report::{KernelReport, Outcome, PackageReport, RemovalReport, RemovalReportOutcome};
use crate::state::records::Records;
use crate::survey::Machine;

/// The right to work on a tree.
pub(super) struct Work<'a> {
    context: &'a Context,
    tree: &'a Tree,
    lock: TreeLock,
    records: &'a Records,
}

/// Takes the tree's lock, which also finishes what an interrupted run left behind.
pub(super) fn begin<'a>(context: &'a Context, tree: &'a Tree, records: &'a Records) -> Result<Work<'a>, Failure> {
    let lock = tree.lock(&context.reporter)?;
    Ok(Work {
        context,
        tree,
        lock,
        records,
    })
}

impl Work<'_> {
    /// Who carries plans out.
    pub(super) fn worker(&self) -> Worker<'_> {
        Worker {
            tree: self.tree,
            lock: &self.lock,
            records: self.records,
            reporter: &self.context.reporter,
            now: self.context.now,
            run: self.context.run(),
            // Which packages may, `admit` has decided; those that may not never come this far.
            scripts_allowed: true,
            loader: Loader::default(),
        }
    }

    /// The tree's lock.
    pub(super) fn lock(&self) -> &TreeLock {
        &self.lock
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

/// Puts what was done into the report on a kernel.
pub(super) fn tell(kernel: &mut KernelReport, context: &Context, machine: &Machine<'_>, done: &Done) {
    let packages = done.attempts.iter().map(|attempt| package(context, machine, attempt));
    kernel.packages = packages.collect();
    kernel.removals = done.withdrawn.iter().map(removal).collect();
}

fn removal(withdrawn: &Withdrawn) -> RemovalReport {
    let Removal {
        package,
        dkms_version,
        reason,
        ..
    } = &withdrawn.removal;
    RemovalReport {
        package: package.clone(),
        dkms_version: dkms_version.clone(),
        revoked: reason.clone(),
        outcome: match &withdrawn.end {
            RemovalOutcome::Removed => RemovalReportOutcome::Removed { until_reboot: false },
            RemovalOutcome::AtReboot => RemovalReportOutcome::Removed { until_reboot: true },
            RemovalOutcome::Failed(failure) => RemovalReportOutcome::Failed {
                reason: failure.reason.clone(),
                hint: failure.hint.clone(),
            },
        },
    }
}

fn package(context: &Context, machine: &Machine<'_>, attempt: &Attempt) -> PackageReport {
    let shown = |path: &std::path::Path| inside(context.root(), path).display().to_string();
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
            End::Installed { files, loaded, pending } => Outcome::Installed {
                modules: files.iter().map(|file| shown(file)).collect(),
                loaded: *loaded,
                pending: pending.as_ref().map(|waiting| waiting.reason.clone()),
                hint: pending.as_ref().and_then(|waiting| waiting.hint.clone()),
            },
            End::Failed(failure) => Outcome::Failed {
                reason: failure.reason.clone(),
                log: failure.log.as_deref().map(shown),
                hint: failure.hint.clone(),
            },
        },
    }
}

/// Whether the machine is another than before.
pub(super) fn is_change(done: &Done) -> bool {
    let gone = |withdrawn: &Withdrawn| !matches!(withdrawn.end, RemovalOutcome::Failed(_));
    done.attempts.iter().any(has_changed) || done.withdrawn.iter().any(gone)
}

fn is_installed(attempt: &Attempt) -> bool {
    matches!(attempt.end, End::Installed { .. })
}

/// Whether anything is different now: a package may also be there from an earlier run and still wait for its key.
fn has_changed(attempt: &Attempt) -> bool {
    matches!(&attempt.end, End::Installed { files, loaded, .. } if !files.is_empty() || *loaded)
}

/// The exit code for what was done. A package whose next version was installed has not failed.
pub(super) fn exit(done: &Done) -> Exit {
    let made_good = |failed: &Attempt| {
        let covered = |n: &usize| done.attempts.iter().any(|a| is_installed(a) && a.serves.contains(n));
        !failed.serves.is_empty() && failed.serves.iter().all(covered)
    };
    let attempts = done.attempts.iter().filter(|attempt| !made_good(attempt));
    let tried = attempts.filter_map(|attempt| match &attempt.end {
        // A package that is not meant for this kernel by its own word has not failed either.
        End::Failed(failure) if failure.cause != Cause::Unfit => Some(failure.cause),
        _ => None,
    });
    let failures: Vec<Cause> = tried.collect();
    let stayed = |withdrawn: &Withdrawn| matches!(withdrawn.end, RemovalOutcome::Failed(_));
    let waits = |attempt: &Attempt| matches!(&attempt.end, End::Installed { pending: Some(_), .. });
    let lingers = |withdrawn: &Withdrawn| matches!(withdrawn.end, RemovalOutcome::AtReboot);
    match failures.as_slice() {
        failures if failures.contains(&Cause::Trust) => Exit::Untrusted,
        _ if done.withdrawn.iter().any(stayed) => Exit::Partly,
        [] if done.attempts.iter().any(waits) || done.withdrawn.iter().any(lingers) => Exit::Pending,
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

    use crate::apply::{Failure, Waiting};
    use crate::candidate::OfferId;
    use crate::candidate::tests::offer;

    fn installed(pending: bool) -> End {
        End::Installed {
            files: Vec::new(),
            loaded: !pending,
            pending: pending.then(|| Waiting {
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
    fn check(attempts: &[(usize, End)], farewells: &[RemovalOutcome], expected: Exit) {
        let attempt = |(device, end): &(usize, End)| Attempt {
            offer: Arc::new(offer("edu", "1.0")),
            serves: vec![*device],
            end: end.clone(),
        };
        let removal = Removal {
            package: OfferId {
                name: "edu".into(),
                version: "1.0".into(),
                repository: "test".into(),
            },
            dkms_version: "1.0".into(),
            modules: Vec::new(),
            reason: "it burns".into(),
        };
        let done = Done {
            attempts: attempts.iter().map(attempt).collect(),
            withdrawn: farewells
                .iter()
                .map(|end| Withdrawn {
                    removal: removal.clone(),
                    end: end.clone(),
                })
                .collect(),
        };
        assert_eq!(exit(&done), expected, "{attempts:?} {farewells:?}");
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
