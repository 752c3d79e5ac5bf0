//! One round over a plan: bundles are fetched side by side, each is built as soon as it is there and all it needs is installed, and each
//! is installed and loaded as soon as it is built, while others are fetched and compiled.
//!
//! Builds run on threads of their own. All else, and so every change of the records and of the module tree, happens on the caller's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dkms_engine::install::Session as InstallSession;
use dkms_engine::kbuild::{BuildOptions, BuildOutcome, BuildQueue, build_queued};
use dkms_engine::kernel::KernelTarget;
use dkms_engine::package::KernelId;
use dkms_index::trust::TrustedManifest;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::load::When;
use super::source::Origin;
use super::{Attempt, Cause, End, Failure, Obtain, Obtained, Worker, build, obtain};
use crate::candidate::Rules;
use crate::interrupt::Interrupt;
use crate::plan::{Plan, Step};
use crate::runtime::Runtime;
use crate::state::StateError;
use crate::survey::{Machine, Survey};

/// How many bundles are fetched side by side.
const DOWNLOADS_MAX: usize = 4;

/// What a round works on.
pub(super) struct Round<'r, 'w, 's> {
    pub(super) worker: &'r Worker<'w>,
    pub(super) plan: &'r Plan,
    pub(super) machine: &'r Machine<'r>,
    pub(super) survey: &'r Survey,
    pub(super) target: &'r Arc<KernelTarget>,
    pub(super) rules: &'r mut Rules,
    pub(super) session: &'r mut InstallSession<'s>,
}

/// How far a round is. Steps are called by their numbers in the plan.
#[derive(Default)]
struct Progress {
    /// The sources that are there.
    sources: BTreeMap<usize, Obtained>,
    /// The builds that run or wait, by their numbers in the queue.
    building: BTreeMap<usize, (usize, Origin)>,
    /// The steps that nothing is to be done for, and which are not to be mentioned.
    unneeded: BTreeSet<usize>,
    /// How steps ended.
    attempts: BTreeMap<usize, Attempt>,
}

/// Closes the queue also where the round ends in a panic: the builders wait for it.
struct Closing<'q>(&'q BuildQueue);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Round<'_, '_, '_> {
    /// Carries the plan out. After a signal, what has begun is ended and nothing new begins.
    ///
    /// # Errors
    /// When what happened cannot be recorded.
    pub(super) fn run(mut self, obtain: &mut Obtain<'_, '_>, runtime: &Runtime) -> Result<Vec<Attempt>, StateError> {
        let options = BuildOptions {
            run_state: Arc::clone(&self.worker.run_state),
            together: true,
            ..BuildOptions::new(self.worker.now)
        };
        let queue = BuildQueue::default();
        let (tell, told) = unbounded_channel();
        let (tree, lock, reporter) = (self.worker.tree, self.worker.lock, self.worker.reporter);
        let at_once = self.plan.steps.len();
        std::thread::scope(|scope| {
            let _closing = Closing(&queue);
            let (queue, options) = (&queue, &options);
            scope.spawn(move || {
                build_queued(tree, lock, queue, at_once, options, reporter, &|number, outcome| {
                    // Nobody listens any more after a failure of the records.
                    let _ = tell.send((number, outcome));
                });
            });
            runtime.run_to_end(|interrupt| self.work(obtain, interrupt, queue, told))
        })
    }

    async fn work(
        &mut self,
        obtain: &mut Obtain<'_, '_>,
        mut interrupt: Interrupt,
        queue: &BuildQueue,
        mut told: UnboundedReceiver<(usize, BuildOutcome)>,
    ) -> Result<Vec<Attempt>, StateError> {
        let mut progress = Progress::default();
        let manifests = tokio::select! {
            biased;
            _ = interrupt.received() => return Ok(Vec::new()),
            manifests = self.manifests(obtain, &mut progress) => manifests?,
        };
        let steps = &self.plan.steps;
        let reporter = self.worker.reporter;
        let obtain = &*obtain;
        let downloads = manifests.iter().map(|(number, trusted)| async move {
            (*number, obtain.source(&steps[*number].offer, trusted, reporter).await)
        });
        let mut downloads = stream::iter(downloads).buffer_unordered(DOWNLOADS_MAX);
        let (mut is_fetching, mut is_stopped) = (true, false);
        while is_fetching || !progress.building.is_empty() {
            tokio::select! {
                biased;
                _ = interrupt.received(), if !is_stopped => {
                    (is_stopped, is_fetching) = (true, false);
                }
                Some((number, outcome)) = told.recv(), if !progress.building.is_empty() => {
                    self.built(number, outcome, &mut progress)?;
                }
                fetched = downloads.next(), if is_fetching => match fetched {
                    Some((number, Ok(source))) => drop(progress.sources.insert(number, source)),
                    Some((number, Err(failure))) => {
                        self.worker.report_failure(&self.plan.steps[number], &self.kernel(), &failure);
                        self.ended(number, End::Failed(failure), &mut progress)?;
                    }
                    None => is_fetching = false,
                },
            }
            if !is_stopped {
                self.begin_builds(queue, &mut progress)?;
            }
        }
        Ok(progress.attempts.into_values().collect())
    }

    fn kernel(&self) -> KernelId {
        KernelId::from(&**self.target)
    }

    /// The manifests of all steps: without them nothing else of a package is fetched.
    async fn manifests(
        &mut self,
        obtain: &mut Obtain<'_, '_>,
        progress: &mut Progress,
    ) -> Result<BTreeMap<usize, TrustedManifest>, StateError> {
        let mut manifests = BTreeMap::new();
        for (number, step) in self.plan.steps.iter().enumerate() {
            let devices: Vec<_> = step.serves.iter().map(|&n| &self.machine.devices[n]).collect();
            match obtain.manifest(&step.offer, &devices).await {
                Ok(manifest) => drop(manifests.insert(number, manifest)),
                Err(failure) => {
                    self.worker.report_failure(step, &self.kernel(), &failure);
                    self.ended(number, End::Failed(failure), progress)?;
                }
            }
        }
        // The index alone may not ask for a package: one that only packages without a verified manifest need is left out. It has not
        // failed, and another plan may install it.
        for number in obtain::unneeded(&self.plan.steps, |number| manifests.contains_key(&number)) {
            manifests.remove(&number);
            progress.unneeded.insert(number);
        }
        Ok(manifests)
    }

    /// Hands to the builders every source for which all that it needs is installed.
    fn begin_builds(&mut self, queue: &BuildQueue, progress: &mut Progress) -> Result<(), StateError> {
        for (number, step) in self.plan.steps.iter().enumerate() {
            let is_building = progress.building.values().any(|(building, _)| *building == number);
            if is_building || progress.attempts.contains_key(&number) || progress.unneeded.contains(&number) {
                continue;
            }
            let ended = |need: &usize| progress.attempts.get(need);
            let is_installed = |need: &usize| ended(need).is_some_and(Attempt::is_installed);
            let is_missing = |need: &usize| {
                progress.unneeded.contains(need) || ended(need).is_some_and(|attempt| !attempt.is_installed())
            };
            if step.after.iter().any(is_missing) {
                let reason = "a package that it needs could not be installed".to_owned();
                self.ended(number, End::Failed(Failure::of(Cause::Machine, reason)), progress)?;
                continue;
            }
            let Some(source) = progress
                .sources
                .get(&number)
                .filter(|_| step.after.iter().all(is_installed))
            else {
                continue;
            };
            match build::add(self.worker, self.session, step, self.target, source) {
                Ok((request, origin)) => {
                    progress.building.insert(queue.add(request), (number, origin));
                }
                Err(failure) => {
                    self.worker.report_failure(step, &self.kernel(), &failure);
                    self.ended(number, End::Failed(failure), progress)?;
                }
            }
        }
        Ok(())
    }

    /// Installs and loads what was built.
    fn built(&mut self, build: usize, outcome: BuildOutcome, progress: &mut Progress) -> Result<(), StateError> {
        let Some((number, origin)) = progress.building.remove(&build) else {
            return Ok(());
        };
        // Its unpacked source is not needed any more.
        let Some(source) = progress.sources.remove(&number) else {
            return Ok(());
        };
        let (worker, kernel) = (self.worker, self.kernel());
        let step = &self.plan.steps[number];
        let end = build::finish(worker, self.session, step, &kernel, &source, origin, outcome);
        self.ended(number, end, progress)
    }

    /// Records how a step ended. What was installed on the running machine is loaded.
    fn ended(&mut self, number: usize, end: End, progress: &mut Progress) -> Result<(), StateError> {
        let mut attempt = attempt(&self.plan.steps[number], end);
        self.worker.remember(&attempt, self.survey, self.rules)?;
        if self.survey.live {
            let (machine, survey) = (self.machine, self.survey);
            let when = When::BeforeDepmod;
            self.worker
                .load(machine, survey, self.rules, self.session, &mut attempt, when)?;
        }
        progress.attempts.insert(number, attempt);
        Ok(())
    }
}

/// The attempt at a step.
pub(super) fn attempt(step: &Step, end: End) -> Attempt {
    Attempt {
        offer: Arc::clone(&step.offer),
        tree_name: step.tree_name.clone(),
        serves: step.serves.clone(),
        end,
    }
}
