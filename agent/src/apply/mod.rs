//! The only loop that carries a plan out: fetch, add, build, install, load, check, record.
//!
//! A failure is a value. It puts a version in quarantine or a package aside, and the plan is made anew by the new facts, so
//! that the next candidate gets its turn; the loop ends when nothing is left to do. Every round rules something out, so it
//! does end.

mod build;
mod load;
mod modprobe;
mod obtain;
mod outcome;
mod refusal;
mod remove;
mod source;
mod unload;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dkms_engine::command;
use dkms_engine::event::{Event, Sink as _};
use dkms_engine::install::{InstallOptions, Session as InstallSession};
use dkms_engine::kbuild::BuildOptions;
use dkms_engine::kernel::KernelTarget;
use dkms_engine::package::{DkmsId, KernelId};
use dkms_engine::tree::{Tree, TreeLock};
use jiff::Timestamp;

use crate::candidate::{Offer, OfferId, Rejection, Rules};
use crate::plan::{Plan, Step};
use crate::report::progress::{ProgressEvent, Reporter};
use crate::state::StateError;
use crate::state::records::{Entry, Installed as InstalledRecord, Quarantined, Records};
use crate::survey::{Machine, Survey, standing};

pub use modprobe::Loader;
pub use obtain::{Obtain, Obtained};
pub use outcome::{Attempt, Cause, Done, End, Failure, Waiting};
pub use remove::{RemovalOutcome, RemoveError, Withdrawn};
pub use unload::{Unloaded, adopt, unload};

/// Rounds of planning and building; each rules out at least one version, and nobody has so many.
const ROUNDS_MAX: usize = 32;

/// What the loop works with.
pub struct Worker<'a> {
    /// The DKMS tree.
    pub tree: &'a Tree,
    /// The right to change it.
    pub lock: &'a TreeLock,
    /// What was decided and done here.
    pub records: &'a Records,
    /// Who is told.
    pub reporter: &'a Reporter,
    /// When the run began.
    pub now: Timestamp,
    /// What its entries in the history have in common.
    pub run: String,
    /// Packages whose scripts may run as root.
    pub scripts_allowed: bool,
    /// How the running kernel is asked to load modules.
    pub loader: Loader,
}

/// Where the packages of a loop come from.
pub enum Goal<'a> {
    /// What the devices need.
    Devices,
    /// A plan that a person asked for; it is carried out once, without alternatives.
    Named(&'a Plan),
}

impl Worker<'_> {
    /// Brings one kernel to what the plan wants. `survey` and `rules` learn what happened.
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
            done.withdrawn = self.withdraw(&plan.withdrawal, machine, survey)?;
        }
        for _ in 0..ROUNDS_MAX {
            let mut attempts = self.install(goal, machine, survey, rules, obtain).await?;
            // Whoever told us to stop waits for this moment: all that was done is recorded.
            tokio::task::yield_now().await;
            let mut useless = false;
            if survey.live {
                // Once: what waits for a key now will wait in the next round too.
                if let Goal::Devices = goal
                    && done.attempts.is_empty()
                {
                    attempts.extend(self.unproven(machine, survey, rules, &attempts)?);
                }
                useless = self.load(machine, survey, rules, &mut attempts)?;
            }
            done.attempts.extend(attempts);
            if !useless || matches!(goal, Goal::Named(_)) {
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
        let options = InstallOptions {
            run_scripts: self.scripts_allowed,
            ..InstallOptions::default()
        };
        let mut session = InstallSession::new(self.tree, self.lock, options, self.reporter);
        for _ in 0..ROUNDS_MAX {
            let plan = match goal {
                Goal::Devices => machine.plan(survey, rules),
                Goal::Named(plan) => (*plan).clone(),
            };
            if plan.steps.is_empty() {
                break;
            }
            let round = self.round(&plan, machine, survey, obtain, &mut session).await;
            let failed = round.iter().any(|attempt| matches!(attempt.end, End::Failed(_)));
            for attempt in round {
                self.remember(&attempt, survey, rules)?;
                attempts.push(attempt);
            }
            survey.standing = standing(self.tree, &survey.kernel, &self.records.installed()?);
            if !failed || matches!(goal, Goal::Named(_)) || command::is_stopped() {
                break;
            }
        }
        self.settle_depmod(session, survey, &mut attempts)?;
        Ok(attempts)
    }

    /// Fetches all packages of a plan, then builds and installs them, each after what it needs.
    async fn round(
        &self,
        plan: &Plan,
        machine: &Machine<'_>,
        survey: &Survey,
        obtain: &mut Obtain<'_, '_>,
        session: &mut InstallSession<'_>,
    ) -> Vec<Attempt> {
        let target = match usable(survey) {
            Ok(target) => target,
            Err(failure) => {
                return plan
                    .steps
                    .iter()
                    .map(|step| self.failed(step, survey, failure.clone()))
                    .collect();
            }
        };
        let kernel = KernelId::from(&*target);
        let mut sources = BTreeMap::new();
        let mut ends: BTreeMap<OfferId, End> = BTreeMap::new();
        for step in &plan.steps {
            let devices: Vec<_> = step.serves.iter().map(|&n| &machine.devices[n]).collect();
            match obtain.package(&step.offer, &devices, self.reporter).await {
                Ok(obtained) => {
                    sources.insert(step.offer.id.clone(), obtained);
                }
                Err(failure) => {
                    self.tell_failure(step, &kernel, &failure);
                    ends.insert(step.offer.id.clone(), End::Failed(failure));
                }
            }
        }
        let options = BuildOptions {
            run_scripts: self.scripts_allowed,
            ..BuildOptions::new(self.now)
        };
        build::waves(self, plan, &target, &sources, &options, session, &mut ends);
        plan.steps
            .iter()
            .filter_map(|step| {
                let end = ends.remove(&step.offer.id)?;
                Some(Attempt {
                    offer: Arc::clone(&step.offer),
                    serves: step.serves.clone(),
                    end,
                })
            })
            .collect()
    }

    fn failed(&self, step: &Step, survey: &Survey, failure: Failure) -> Attempt {
        if let Some(kernel) = KernelId::new(&survey.kernel.release, &survey.kernel.arch) {
            self.tell_failure(step, &kernel, &failure);
        }
        Attempt {
            offer: Arc::clone(&step.offer),
            serves: step.serves.clone(),
            end: End::Failed(failure),
        }
    }

    fn tell_failure(&self, step: &Step, kernel: &KernelId, failure: &Failure) {
        if let Some(package) = tree_id(&step.offer) {
            self.reporter.emit(Event::Failed {
                subject: package.subject(Some(kernel)),
                reason: failure.reason.clone(),
                log: failure.log.clone(),
            });
        }
        self.reporter
            .explain(failure.excerpt.as_deref(), failure.hint.as_deref());
    }

    /// Writes down what happened, and lets the next plan know.
    fn remember(&self, attempt: &Attempt, survey: &Survey, rules: &mut Rules) -> Result<(), StateError> {
        let record = &attempt.offer.record;
        let kernel = &survey.kernel.release;
        match &attempt.end {
            End::Installed { .. } => {
                self.records.note_installed(&InstalledRecord {
                    package: record.name.clone(),
                    kernel: kernel.clone(),
                    version: record.version.clone(),
                    dkms_version: record.dkms_version().to_owned(),
                    repository: attempt.offer.id.repository.clone(),
                    bundle_sha256: record.bundle.sha256.clone(),
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
                    Cause::Package => {
                        self.records.quarantine(&entry)?;
                        self.reporter.tell(ProgressEvent::Quarantined {
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
                        rules.set_aside.insert(record.name.clone(), why);
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
            version: attempt.offer.id.version.clone(),
            kernel: kernel.to_owned(),
            outcome: outcome.to_owned(),
            detail: detail.to_owned(),
        })
    }

    /// One depmod for all that was installed; where it fails, the engine has taken everything back.
    fn settle_depmod(
        &self,
        session: InstallSession<'_>,
        survey: &mut Survey,
        attempts: &mut [Attempt],
    ) -> Result<(), StateError> {
        let Err(errors) = session.finish() else { return Ok(()) };
        let undone: BTreeSet<DkmsId> = errors.iter().flat_map(|error| error.rolled_back.clone()).collect();
        let reason = errors
            .iter()
            .map(|error| format!("failed to {error}"))
            .collect::<Vec<_>>()
            .join("; ");
        for attempt in attempts.iter_mut() {
            if matches!(attempt.end, End::Installed { .. })
                && tree_id(&attempt.offer).is_some_and(|id| undone.contains(&id))
            {
                self.records
                    .note_removed(&attempt.offer.id.name, &survey.kernel.release)?;
                self.log("install", attempt, &survey.kernel.release, "undone", &reason)?;
                let hint = errors.iter().find_map(dkms_engine::install::DepmodError::hint);
                attempt.end = End::Failed(Failure {
                    hint,
                    ..Failure::of(Cause::Machine, reason.clone())
                });
            }
        }
        survey.standing = standing(self.tree, &survey.kernel, &self.records.installed()?);
        Ok(())
    }
}

/// What there is to build against, and with.
fn usable(survey: &Survey) -> Result<Arc<KernelTarget>, Failure> {
    let target = survey.target.as_ref().map_err(|error| Failure {
        hint: error.hint(),
        ..Failure::of(Cause::Machine, format!("failed to {error}"))
    })?;
    let toolchain = target.toolchain();
    if toolchain.present.is_some() {
        return Ok(Arc::clone(target));
    }
    let wanted = toolchain.wanted.as_deref().unwrap_or(&toolchain.cc);
    let program = wanted.split_whitespace().next().unwrap_or("gcc");
    Err(Failure {
        hint: Some(target.distribution.install_command(program)),
        ..Failure::of(
            Cause::Machine,
            format!(
                "no compiler is installed: kernel {} was built with {wanted}",
                target.release
            ),
        )
    })
}

/// What the DKMS tree calls a package.
fn tree_id(offer: &Offer) -> Option<DkmsId> {
    DkmsId::new(&offer.record.name, offer.record.dkms_version())
}
