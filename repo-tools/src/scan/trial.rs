//! Trial builds: each package in a scratch root of its own kind, for real kernels, by the same engine that machines use.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dkms_engine::event::Sink;
use dkms_engine::framework::Framework;
use dkms_engine::kbuild::BuildOptions;
use dkms_engine::kernel::{KernelError, KernelOptions, KernelTarget};
use dkms_engine::recovery::lock_and_recover;
use dkms_engine::root::Root;
use dkms_engine::tree::Tree;

use super::batch::BatchRun;
pub use super::batch::OnBuilt;
use super::error::ScanError;
use super::facts::{KernelFacts, OnResults};
use super::order::{self, Needs};
use super::scratch::Scratch;
use super::tracker::Tracker;
use crate::files::FileError;
use crate::stage::{Stage, StagedPackage};

/// A kernel to build for.
#[derive(Debug, Clone)]
pub enum Target {
    /// By the compiler of this machine.
    Release(String),
    /// By the programs of the system in a directory, which has its headers, too.
    System(PathBuf, String),
}

impl Target {
    fn release(&self) -> &str {
        match self {
            Self::Release(release) | Self::System(_, release) => release,
        }
    }

    fn options(&self, roots: &[Root]) -> Result<KernelOptions, KernelError> {
        let (headers, system) = match self {
            Self::Release(release) => (find(roots, release)?.headers, None),
            Self::System(dir, release) => {
                let system = Root::at(dir);
                let headers = system.join(format!("/lib/modules/{release}/build"));
                (headers, Some(system.path().to_owned()))
            }
        };
        Ok(KernelOptions {
            source_dir: Some(headers),
            system,
            ..KernelOptions::default()
        })
    }
}

/// Who is told of builds.
pub struct Watch<'a> {
    /// What happens.
    pub sink: &'a dyn Sink,
    /// The results of a package, as soon as it is done.
    pub on_results: &'a OnResults<'a>,
    /// What was built.
    pub on_built: &'a OnBuilt<'a>,
}

/// A place for trial builds: an empty root that borrows headers and compiler of this machine, or of another system. This machine's own
/// DKMS settings are not read. It is removed when dropped.
#[derive(Debug)]
pub struct BuildRoot {
    scratch: Scratch,
    kernels: Vec<Arc<KernelTarget>>,
    facts: Vec<KernelFacts>,
}

impl BuildRoot {
    /// Prepares to build for `releases`, or for all kernels whose headers are in `roots`. The headers of a kernel are
    /// taken from the first of the roots that has them, else from this machine.
    ///
    /// # Errors
    /// When a kernel has no headers, or no scratch space can be had.
    pub fn new(roots: &[Root], releases: &[String]) -> Result<Self, ScanError> {
        let found = || roots.iter().flat_map(KernelTarget::all).map(|kernel| kernel.release);
        let releases: Vec<String> = match releases {
            [] => found().collect(),
            given => given.to_vec(),
        };
        let targets: Vec<Target> = releases.into_iter().map(Target::Release).collect();
        Self::for_targets(roots, &targets)
    }

    /// Prepares to build for `targets`. Of two with the same release the first one counts.
    ///
    /// # Errors
    /// When a kernel has no headers, or no scratch space can be had.
    pub fn for_targets(roots: &[Root], targets: &[Target]) -> Result<Self, ScanError> {
        if targets.is_empty() {
            return Err(ScanError::NoKernels);
        }
        let scratch = Scratch::new()?;
        let mut seen = BTreeSet::new();
        let kernels: Vec<Arc<KernelTarget>> = targets
            .iter()
            .filter(|target| seen.insert(target.release()))
            .map(|target| {
                let options = target.options(roots)?;
                KernelTarget::find(&Root::at(scratch.path()), target.release(), &options).map(Arc::new)
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

    /// The root that packages are built in, which can be inspected meanwhile.
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// The kernels, in the order they were asked for.
    pub fn kernels(&self) -> &[KernelFacts] {
        &self.facts
    }

    /// Builds packages of `staged` for kernels, both by index, in parallel over one jobserver and in the order of their
    /// dependencies. `on_results` takes the results of a package as soon as it is done, from the thread that built it.
    ///
    /// # Errors
    /// When the builds cannot be made at all, or the first error of `on_results`.
    pub fn run(
        &self,
        stage: &Stage,
        staged: &[StagedPackage],
        asked: &[(usize, Vec<usize>)],
        options: &BuildOptions,
        sink: &dyn Sink,
        on_results: &OnResults<'_>,
    ) -> Result<(), ScanError> {
        let watch = Watch {
            sink,
            on_results,
            on_built: &|_, _, _| {},
        };
        self.run_watched(stage, staged, asked, options, &watch)
    }

    /// [`BuildRoot::run`], with a look at the files of each build.
    ///
    /// # Errors
    /// As [`BuildRoot::run`].
    pub fn run_watched(
        &self,
        stage: &Stage,
        staged: &[StagedPackage],
        asked: &[(usize, Vec<usize>)],
        options: &BuildOptions,
        watch: &Watch<'_>,
    ) -> Result<(), ScanError> {
        let needs: Vec<Needs<'_>> = staged
            .iter()
            .map(|package| Needs {
                name: &package.manifest.name,
                dkms_version: package.manifest.dkms_version(),
                depends: &package.manifest.recipe.build_depends,
            })
            .collect();
        for batch in order::plan(&needs, asked) {
            let tree = Tree::new(&Root::at(self.scratch.path()), &Framework::default());
            let run = BatchRun {
                kernels: &self.kernels,
                stage,
                staged,
                tree: &tree,
                lock: lock_and_recover(&tree, watch.sink)?,
                tracker: Tracker::new(watch.on_results),
                on_built: watch.on_built,
            };
            run.run(&batch, options, watch.sink)?;
            drop(run);
            // The next batch may have the same names again.
            for place in [tree.path().to_owned(), tree.source_tree()] {
                fs::remove_dir_all(&place).map_err(FileError::on("remove", &place))?;
            }
        }
        Ok(())
    }
}

/// A kernel in the first root that has its headers; where none has, those of this machine.
fn find(roots: &[Root], release: &str) -> Result<KernelTarget, KernelError> {
    let in_root = |root: &Root| KernelTarget::find(root, release, &KernelOptions::default());
    let own = roots
        .iter()
        .filter_map(|root| in_root(root).ok())
        .find(|kernel| !kernel.borrowed);
    own.map_or_else(|| in_root(&Root::host()), Ok)
}

/// Where the log of a package's failed build for a kernel is kept.
pub fn log_file(stage: &Stage, package: &StagedPackage, kernel: &KernelFacts) -> PathBuf {
    let name = format!("{}-{}.log", kernel.release, kernel.arch);
    stage
        .package_dir(&package.manifest.name, &package.manifest.version)
        .join("log")
        .join(name)
}
