//! The state of the tree as data, and as the lines that scripts parse.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::record::{BuildRecord, FailureRecord, RecordedModule};
use super::{Tree, built_files, subdirs};
use crate::conf::{ConfContext, evaluate};
use crate::distribution::Distribution;
use crate::fsutil::same_content;
use crate::kernel::is_release;
use crate::ko::module_name;
use crate::package::{DkmsId, KernelId};

/// The state of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Its source is missing.
    Broken,
    /// Known, built for no kernel.
    Added,
    /// Built for a kernel.
    Built,
    /// Installed for a kernel.
    Installed,
}

impl State {
    /// The word of the status line.
    pub fn word(self) -> &'static str {
        match self {
            State::Broken => "broken",
            State::Added => "added",
            State::Built => "built",
            State::Installed => "installed",
        }
    }
}

/// One line of status. `Display` gives the line as upstream prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The package.
    #[serde(flatten)]
    pub package: DkmsId,
    /// For which kernel; None for added and broken ones.
    pub kernel: Option<KernelId>,
    /// Its state.
    pub state: State,
    /// Modules that it replaced are kept in the tree.
    pub originals_exist: bool,
    /// Installed, but a module is not where it was installed, or one is missing in the tree.
    pub modules_missing: bool,
    /// Installed, but a module there is not the one that was built.
    pub modules_differ: bool,
    /// Builds that failed since the last one that succeeded: for this kernel, or for any where the state is added.
    pub failures: Vec<Failure>,
}

/// A build that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The package.
    pub package: DkmsId,
    /// The kernel.
    pub kernel: KernelId,
    /// Why.
    #[serde(flatten)]
    pub record: FailureRecord,
    /// The log of the build.
    pub log: PathBuf,
}

/// A module that a kernel uses through weak-modules. `Display` gives the line as upstream prints it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct WeakStatus {
    /// The package.
    #[serde(flatten)]
    pub package: DkmsId,
    /// The kernel that uses it.
    pub kernel: KernelId,
    /// The release that it was built for.
    pub from: String,
}

/// Which lines are wanted. None matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this package.
    pub module: Option<String>,
    /// Only this version.
    pub version: Option<String>,
    /// Only this kernel.
    pub release: Option<String>,
    /// Only this architecture.
    pub arch: Option<String>,
}

impl Filter {
    fn wants(&self, package: &DkmsId) -> bool {
        is(&self.module, &package.module) && is(&self.version, &package.version)
    }

    fn wants_kernel(&self, kernel: &KernelId) -> bool {
        is(&self.release, &kernel.release) && is(&self.arch, &kernel.arch)
    }
}

fn is(wanted: &Option<String>, value: &str) -> bool {
    wanted.as_deref().is_none_or(|wanted| wanted == value)
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.package)?;
        if let Some(kernel) = &self.kernel {
            write!(f, ", {}, {}", kernel.release, kernel.arch)?;
        }
        write!(f, ": {}", self.state.word())?;
        if self.originals_exist {
            f.write_str(" (Original modules exist)")?;
        }
        if self.modules_missing {
            f.write_str(" (Built modules are missing in the kernel modules folder)")?;
        }
        if self.modules_differ {
            f.write_str(" (Differences between built and installed modules)")?;
        }
        Ok(())
    }
}

impl fmt::Display for WeakStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DkmsId { module, version } = &self.package;
        write!(
            f,
            "{module}, {version}, {}, {}: installed-weak from {}",
            self.kernel.release, self.kernel.arch, self.from
        )
    }
}

impl Tree {
    /// The state of every package that `filter` wants. Nothing is executed for builds of our own; for those of other
    /// implementations the package's conf is evaluated to learn where its modules go.
    pub fn status(&self, filter: &Filter) -> Vec<Status> {
        let packages = self.packages();
        packages
            .iter()
            .filter(|package| filter.wants(package))
            .flat_map(|package| self.status_of(package, filter))
            .collect()
    }

    fn status_of(&self, package: &DkmsId, filter: &Filter) -> Vec<Status> {
        let failures = self.failures_of(package);
        let line = |state, failures| Status {
            package: package.clone(),
            kernel: None,
            state,
            originals_exist: false,
            modules_missing: false,
            modules_differ: false,
            failures,
        };
        if !self.has_source(package) {
            return vec![line(State::Broken, failures)];
        }
        let is_marked = |kernel: &KernelId| {
            self.installed_version(&package.module, kernel).as_deref() == Some(package.version.as_str())
        };
        let mut built = self.kernels_in(package);
        built.retain(|kernel| self.is_built(package, kernel) || is_marked(kernel));
        let wanted: Vec<&KernelId> = built.iter().filter(|kernel| filter.wants_kernel(kernel)).collect();
        if wanted.is_empty() {
            return vec![line(State::Added, failures)];
        }
        wanted
            .into_iter()
            .map(|kernel| {
                let own = failures
                    .iter()
                    .filter(|failure| failure.kernel == *kernel)
                    .cloned()
                    .collect();
                let mut status = line(State::Built, own);
                status.originals_exist = self.originals_dir(&package.module, kernel).is_dir();
                if is_marked(kernel) {
                    status.state = State::Installed;
                    (status.modules_missing, status.modules_differ) = self.compare_installed(package, kernel);
                }
                status.kernel = Some(kernel.clone());
                status
            })
            .collect()
    }

    /// Whether installed modules are missing, and whether they differ from the built ones.
    fn compare_installed(&self, package: &DkmsId, kernel: &KernelId) -> (bool, bool) {
        let (mut missing, mut differ) = (!self.is_built(package, kernel), false);
        let modules = self.modules_in_usual_place(package, kernel);
        for module in modules.unwrap_or_else(|| self.recorded_modules(package, kernel)) {
            let built = self.built_dir(package, kernel).join("module").join(&module.file);
            match self.installed_file(&module, kernel) {
                None => missing = true,
                Some(installed) => differ |= !same_content(&built, &installed),
            }
        }
        (missing, differ)
    }

    /// The modules of another implementation's build, where each has a file in the place that this distribution gives to all modules:
    /// nothing of the conf is needed to find those.
    fn modules_in_usual_place(&self, package: &DkmsId, kernel: &KernelId) -> Option<Vec<RecordedModule>> {
        let dir = self.built_dir(package, kernel);
        if self.framework().addon_modules_dir.is_some() || BuildRecord::read(&dir).is_some() {
            return None;
        }
        let place = Distribution::of(self.root()).module_directory()?;
        let in_place = |file: String| {
            let module = RecordedModule {
                name: module_name(file.as_ref())?.to_owned(),
                file,
                locations: vec![place.to_owned()],
            };
            self.installed_file(&module, kernel).is_some().then_some(module)
        };
        built_files(&dir).into_iter().map(in_place).collect()
    }

    /// Where a module is installed: the first of its possible places that has a file of its name, of any compression.
    pub fn installed_file(&self, module: &RecordedModule, kernel: &KernelId) -> Option<PathBuf> {
        let modules_dir = self.modules_dir(&kernel.release);
        module.locations.iter().find_map(|location| {
            let dir = modules_dir.join(location.trim_start_matches('/'));
            ["", ".gz", ".xz", ".zst"]
                .iter()
                .map(|suffix| dir.join(format!("{}.ko{suffix}", module.name)))
                .find(|path| fs::symlink_metadata(path).is_ok())
        })
    }

    /// The modules of a build: from our record, else from the files that are there and the package's conf.
    pub fn recorded_modules(&self, package: &DkmsId, kernel: &KernelId) -> Vec<RecordedModule> {
        let dir = self.built_dir(package, kernel);
        if let Some(record) = BuildRecord::read(&dir) {
            return record.modules;
        }
        let ctx = self.context(package, kernel);
        let places = |location: &str, declared: &str| {
            let mut places = vec![location.to_owned()];
            if declared != location {
                places.push(declared.to_owned());
            }
            places
        };
        let conf = evaluate(&self.source_dir(package), &ctx).ok();
        let default = ctx.distribution.module_directory().unwrap_or("/extra");
        built_files(&dir)
            .into_iter()
            .filter_map(|file| {
                let name = module_name(file.as_ref())?.to_owned();
                let spec = conf
                    .as_ref()
                    .and_then(|conf| conf.modules.iter().find(|m| m.dest_name == name));
                let locations = spec.map_or_else(
                    || places(default, default),
                    |spec| places(&spec.dest_location, spec.declared_location.trim_end_matches('/')),
                );
                Some(RecordedModule { name, file, locations })
            })
            .collect()
    }

    /// The context in which a package's conf is evaluated for a kernel that need not exist.
    pub fn context(&self, package: &DkmsId, kernel: &KernelId) -> ConfContext {
        self.kernel_context(kernel)
            .of_package(&package.module, &package.version)
    }

    /// [`Tree::context`] without a package, to be made once for many packages.
    pub(crate) fn kernel_context(&self, kernel: &KernelId) -> ConfContext {
        let root = self.root();
        let headers = root.join(format!("/lib/modules/{}/build", kernel.release));
        ConfContext {
            kernel_config: headers.join(".config"),
            kernel_source_dir: headers,
            dkms_tree: self.path().to_owned(),
            source_tree: self.source_tree(),
            install_tree: root.join(&self.framework().install_tree),
            tmp_location: root.join(&self.framework().tmp_location),
            addon_modules_dir: self.framework().addon_modules_dir.clone(),
            parallel_jobs: self.framework().jobs(),
            overrides_dir: root.join("/etc/dkms"),
            ..ConfContext::of_distribution(&kernel.release, &kernel.arch, Distribution::of(root))
        }
    }

    /// The failed builds of a package, by kernel.
    pub fn failures_of(&self, package: &DkmsId) -> Vec<Failure> {
        let dir = self.version_dir(package).join(".failed");
        let mut failures: Vec<Failure> = subdirs(&dir)
            .into_iter()
            .filter(|release| is_release(release))
            .flat_map(|release| {
                let arches = subdirs(&dir.join(&release));
                arches
                    .into_iter()
                    .filter_map(move |arch| KernelId::new(&release, &arch))
            })
            .filter_map(|kernel| {
                let dir = self.failed_dir(package, &kernel);
                let record = FailureRecord::read(&dir)?;
                Some(Failure {
                    package: package.clone(),
                    kernel,
                    record,
                    log: dir.join("make.log"),
                })
            })
            .collect();
        failures.sort_by(|a, b| a.kernel.cmp(&b.kernel));
        failures
    }

    /// Where `path` leads to: through all links, those of an image inside of it.
    fn followed(&self, path: &Path) -> Option<PathBuf> {
        if self.root().is_host() {
            return path.canonicalize().ok();
        }
        self.root().inside(path).map(|path| self.root().join(path))
    }

    /// The kernels that use a module of another kernel: links in `weak-updates/` to files that we installed.
    pub fn weak_status(&self, filter: &Filter) -> Vec<WeakStatus> {
        let tree = self.root().join(&self.framework().install_tree);
        let mut installed: Option<Vec<(DkmsId, KernelId, Vec<PathBuf>)>> = None;
        let mut found = Vec::new();
        for release in subdirs(&tree) {
            let Ok(links) = fs::read_dir(tree.join(&release).join("weak-updates")) else {
                continue;
            };
            let targets: Vec<PathBuf> = links.filter_map(|entry| self.followed(&entry.ok()?.path())).collect();
            for (package, from, files) in installed.get_or_insert_with(|| self.installed_files()) {
                let kernel = KernelId {
                    release: release.clone(),
                    arch: from.arch.clone(),
                };
                let is_linked = |file: &PathBuf| self.followed(file).is_some_and(|file| targets.contains(&file));
                let all = !files.is_empty() && files.iter().all(is_linked);
                if all && filter.wants(package) && filter.wants_kernel(&kernel) {
                    found.push(WeakStatus {
                        package: package.clone(),
                        kernel,
                        from: from.release.clone(),
                    });
                }
            }
        }
        found.sort();
        found
    }

    fn installed_files(&self) -> Vec<(DkmsId, KernelId, Vec<PathBuf>)> {
        let installed = self
            .status(&Filter::default())
            .into_iter()
            .filter(|status| status.state == State::Installed);
        installed
            .filter_map(|status| {
                let kernel = status.kernel?;
                let modules = self.recorded_modules(&status.package, &kernel);
                let files = modules
                    .iter()
                    .filter_map(|module| self.installed_file(module, &kernel))
                    .collect();
                Some((status.package, kernel, files))
            })
            .collect()
    }
}
