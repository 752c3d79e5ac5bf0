//! What the subcommands that change a machine share: the lock on the tree, the loop's helpers, and what to make of its end.

use dkms_engine::tree::{Tree, TreeLock};

use super::auto::scratch;
use super::context::Context;
use super::failure::Failure;
use super::sync::Opened;
use crate::apply::{Attempt, End, Fault, Obtain, Worker};
use crate::exit::Exit;
use crate::fetch::Store;
use crate::report::progress::inside;
use crate::report::{Outcome, PackageReport};
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
        scratch: scratch(context),
    }
}

/// One package of the plan in the report.
pub(super) fn report(context: &Context, machine: &Machine<'_>, attempt: &Attempt) -> PackageReport {
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
                pending: pending.clone(),
            },
            End::Failed(setback) => Outcome::Failed {
                reason: setback.reason.clone(),
                log: setback.log.as_deref().map(shown),
                hint: setback.hint.clone(),
            },
        },
    }
}

/// Whether something was installed.
pub(super) fn is_installed(attempt: &Attempt) -> bool {
    matches!(attempt.end, End::Installed { .. })
}

/// Whether anything is different now: a package may also be there from an earlier run and still wait for its key.
pub(super) fn has_changed(attempt: &Attempt) -> bool {
    matches!(&attempt.end, End::Installed { files, loaded, .. } if !files.is_empty() || *loaded)
}

/// The exit code for what was tried. A package whose next version was installed has not failed.
pub(super) fn exit(attempts: &[Attempt]) -> Exit {
    let made_good = |failed: &Attempt| {
        let covered = |n: &usize| attempts.iter().any(|a| is_installed(a) && a.serves.contains(n));
        !failed.serves.is_empty() && failed.serves.iter().all(covered)
    };
    let failures: Vec<Fault> = attempts
        .iter()
        .filter(|attempt| !made_good(attempt))
        .filter_map(|attempt| match &attempt.end {
            // A package that is not meant for this kernel by its own word has not failed either.
            End::Failed(setback) if setback.fault != Fault::Unfit => Some(setback.fault),
            _ => None,
        })
        .collect();
    let installed = attempts.iter().any(is_installed);
    let pending = attempts
        .iter()
        .any(|a| matches!(&a.end, End::Installed { pending: Some(_), .. }));
    match failures.as_slice() {
        failures if failures.contains(&Fault::Trust) => Exit::Untrusted,
        [] if pending => Exit::Pending,
        [] => Exit::Converged,
        _ if installed => Exit::Partly,
        failures if failures.iter().all(|fault| *fault == Fault::Network) => Exit::NoNetwork,
        _ => Exit::BuildsFailed,
    }
}
