//! The only loop that carries a plan out: fetch, add, build, install, load, check, record.
//!
//! A failure is a value. It puts a version in quarantine or a package aside, and the plan is made anew by the new facts, so
//! that the next candidate gets its turn; the loop ends when nothing is left to do. Every round rules something out, so it
//! does end.

mod build;
mod load;
mod modprobe;
mod obtain;
mod source;
mod unload;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dkms_engine::build::BuildOptions;
use dkms_engine::event::{Event, Sink as _};
use dkms_engine::install::{InstallOptions, Session as InstallSession};
use dkms_engine::package::{KernelId, PackageId as TreeId};
use dkms_engine::tree::{Tree, TreeLock};
use jiff::Timestamp;

use crate::candidate::{Offer, PackageId, Rejection, Rules};
use crate::plan::{Plan, Step};
use crate::report::progress::{Happening, Reporter};
use crate::state::StateError;
use crate::state::records::{Entry, Installed as InstalledRecord, Quarantined, Records};
use crate::survey::{Machine, Survey, standing};

pub use obtain::{Obtain, Obtained};
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
}

/// What became of a package that was to be installed.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The package.
    pub offer: Arc<Offer>,
    /// The devices it was for.
    pub serves: Vec<usize>,
    /// How it ended.
    pub end: End,
}

/// How the work on one package ended.
#[derive(Debug, Clone)]
pub enum End {
    /// It is installed.
    Installed {
        /// The files.
        files: Vec<std::path::PathBuf>,
        /// Whether the running kernel has loaded it.
        loaded: bool,
        /// Why it waits for a reboot or for a key, if it does.
        pending: Option<String>,
    },
    /// It is not, and nothing of it is left.
    Failed(Setback),
}

/// Why a package was not installed, and what follows from that.
#[derive(Debug, Clone)]
pub struct Setback {
    /// In one sentence.
    pub reason: String,
    /// The way out.
    pub hint: Option<String>,
    /// The log of the build.
    pub log: Option<std::path::PathBuf>,
    /// Whose fault it is.
    pub fault: Fault,
}

impl Setback {
    /// Without a way out or a log.
    fn of(fault: Fault, reason: String) -> Self {
        Self {
            reason,
            hint: None,
            log: None,
            fault,
        }
    }
}

/// Whose fault a failure is decides what is tried next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The package's: this version is not tried again on this machine for this kernel, the next one is.
    Package,
    /// The package says itself that it is not for this kernel: the next one is tried.
    Unfit,
    /// This machine's: a full disk, a missing compiler. Nothing is held against the package.
    Machine,
    /// Not what its keys promise. No other version is tried: that would let a mirror choose an old one.
    Trust,
    /// No mirror gave it. No other version is tried either.
    Network,
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
    ) -> Result<Vec<Attempt>, StateError> {
        let mut attempts: Vec<Attempt> = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let mut done = self.install(goal, machine, survey, rules, obtain).await?;
            let mut useless = false;
            if survey.live {
                // Once: what waits for a key now will wait in the next round too.
                if let Goal::Devices = goal
                    && attempts.is_empty()
                {
                    done.extend(self.unproven(machine, survey, rules, &done)?);
                }
                useless = self.load(machine, survey, rules, &mut done)?;
            }
            attempts.extend(done);
            if !useless || matches!(goal, Goal::Named(_)) {
                break;
            }
        }
        Ok(attempts)
    }

    /// Plans, builds and installs until nothing is left to do but loading.
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
            if !failed || matches!(goal, Goal::Named(_)) {
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
        let target = match &survey.target {
            Ok(target) => Arc::clone(target),
            Err(error) => {
                let setback = Setback {
                    hint: error.hint(),
                    ..Setback::of(Fault::Machine, format!("failed to {error}"))
                };
                return plan
                    .steps
                    .iter()
                    .map(|step| self.failed(step, survey, setback.clone()))
                    .collect();
            }
        };
        let mut sources = BTreeMap::new();
        let mut ends: BTreeMap<PackageId, End> = BTreeMap::new();
        for step in &plan.steps {
            let devices: Vec<_> = step.serves.iter().map(|&n| &machine.devices[n]).collect();
            match obtain.package(&step.offer, &devices, self.reporter).await {
                Ok(obtained) => {
                    sources.insert(step.offer.id.clone(), obtained);
                }
                Err(setback) => {
                    self.tell_failure(step, survey, &setback);
                    ends.insert(step.offer.id.clone(), End::Failed(setback));
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

    fn failed(&self, step: &Step, survey: &Survey, setback: Setback) -> Attempt {
        self.tell_failure(step, survey, &setback);
        Attempt {
            offer: Arc::clone(&step.offer),
            serves: step.serves.clone(),
            end: End::Failed(setback),
        }
    }

    fn tell_failure(&self, step: &Step, survey: &Survey, setback: &Setback) {
        if let Some(package) = tree_id(&step.offer) {
            let kernel = KernelId::new(&survey.kernel.release, &survey.kernel.arch);
            self.reporter.emit(Event::Failed {
                subject: package.subject(kernel.as_ref()),
                reason: setback.reason.clone(),
                log: setback.log.clone(),
            });
        }
        if let Some(hint) = &setback.hint {
            self.reporter.hint(hint);
        }
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
            End::Failed(setback) => {
                let entry = Quarantined {
                    bundle_sha256: record.bundle.sha256.clone(),
                    package: record.name.clone(),
                    version: record.version.clone(),
                    kernel: kernel.clone(),
                    reason: setback.reason.clone(),
                    at: self.now,
                };
                match setback.fault {
                    Fault::Package => {
                        self.records.quarantine(&entry)?;
                        self.reporter.tell(Happening::Quarantined {
                            package: attempt.offer.id.clone(),
                            kernel: kernel.clone(),
                            reason: setback.reason.clone(),
                        });
                        rules.quarantine.push(entry);
                    }
                    Fault::Unfit => rules.quarantine.push(entry),
                    Fault::Machine | Fault::Trust | Fault::Network => {
                        let why = Rejection::Failed {
                            reason: setback.reason.clone(),
                        };
                        rules.set_aside.insert(record.name.clone(), why);
                    }
                }
                self.log("install", attempt, kernel, "failed", &setback.reason)
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
        let undone: BTreeSet<TreeId> = errors.iter().flat_map(|error| error.rolled_back.clone()).collect();
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
                attempt.end = End::Failed(Setback {
                    hint,
                    ..Setback::of(Fault::Machine, reason.clone())
                });
            }
        }
        survey.standing = standing(self.tree, &survey.kernel, &self.records.installed()?);
        Ok(())
    }
}

/// What the DKMS tree calls a package.
fn tree_id(offer: &Offer) -> Option<TreeId> {
    TreeId::new(&offer.record.name, offer.record.dkms_version())
}
