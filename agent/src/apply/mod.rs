//! The only loop that carries out a plan: fetch, add, build, install, load, check, record.
//!
//! A failure is a value. It puts a version in quarantine or sets a package aside, and the plan is made again, so that the next
//! candidate is tried. Every round rules out at least one version, so the loop ends.

mod aliases;
mod authority;
mod build;
mod load;
mod load_failure;
mod modprobe;
mod obtain;
mod outcome;
mod recipe;
mod remove;
mod source;
mod tools;
mod unload;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dkms_engine::command;
use dkms_engine::event::{Event, Sink as _};
use dkms_engine::install::Session as InstallSession;
use dkms_engine::kbuild::{BuildOptions, RunState};
use dkms_engine::kernel::KernelTarget;
use dkms_engine::package::{DkmsId, KernelId};
use dkms_engine::tree::{Tree, TreeLock};
use jiff::Timestamp;

use crate::candidate::{OfferId, Rejection, Rules};
use crate::config::Policy;
use crate::plan::{Plan, Step};
use crate::report::progress::{ProgressEvent, Reporter};
use crate::state::StateError;
use crate::state::records::{Entry, InstallRecord, Quarantined, Records};
use crate::survey::{Machine, Survey, installed_packages};

pub use modprobe::Loader;
pub use obtain::{Obtain, Obtained};
pub use outcome::{Attempt, AttemptedRemoval, Cause, Done, End, Failure, PendingStep, RemovalOutcome};
pub use remove::RemoveError;
pub use tools::usable;
pub use unload::{Unloaded, load_kernel_drivers, unload};

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
    /// When what happened cannot be recorded.
    pub async fn converge(
        &self,
        goal: &Goal<'_>,
        machine: &Machine<'_>,
        survey: &mut Survey,
        rules: &mut Rules,
        obtain: &mut Obtain<'_, '_>,
    ) -> Result<Done, StateError> {
        let mut done = Done::default();
        if let Goal::Devices = goal {
            let plan = machine.plan(survey, rules);
            done.removals = self.remove_revoked(&plan.revoked, machine, survey)?;
        }
        for _ in 0..ROUNDS_MAX {
            let mut attempts = self.install(goal, machine, survey, rules, obtain).await?;
            // A run can be interrupted here: all that was done is recorded.
            tokio::task::yield_now().await;
            let mut any_failed = false;
            if survey.live {
                // Only once: a package that waits for a key waits in the next round too.
                if let Goal::Devices = goal
                    && done.attempts.is_empty()
                {
                    attempts.extend(self.not_bound(machine, survey, rules, &attempts)?);
                }
                any_failed = self.load(machine, survey, rules, &mut attempts)?;
            }
            done.attempts.extend(attempts);
            if !any_failed || matches!(goal, Goal::Named(_)) {
                break;
            }
        }
        Ok(done)
    }

    /// Installs until nothing is left to do, and runs depmod once.
    async fn install(
        &self,
        goal: &Goal<'_>,
        machine: &Machine<'_>,
        survey: &mut Survey,
        rules: &mut Rules,
        obtain: &mut Obtain<'_, '_>,
    ) -> Result<Vec<Attempt>, StateError> {
        let mut attempts: Vec<Attempt> = Vec::new();
        let options = authority::no_scripts_yet();
        let mut session = InstallSession::new(self.tree, self.lock, options, self.reporter);
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
                        let attempt = failed(step, failure);
                        self.remember(&attempt, survey, rules)?;
                        attempts.push(attempt);
                    }
                    break;
                }
            };
            let round = self.round(&plan, machine, target, obtain, &mut session).await;
            let failed = round.iter().any(|attempt| matches!(attempt.end, End::Failed(_)));
            for attempt in round {
                self.remember(&attempt, survey, rules)?;
                attempts.push(attempt);
            }
            survey.installed = installed_packages(self.tree, &survey.kernel, &self.records.installed()?);
            if !failed || matches!(goal, Goal::Named(_)) || command::is_stopped() {
                break;
            }
        }
        self.finish_depmod(session, survey, &mut attempts)?;
        Ok(attempts)
    }

    /// Fetches all packages of a plan, then builds and installs them, each after what it needs.
    async fn round(
        &self,
        plan: &Plan,
        machine: &Machine<'_>,
        target: &Arc<KernelTarget>,
        obtain: &mut Obtain<'_, '_>,
        session: &mut InstallSession<'_>,
    ) -> Vec<Attempt> {
        let kernel = KernelId::from(&**target);
        let mut sources = BTreeMap::new();
        let mut ends: BTreeMap<OfferId, End> = BTreeMap::new();
        for step in &plan.steps {
            let devices: Vec<_> = step.serves.iter().map(|&n| &machine.devices[n]).collect();
            match obtain.package(&step.offer, &devices, self.reporter).await {
                Ok(obtained) => {
                    sources.insert(step.offer.id.clone(), obtained);
                }
                Err(failure) => {
                    self.report_failure(step, &kernel, &failure);
                    ends.insert(step.offer.id.clone(), End::Failed(failure));
                }
            }
        }
        // The index alone may not ask for a package: one that only packages without a verified manifest need is left out.
        let unneeded = obtain::unneeded(&plan.steps, |id| sources.contains_key(id));
        for id in &unneeded {
            sources.remove(id);
            let reason = "no package with a verified manifest needs it".to_owned();
            ends.insert(id.clone(), End::Failed(Failure::of(Cause::Machine, reason)));
        }
        let options = BuildOptions {
            run_state: Arc::clone(&self.run_state),
            ..BuildOptions::new(self.now)
        };
        build::waves(self, plan, target, &sources, &options, session, &mut ends);
        // The packages that needed them are reported. These have not failed, and another plan may install them.
        for id in &unneeded {
            ends.remove(id);
        }
        plan.steps
            .iter()
            .filter_map(|step| {
                let end = ends.remove(&step.offer.id)?;
                Some(Attempt {
                    offer: Arc::clone(&step.offer),
                    tree_name: step.tree_name.clone(),
                    serves: step.serves.clone(),
                    end,
                })
            })
            .collect()
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
                self.records.note_installed(&InstallRecord {
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
                })?;
                self.log("install", attempt, kernel, "done", "")
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
                self.log("install", attempt, kernel, "failed", &failure.reason)
            }
        }
    }

    fn log(
        &self,
        action: &str,
        attempt: &Attempt,
        kernel: &str,
        outcome: &str,
        detail: &str,
    ) -> Result<(), StateError> {
        self.records.log(&Entry {
            at: self.now,
            run: self.run.clone(),
            action: action.to_owned(),
            package: attempt.offer.id.name.clone(),
            scope: attempt.offer.id.scope.clone(),
            version: attempt.offer.id.version.clone(),
            kernel: kernel.to_owned(),
            outcome: outcome.to_owned(),
            detail: detail.to_owned(),
        })
    }

    /// Runs depmod once for all that was installed. Where it fails, the engine has undone the installation.
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
                self.records.note_removed(&attempt.tree_name, &survey.kernel.release)?;
                self.log("install", attempt, &survey.kernel.release, "undone", &reason)?;
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

/// The attempt at a step that failed.
fn failed(step: &Step, failure: &Failure) -> Attempt {
    Attempt {
        offer: Arc::clone(&step.offer),
        tree_name: step.tree_name.clone(),
        serves: step.serves.clone(),
        end: End::Failed(failure.clone()),
    }
}

/// What the DKMS tree calls the package of a step.
fn tree_id(step: &Step) -> Option<DkmsId> {
    DkmsId::new(&step.tree_name, step.offer.record.dkms_version())
}
