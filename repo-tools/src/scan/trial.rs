//! Trial builds: each package in a scratch root of its own kind, for real kernels, by the same engine that machines use.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dkms_engine::build::{
    BuildError, BuildFailure, BuildOptions, BuildOutcome, BuildRequest, Built, Diagnosis, build_all,
};
use dkms_engine::conf::{self, ConfContext, DkmsConf};
use dkms_engine::event::Sink;
use dkms_engine::framework::Framework;
use dkms_engine::kernel::{KernelError, KernelOptions, KernelTarget};
use dkms_engine::ko::{self, ModuleInfo};
use dkms_engine::package::PackageId;
use dkms_engine::root::Root;
use dkms_engine::tree::{AddOptions, Tree, TreeError};

use super::facts::{KernelFacts, Results, Trial};
use crate::files::{self, FileError};
use crate::ingest::{self, Limits};
use crate::stage::{Stage, StageError, StagedPackage};

/// Why a scan cannot be carried out at all. What happens to one package is a [`Trial`].
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A kernel to build for is not there.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// There is no kernel to build for.
    #[error("there are no kernel headers on this machine to build for")]
    NoKernels,
    /// The scratch tree cannot be used.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The staging area refused.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl ScanError {
    /// The way out.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Kernel(error) => error.hint(),
            Self::NoKernels => Some("install kernel headers, such as `apt-get install linux-headers-amd64`".to_owned()),
            Self::Tree(error) => error.hint(),
            Self::Stage(error) => error.hint(),
            Self::File(error) => error.hint(),
        }
    }
}

/// A place for trial builds: an empty root that borrows headers and compiler of this machine. Nothing of this machine's
/// own DKMS settings has a say. It is removed when dropped.
#[derive(Debug)]
pub struct Bench {
    scratch: tempfile::TempDir,
    kernels: Vec<Arc<KernelTarget>>,
    facts: Vec<KernelFacts>,
}

impl Bench {
    /// Prepares to build for `releases`, or for all kernels whose headers are there. Headers are looked for in `root` first.
    ///
    /// # Errors
    /// When a kernel has no headers, or no scratch space can be had.
    pub fn new(root: &Root, releases: &[String]) -> Result<Self, ScanError> {
        let releases = match releases {
            [] => KernelTarget::all(root)
                .into_iter()
                .map(|kernel| kernel.release)
                .collect(),
            given => given.to_vec(),
        };
        if releases.is_empty() {
            return Err(ScanError::NoKernels);
        }
        let scratch = scratch()?;
        let kernels: Vec<Arc<KernelTarget>> = releases
            .iter()
            .map(|release| {
                let found = KernelTarget::find(root, release, &KernelOptions::default())?;
                let options = KernelOptions {
                    source_dir: Some(found.headers),
                    ..KernelOptions::default()
                };
                KernelTarget::find(&Root::at(scratch.path()), release, &options).map(Arc::new)
            })
            .collect::<Result<_, _>>()?;
        let facts = kernels
            .iter()
            .map(|kernel| KernelFacts {
                release: kernel.release.clone(),
                arch: kernel.arch.clone(),
                compiler: kernel.toolchain().present.clone().unwrap_or_default(),
            })
            .collect();
        Ok(Self {
            scratch,
            kernels,
            facts,
        })
    }

    /// The root that packages are built in, for who wants to look while they are.
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// The kernels, in the order they were asked for.
    pub fn kernels(&self) -> &[KernelFacts] {
        &self.facts
    }

    /// Builds each package for the kernels (by index) that it comes with, side by side over one jobserver, and returns
    /// what was learnt in their order. Logs of failed builds go beside the staged documents.
    ///
    /// # Errors
    /// When the bench itself fails.
    pub fn run(
        &self,
        stage: &Stage,
        work: &[(StagedPackage, Vec<usize>)],
        options: &BuildOptions,
        sink: &dyn Sink,
    ) -> Result<Vec<Results>, ScanError> {
        let mut results = vec![Results::default(); work.len()];
        for round in rounds(work) {
            self.round(stage, work, &round, options, sink, &mut results)?;
        }
        Ok(results)
    }

    /// One tree full of packages.
    fn round(
        &self,
        stage: &Stage,
        work: &[(StagedPackage, Vec<usize>)],
        round: &[usize],
        options: &BuildOptions,
        sink: &dyn Sink,
        results: &mut [Results],
    ) -> Result<(), ScanError> {
        let tree = Tree::new(&Root::at(self.scratch.path()), &Framework::default());
        let lock = tree.lock(sink)?;
        let mut requests = Vec::new();
        let mut owners = Vec::new();
        for &index in round {
            let (package, kernels) = &work[index];
            match self.place(stage, &tree, &lock, package, sink) {
                Ok(id) => {
                    results[index].confs = self.confs(&tree, &id);
                    for &kernel in kernels {
                        requests.push(BuildRequest::new(id.clone(), Arc::clone(&self.kernels[kernel])));
                        owners.push((index, kernel));
                    }
                }
                Err(reason) => {
                    let tried = kernels
                        .iter()
                        .map(|kernel| (*kernel, Trial::Inconclusive(reason.clone())));
                    results[index].trials.extend(tried);
                }
            }
        }
        let outcomes = build_all(&tree, &lock, &requests, options, sink);
        for ((index, kernel), outcome) in owners.into_iter().zip(outcomes) {
            if let BuildOutcome::Failed(failure) = &outcome {
                keep_log(stage, &work[index].0, failure)?;
            }
            results[index].trials.push((kernel, trial(outcome)));
        }
        drop(lock);
        // The next round has the same names again.
        for place in [tree.path().to_owned(), tree.source_tree()] {
            fs::remove_dir_all(&place).map_err(FileError::on("remove", &place))?;
        }
        Ok(())
    }

    /// Unpacks a package's bundle into the tree.
    fn place(
        &self,
        stage: &Stage,
        tree: &Tree,
        lock: &dkms_engine::tree::TreeLock,
        package: &StagedPackage,
        sink: &dyn Sink,
    ) -> Result<PackageId, String> {
        let manifest = &package.manifest;
        let id = PackageId::new(&manifest.name, manifest.dkms_version())
            .ok_or_else(|| format!("{} {} is no name for a package", manifest.name, manifest.dkms_version()))?;
        let bytes = files::read(&stage.bundle_path(&manifest.bundle)).map_err(|error| error.to_string())?;
        let source = ingest::bundle::unpack(&bytes, Limits::default()).map_err(|error| error.to_string())?;
        let dir = tree.source_tree().join(id.dashed());
        files::create_dir(&dir).map_err(|error| error.to_string())?;
        source
            .write_to(&dir)
            .map_err(|error| format!("write {}: {error}", dir.display()))?;
        let context = ConfContext::for_kernel(&self.kernels[0]);
        tree.add(lock, &id, &context, &AddOptions::default(), sink)
            .map_err(|error| error.to_string())?;
        Ok(id)
    }

    /// The package's `dkms.conf` as each kernel sees it.
    fn confs(&self, tree: &Tree, id: &PackageId) -> Vec<DkmsConf> {
        let dir = tree.source_dir(id);
        self.kernels
            .iter()
            .filter_map(|kernel| {
                let context = ConfContext::for_kernel(kernel).of_package(&id.module, &id.version);
                conf::evaluate(&dir, &context).ok()
            })
            .collect()
    }
}

fn scratch() -> Result<tempfile::TempDir, FileError> {
    let parent = std::env::temp_dir();
    let directory = tempfile::Builder::new()
        .prefix("dkms-repo-scan-")
        .tempdir_in(&parent)
        .map_err(FileError::on("create a directory in", &parent))?;
    for part in ["usr/src", "var/lib/dkms", "lib/modules", "tmp"] {
        files::create_dir(&directory.path().join(part))?;
    }
    Ok(directory)
}

/// Which packages go into one tree together: it holds each name and `PACKAGE_VERSION` once.
fn rounds(work: &[(StagedPackage, Vec<usize>)]) -> Vec<Vec<usize>> {
    let mut seen: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut rounds: Vec<Vec<usize>> = Vec::new();
    for (index, (package, _)) in work.iter().enumerate() {
        let manifest = &package.manifest;
        let round = seen.entry((&manifest.name, manifest.dkms_version())).or_default();
        if rounds.len() == *round {
            rounds.push(Vec::new());
        }
        rounds[*round].push(index);
        *round += 1;
    }
    rounds
}

fn trial(outcome: BuildOutcome) -> Trial {
    match outcome {
        BuildOutcome::Built(built) | BuildOutcome::Current(built) => match modules(&built) {
            Ok(modules) => Trial::Built(modules),
            Err(error) => Trial::Inconclusive(error.to_string()),
        },
        BuildOutcome::Excluded { why, .. } => Trial::Excluded(why.to_string()),
        BuildOutcome::Failed(failure) if is_the_sources_fault(&failure.error) => Trial::Failed(failure.to_string()),
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
fn is_the_sources_fault(error: &BuildError) -> bool {
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

/// Where the log of a package's failed build for a kernel is kept.
pub fn log_file(stage: &Stage, package: &StagedPackage, kernel: &KernelFacts) -> PathBuf {
    let name = format!("{}-{}.log", kernel.release, kernel.arch);
    stage
        .package_dir(&package.manifest.name, &package.manifest.version)
        .join("log")
        .join(name)
}

fn keep_log(stage: &Stage, package: &StagedPackage, failure: &BuildFailure) -> Result<(), FileError> {
    let Some(log) = &failure.log else { return Ok(()) };
    let kernel = KernelFacts {
        release: failure.kernel.release.clone(),
        arch: failure.kernel.arch.clone(),
        compiler: String::new(),
    };
    files::write_atomic(&log_file(stage, package, &kernel), &files::read(log)?)
}
