//! The only loop that carries out a plan: fetch, add, build, install, load, check, record. `round.rs` is what happens to one plan.
//!
//! A failure is a value. It puts a version in quarantine or sets a package aside, and the plan is made again, so that the next
//! candidate is tried. Every round rules out at least one version, so the loop ends.

mod aliases;
mod authority;
mod build;
mod first_load;
mod load;
mod load_failure;
mod load_installed;
mod modprobe;
mod module_view;
mod obtain;
mod outcome;
mod read_only;
mod recipe;
mod remove;
mod retire;
mod rollback;
mod round;
mod signing;
mod source;
mod tools;
mod trial;
mod unload;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use dkms_engine::command;
use dkms_engine::event::{Event, Sink as _};
use dkms_engine::install::Session as InstallSession;
use dkms_engine::kbuild::RunState;
use dkms_engine::package::{DkmsId, KernelId};
use dkms_engine::tree::{Tree, TreeLock};
use jiff::Timestamp;

use crate::candidate::{Rejection, Rules};
use crate::config::Policy;
use crate::host::start;
use crate::plan::{Plan, Step};
use crate::report::progress::{ProgressEvent, Reporter};
use crate::runtime::{Interrupted, Runtime};
use crate::state::StateError;
use crate::state::records::{Entry, InstallRecord, Quarantined, Records};
use crate::survey::{Machine, Survey, installed_packages};
use round::{Round, attempt};

pub use first_load::has_first_load_file;
pub use modprobe::Loader;
pub use obtain::{Obtain, Obtained};
pub use outcome::{Attempt, AttemptedRemoval, Cause, Done, End, Failure, PendingStep, RemovalOutcome};
pub use read_only::read_only;
pub use remove::RemoveError;
pub use retire::RetireError;
pub use rollback::has_build;
pub use tools::usable;
pub use trial::{Undo, end_left_out, end_undo, left_out, no_longer_left_out, on_trial, undo};
pub use unload::{Unloaded, load_again, load_kernel_drivers, unload};

/// Most rounds of planning and building. Each rules out at least one version.
const ROUNDS_MAX: usize = 32;

/// Carries out plans, with what every step needs.
pub struct Worker<'a> {
    /// The DKMS tree.
    pub tree: &'a Tree,
    /// The lock that proves that this run may change it.
    pub lock: &'a TreeLock,
    /// Installed packages, holds, quarantine and history.
    pub records: &'a Records,
    /// Where progress is reported.
    pub reporter: &'a Reporter,
    /// When the run began.
    pub now: Timestamp,
    /// The identifier of the run in the history.
    pub run: String,
    /// The policy of the machine's owner: which packages may run scripts as root.
    pub policy: &'a Policy,
    /// How modules are loaded.
    pub loader: Loader,
    /// What all builds of the run share.
    pub run_state: Arc<RunState>,
}

/// Why a loop stopped before its end.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// What happened could not be recorded.
    #[error(transparent)]
    State(#[from] StateError),
    /// A signal arrived.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Where the packages of a loop come from.
pub enum Goal<'a> {
    /// What the devices need.
    Devices,
    /// A plan for packages given by name; it is carried out once, without alternatives.
    Named(&'a Plan),
}

impl Worker<'_> {
    /// Carries out the plan for one kernel. `survey` and `rules` are updated with what happened.
    ///
    /// # Errors
    /// When what happened cannot be recorded, or a signal arrived; what was done until then is recorded.
    pub fn converge(
        &self,
        goal: &Goal<'_>,
        machine: &Machine<'_>,
        survey: &mut Survey,
        rules: &mut Rules,
        obtain: &mut Obtain<'_, '_>,
        runtime: &Runtime,
    ) -> Result<Done, Stopped> {
        let mut done = Done::default();
        let is_for_devices = matches!(goal, Goal::Devices);
        if is_for_devices {
            let plan = machine.plan(survey, rules);
            done.removals = self.remove_revoked(&plan.revoked, machine, survey)?;
        }
        let mut session = self.removal_session();
        if is_for_devices && survey.live {
            // A run that was killed before its depmod left modules that cannot be loaded by name yet.
            self.finish_depmod(session, survey, &mut [])?;
            session = self.removal_session();
            done.attempts = self.load_unbound(machine, survey, rules, &mut session)?;
        }
        if survey.live {
            self.warn_of_signing_key(goal, machine, survey, rules);
        }
        for _ in 0..ROUNDS_MAX {
            let mut attempts = self.install(goal, machine, survey, rules, obtain, runtime, &mut session)?;
            self.finish_depmod(session, survey, &mut attempts)?;
            // Between two rounds all that was done is recorded.
            runtime.check()?;
            session = self.removal_session();
            let any_failed = survey.live && self.load_rest(machine, survey, rules, &mut session, &mut attempts)?;
            done.attempts.extend(attempts);
            if !any_failed || !is_for_devices {
                break;
            }
        }
        self.finish_depmod(session, survey, &mut [])?;
        Ok(done)
    }

    /// Installs until nothing is left to do.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a run, each borrowed in its own way"
    )]
    fn install(
        &self,
        goal: &Goal<'_>,
        machine: &Machine<'_>,
        survey: &mut Survey,
        rules: &mut Rules,
        obtain: &mut Obtain<'_, '_>,
        runtime: &Runtime,
        session: &mut InstallSession<'_>,
    ) -> Result<Vec<Attempt>, StateError> {
        let mut attempts: Vec<Attempt> = Vec::new();
        let target = usable(survey, &machine.host.root);
        for _ in 0..ROUNDS_MAX {
            let plan = match goal {
                Goal::Devices => machine.plan(survey, rules),
                Goal::Named(plan) => (*plan).clone(),
            };
            if plan.steps.is_empty() {
                break;
            }
            let target = match &target {
                Ok(target) => target,
                // Another package could not be built either.
                Err(failure) => {
                    self.warn(failure);
                    for step in &plan.steps {
                        let attempt = attempt(step, End::Failed(failure.clone()));
                        self.remember(&attempt, survey, rules)?;
                        attempts.push(attempt);
                    }
                    break;
                }
            };
            let round = Round {
                worker: self,
                plan: &plan,
                machine,
                survey,
                target,
                rules,
                session,
            };
            let ended = round.run(obtain, runtime)?;
            let failed = ended.iter().any(|attempt| !attempt.is_installed());
            attempts.extend(ended);
            survey.installed = installed_packages(self.tree, &survey.kernel, &self.records.installed()?);
            if !failed || matches!(goal, Goal::Named(_)) || command::is_stopped() {
                break;
            }
        }
        Ok(attempts)
    }

    fn warn(&self, failure: &Failure) {
        self.reporter.report(ProgressEvent::Warning {
            text: failure.reason.clone(),
            hint: failure.hint.clone(),
        });
    }

    fn report_failure(&self, step: &Step, kernel: &KernelId, failure: &Failure) {
        if let Some(package) = tree_id(step) {
            self.reporter.emit(Event::Failed {
                subject: package.subject(Some(kernel)),
                reason: failure.reason.clone(),
                log: failure.log.clone(),
            });
        }
        self.reporter
            .explain(failure.excerpt.as_deref(), failure.hint.as_deref());
    }

    /// Records the outcome, and adds it to the rules of the next plan.
    fn remember(&self, attempt: &Attempt, survey: &Survey, rules: &mut Rules) -> Result<(), StateError> {
        let record = &attempt.offer.record;
        let kernel = &survey.kernel.release;
        match &attempt.end {
            End::Installed { .. } => {
                rules
                    .tree_names
                    .insert(attempt.tree_name.clone(), attempt.offer.id.key());
                let installed = InstallRecord {
                    package: attempt.tree_name.clone(),
                    name: record.name.clone(),
                    scope: attempt.offer.id.scope.clone(),
                    kernel: kernel.clone(),
                    version: record.version.clone(),
                    dkms_version: record.dkms_version().to_owned(),
                    repository: attempt.offer.id.repository.clone(),
                    bundle_sha256: record.bundle.sha256.clone(),
                    root_scripts: record.recipe.root_scripts.clone(),
                    at: self.now,
                };
                let entry = self.entry("install", attempt, kernel, "done", "");
                let number = self.records.record_install(&installed, &entry)?;
                let before = number.saturating_sub(1);
                self.begin_trial(attempt, survey, before);
                Ok(())
            }
            End::Failed(failure) => {
                let entry = Quarantined {
                    bundle_sha256: record.bundle.sha256.clone(),
                    package: record.name.clone(),
                    version: record.version.clone(),
                    kernel: kernel.clone(),
                    reason: failure.reason.clone(),
                    at: self.now,
                };
                match failure.cause {
                    Cause::Package | Cause::Refused => {
                        self.records.quarantine(&entry)?;
                        self.reporter.report(ProgressEvent::Quarantined {
                            package: attempt.offer.id.clone(),
                            kernel: kernel.clone(),
                            reason: failure.reason.clone(),
                        });
                        rules.quarantine.push(entry);
                    }
                    Cause::Unfit => rules.quarantine.push(entry),
                    Cause::Machine | Cause::NoSpace | Cause::Trust | Cause::Network => {
                        let why = Rejection::Failed {
                            reason: failure.reason.clone(),
                        };
                        rules.set_aside.insert(attempt.offer.id.key(), why);
                    }
                }
                let entry = self.entry("install", attempt, kernel, "failed", &failure.reason);
                self.records.log(&entry).map(|_| ())
            }
        }
    }

    /// Puts what was installed on trial; `before` is the entry of the history before it.
    fn begin_trial(&self, attempt: &Attempt, survey: &Survey, before: u32) {
        let root = self.tree.root();
        let modules = &attempt.offer.record.modules;
        // Another kernel may need for its start what this one does not.
        let is_late = survey.live && !modules.iter().any(|module| start::may_need(root, module));
        let subject = trial::Subject {
            kernel: &survey.kernel.release,
            package: &attempt.tree_name,
            modules,
            is_late,
        };
        self.warn_about_trial(trial::begin(root, &self.policy.healthy_target, before, &subject));
    }

    /// Without a trial nobody undoes what was installed when boots end early: all else works.
    fn warn_about_trial(&self, changed: io::Result<()>) {
        if let Err(error) = changed {
            self.reporter.report(ProgressEvent::Warning {
                text: format!("boots are not counted after this change: {error}"),
                hint: None,
            });
        }
    }

    fn entry(&self, action: &str, attempt: &Attempt, kernel: &str, outcome: &str, detail: &str) -> Entry {
        Entry {
            at: self.now,
            run: self.run.clone(),
            action: action.to_owned(),
            package: attempt.offer.id.name.clone(),
            scope: attempt.offer.id.scope.clone(),
            version: attempt.offer.id.version.clone(),
            kernel: kernel.to_owned(),
            outcome: outcome.to_owned(),
            detail: detail.to_owned(),
        }
    }

    /// Runs depmod once for all that was installed and removed. Where it fails, the engine has undone the installation.
    fn finish_depmod(
        &self,
        session: InstallSession<'_>,
        survey: &mut Survey,
        attempts: &mut [Attempt],
    ) -> Result<(), StateError> {
        let Err(errors) = session.finish() else { return Ok(()) };
        let undone: BTreeSet<DkmsId> = errors.iter().flat_map(|error| error.rolled_back.clone()).collect();
        let reason = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        for attempt in attempts.iter_mut() {
            if matches!(attempt.end, End::Installed { .. }) && attempt.tree_id().is_some_and(|id| undone.contains(&id))
            {
                let kernel = &survey.kernel.release;
                let entry = self.entry("install", attempt, kernel, "undone", &reason);
                self.records.record_removal(&attempt.tree_name, kernel, &entry)?;
                self.warn_about_trial(trial::end(self.tree.root(), kernel, &attempt.tree_name));
                let hint = errors.iter().find_map(dkms_engine::install::DepmodError::hint);
                attempt.end = End::Failed(Failure {
                    hint,
                    ..Failure::of(Cause::Machine, reason.clone())
                });
            }
        }
        survey.installed = installed_packages(self.tree, &survey.kernel, &self.records.installed()?);
        Ok(())
    }
}

/// What the DKMS tree calls the package of a step.
fn tree_id(step: &Step) -> Option<DkmsId> {
    DkmsId::new(&step.tree_name, step.offer.record.dkms_version())
}
