//! One batch of trial builds: packages that fit into one tree, wave after wave.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::fs;
use std::sync::{Arc, Mutex};

use dkms_engine::conf::{self, ConfContext, DkmsConf};
use dkms_engine::event::Sink;
use dkms_engine::excerpt;
use dkms_engine::kbuild::{BuildError, BuildOptions, BuildOutcome, BuildRequest, Built, Diagnosis, build_each};
use dkms_engine::kernel::KernelTarget;
use dkms_engine::ko::{self, ModuleInfo};
use dkms_engine::package::DkmsId;
use dkms_engine::tree::{AddOptions, Tree, TreeLock};

use super::error::ScanError;
use super::facts::Trial;
use super::names::StableNames;
use super::order::{Batch, Blocked};
use super::tracker::{Tracker, lock};
use crate::files;
use crate::ingest::{self, Limits};
use crate::stage::{Stage, StagedPackage};

/// Sees each build while its files are there: the package and the kernel, both by index. It is called from the thread that built, also for
/// packages that only others need.
pub type OnBuilt<'a> = dyn Fn(usize, usize, &Built) + Sync + 'a;

/// The trial builds of one batch, in one DKMS tree.
pub(super) struct BatchRun<'a> {
    pub(super) kernels: &'a [Arc<KernelTarget>],
    pub(super) stage: &'a Stage,
    pub(super) staged: &'a [StagedPackage],
    pub(super) tree: &'a Tree,
    pub(super) lock: TreeLock,
    pub(super) tracker: Tracker<'a>,
    pub(super) on_built: &'a OnBuilt<'a>,
}

impl BatchRun<'_> {
    /// Builds the waves one after the other. Only an error of the results' callback stops it.
    pub(super) fn run(&self, batch: &Batch, options: &BuildOptions, sink: &dyn Sink) -> Result<(), ScanError> {
        let mut ids: BTreeMap<usize, DkmsId> = BTreeMap::new();
        for (package, kernels, why) in &batch.blocked {
            self.tracker.expect(*package, kernels.len(), Vec::new());
            for kernel in kernels {
                self.tracker
                    .record(*package, *kernel, Trial::Blocked(why.to_string()), None);
            }
        }
        for job in batch.waves.iter().flatten() {
            match self.place(&self.staged[job.package], sink) {
                Ok(id) => {
                    self.tracker.expect(job.package, job.asked.len(), self.confs(&id));
                    ids.insert(job.package, id);
                }
                Err(NotAdded { reason, log }) => {
                    self.tracker.expect(job.package, job.asked.len(), Vec::new());
                    for kernel in &job.asked {
                        let trial = Trial::Inconclusive(reason.clone());
                        self.tracker.record(job.package, *kernel, trial, log.clone());
                    }
                }
            }
        }
        let built: Mutex<BTreeSet<(&str, usize)>> = Mutex::default();
        for wave in &batch.waves {
            let mut requests = Vec::new();
            let mut owners = Vec::new();
            for job in wave {
                let Some(id) = ids.get(&job.package) else { continue };
                for kernel in &job.kernels {
                    let depends = &self.staged[job.package].manifest.recipe.build_depends;
                    let is_missing = |name: &&String| !lock(&built).contains(&(name.as_str(), *kernel));
                    if let Some(missing) = depends.iter().find(is_missing) {
                        if job.asked.contains(kernel) {
                            let trial = Trial::Blocked(Blocked::Unbuilt(missing.clone()).to_string());
                            self.tracker.record(job.package, *kernel, trial, None);
                        }
                        continue;
                    }
                    requests.push(BuildRequest::new(id.clone(), Arc::clone(&self.kernels[*kernel])));
                    owners.push((job, *kernel));
                }
            }
            build_each(self.tree, &self.lock, &requests, options, sink, &|index, outcome| {
                let (job, kernel) = owners[index];
                if let Some(build) = outcome.built() {
                    (self.on_built)(job.package, kernel, build);
                    let name = self.staged[job.package].manifest.name.as_str();
                    lock(&built).insert((name, kernel));
                }
                if job.asked.contains(&kernel) {
                    let log = match &outcome {
                        BuildOutcome::Failed(failure) => failure.log.as_ref().and_then(|log| fs::read(log).ok()),
                        _ => None,
                    };
                    let names = StableNames::of(self.tree, &self.kernels[kernel]);
                    self.tracker.record(job.package, kernel, trial(outcome, &names), log);
                }
            });
            self.tracker.first_error()?;
        }
        self.tracker.first_error()
    }

    /// Unpacks a package's bundle into the tree.
    fn place(&self, package: &StagedPackage, sink: &dyn Sink) -> Result<DkmsId, NotAdded> {
        let manifest = &package.manifest;
        let id = DkmsId::new(&manifest.name, manifest.dkms_version())
            .ok_or_else(|| format!("{} {} is no name for a package", manifest.name, manifest.dkms_version()))?;
        let bytes = files::read(&self.stage.bundle_path(&manifest.bundle)).map_err(|error| error.to_string())?;
        let source = ingest::bundle::unpack(&bytes, Limits::default()).map_err(|error| error.to_string())?;
        let dir = self.tree.source_tree().join(id.dashed());
        files::create_dir(&dir).map_err(|error| error.to_string())?;
        source
            .write_to(&dir)
            .map_err(|error| format!("cannot write {}: {error}", dir.display()))?;
        let context = ConfContext::for_kernel(&self.kernels[0]);
        self.tree
            .add(&self.lock, &id, &context, &AddOptions::default(), sink)
            .map_err(|error| NotAdded {
                reason: error
                    .source()
                    .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}")),
                log: excerpt::of(&error).map(String::into_bytes),
            })?;
        Ok(id)
    }

    /// The package's `dkms.conf` as each kernel sees it.
    fn confs(&self, id: &DkmsId) -> Vec<DkmsConf> {
        let dir = self.tree.source_dir(id);
        self.kernels
            .iter()
            .filter_map(|kernel| {
                let context = ConfContext::for_kernel(kernel).of_package(&id.module, &id.version);
                conf::evaluate(&dir, &context).ok()
            })
            .collect()
    }
}

/// Why a package could not be added to the tree.
struct NotAdded {
    reason: String,
    /// Output that explains it.
    log: Option<Vec<u8>>,
}

impl From<String> for NotAdded {
    fn from(reason: String) -> Self {
        Self { reason, log: None }
    }
}

fn trial(outcome: BuildOutcome, names: &StableNames) -> Trial {
    match outcome {
        BuildOutcome::Built(built) | BuildOutcome::Current(built) => match modules(&built) {
            Ok(modules) => Trial::Built(modules),
            Err(error) => Trial::Inconclusive(error.to_string()),
        },
        BuildOutcome::Excluded { why, .. } => Trial::Excluded(why.to_string()),
        BuildOutcome::Failed(failure) if is_source_failure(&failure.error) => {
            Trial::Failed(names.apply(&failure.to_string()))
        }
        BuildOutcome::Failed(failure) => Trial::Inconclusive(failure.to_string()),
    }
}

fn modules(built: &Built) -> Result<Vec<ModuleInfo>, ko::KoError> {
    let directory = built.dir.join("module");
    built
        .modules
        .iter()
        .map(|module| ModuleInfo::read(&directory.join(&module.file)))
        .collect()
}

/// Whether a failure says something about the source. A full disk or a missing program says something about this machine
/// only, and must not become a fact that keeps others from building.
fn is_source_failure(error: &BuildError) -> bool {
    match error {
        BuildError::Make { diagnosis, .. } => !matches!(
            diagnosis,
            Diagnosis::NoSpace
                | Diagnosis::Killed { .. }
                | Diagnosis::ToolMissing { .. }
                | Diagnosis::LibraryMissing { .. }
                | Diagnosis::CompilerMismatch { .. }
                | Diagnosis::HeadersIncomplete { .. }
                | Diagnosis::TimedOut { .. }
        ),
        BuildError::Conf(_)
        | BuildError::PatchMissing { .. }
        | BuildError::PatchFailed { .. }
        | BuildError::Script(_)
        | BuildError::ModuleMissing { .. }
        | BuildError::Unfit(_) => true,
        _ => false,
    }
}
