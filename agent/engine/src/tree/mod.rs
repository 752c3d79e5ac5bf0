//! `/var/lib/dkms` on disk: which sources are known, what was built of them, and what is installed.
//!
//! The layout is DKMS's own, so that other implementations read it. Our additions have names that those ignore:
//! `.lock`, `.sandbox`, `.work/`, `.journal/`, `V/.failed/`, `V/.authority`, and `build.json` beside a build's log.

mod add;
mod authority;
mod depends;
mod load;
mod lock;
mod place;
mod record;
mod status;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) use add::sweep_unfinished;
pub use add::{AddError, AddOptions, Added};
pub use authority::Authority;
pub use lock::TreeLock;
pub use record::{BuildKey, BuildRecord, FailureRecord, Mark, RecordedModule};
pub use status::{Failure, Filter, State, Status, WeakStatus};

use crate::framework::Framework;
use crate::fsutil::existing_part;
use crate::kernel::is_release;
use crate::package::{DkmsId, KernelId};
use crate::root::Root;
use crate::version;

/// Why the tree could not be used.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// Something in it cannot be read or written.
    #[error("cannot {what} {}", .path.display())]
    Io {
        /// What was tried, such as "create".
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The package is not known.
    #[error("{package} was not added to {}", .tree.display())]
    NotAdded {
        /// The package.
        package: DkmsId,
        /// The tree.
        tree: PathBuf,
    },
    /// The package is known, but the link to its source is gone.
    #[error("{package} cannot be used: the link {} to its source is missing", .link.display())]
    NoLink {
        /// The package.
        package: DkmsId,
        /// The link.
        link: PathBuf,
    },
    /// The package is known, but its source is gone.
    #[error("the source of {package} is missing: {}", .source_dir.display())]
    Broken {
        /// The package.
        package: DkmsId,
        /// Where the source was.
        source_dir: PathBuf,
    },
}

impl TreeError {
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TreeError {
        let path = path.to_owned();
        move |source| TreeError::Io { what, path, source }
    }

    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            TreeError::Io { source, path, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied if !crate::command::is_root() => Some("run it as root".into()),
                io::ErrorKind::StorageFull => Some(format!("df {}", existing_part(path).display())),
                io::ErrorKind::ReadOnlyFilesystem => {
                    Some(format!("findmnt --target {}", existing_part(path).display()))
                }
                _ => Some(format!("ls -ld {}", existing_part(path).display())),
            },
            TreeError::NotAdded { package, .. } | TreeError::NoLink { package, .. } => {
                Some(format!("dkms add {package}"))
            }
            TreeError::Broken { package, .. } => Some(format!("dkms remove {package} --all")),
        }
    }
}

/// The tree of one root, with the places that belong to it.
#[derive(Debug, Clone)]
pub struct Tree {
    root: Root,
    framework: Framework,
    path: PathBuf,
}

impl Tree {
    /// The tree that `framework` names in `root`. Nothing is read or made yet.
    pub fn new(root: &Root, framework: &Framework) -> Tree {
        Tree {
            root: root.clone(),
            framework: framework.clone(),
            path: root.join(&framework.dkms_tree),
        }
    }

    /// The tree of `root` by its own framework.conf.
    ///
    /// # Errors
    /// When framework.conf is there but cannot be read.
    pub fn of(root: &Root) -> Result<Tree, crate::framework::FrameworkError> {
        Ok(Tree::new(root, &Framework::read(root)?))
    }

    /// The root it is in.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The settings it was made with.
    pub fn framework(&self) -> &Framework {
        &self.framework
    }

    /// Where it is on the running system.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where sources are on the running system.
    pub fn source_tree(&self) -> PathBuf {
        self.root.join(&self.framework.source_tree)
    }

    /// Where kernel `release` has its modules on the running system.
    pub fn modules_dir(&self, release: &str) -> PathBuf {
        self.root.join(self.framework.install_tree.join(release))
    }

    /// `M`.
    pub fn module_dir(&self, module: &str) -> PathBuf {
        self.path.join(module)
    }

    /// `M/V`.
    pub fn version_dir(&self, package: &DkmsId) -> PathBuf {
        self.path.join(&package.module).join(&package.version)
    }

    /// `M/V/source`: a link, or a directory where only binaries were loaded.
    pub fn source_link(&self, package: &DkmsId) -> PathBuf {
        self.version_dir(package).join("source")
    }

    /// Where the source is, its link followed inside the root.
    pub fn source_dir(&self, package: &DkmsId) -> PathBuf {
        let link = self.source_link(package);
        let dir = self.root.join(self.root.inside(&link).unwrap_or(link));
        dir.canonicalize().unwrap_or(dir)
    }

    /// What the `source` link says: the absolute path, as every dkms writes it; in an image a relative one, which leads to the same place
    /// seen from inside and from outside.
    pub(crate) fn source_target(&self, package: &DkmsId) -> PathBuf {
        let absolute = self.framework().source_tree.join(package.dashed());
        let above = self.root.inside(&self.version_dir(package));
        match above.filter(|_| !self.root.is_host()) {
            Some(dir) => {
                let depth = dir
                    .components()
                    .filter(|part| matches!(part, std::path::Component::Normal(_)))
                    .count();
                let up: PathBuf = std::iter::repeat_n("..", depth).collect();
                up.join(absolute.strip_prefix("/").unwrap_or(&absolute))
            }
            None => absolute,
        }
    }

    /// `M/V/K/A`: what was built for one kernel.
    pub fn built_dir(&self, package: &DkmsId, kernel: &KernelId) -> PathBuf {
        self.version_dir(package).join(&kernel.release).join(&kernel.arch)
    }

    /// `M/kernel-K-A`: the link that says which version is installed.
    pub fn mark(&self, module: &str, kernel: &KernelId) -> PathBuf {
        self.module_dir(module)
            .join(format!("kernel-{}-{}", kernel.release, kernel.arch))
    }

    /// `M/original_module/K/A`: modules that were there before ours.
    pub fn originals_dir(&self, module: &str, kernel: &KernelId) -> PathBuf {
        self.module_dir(module)
            .join("original_module")
            .join(&kernel.release)
            .join(&kernel.arch)
    }

    /// `M/V/.failed/K/A`: the log and the reason of the last failed build, until one succeeds.
    pub fn failed_dir(&self, package: &DkmsId, kernel: &KernelId) -> PathBuf {
        self.version_dir(package)
            .join(".failed")
            .join(&kernel.release)
            .join(&kernel.arch)
    }

    /// True when the package was added, even if its source is gone since.
    pub fn is_added(&self, package: &DkmsId) -> bool {
        fs::symlink_metadata(self.source_link(package)).is_ok()
    }

    /// True when a package has lost its `source` link, while its directory in the tree and its source are there: it is broken until it is
    /// added again or removed.
    pub(crate) fn has_lost_its_link(&self, package: &DkmsId) -> bool {
        !self.is_added(package)
            && self.version_dir(package).is_dir()
            && self.source_tree().join(package.dashed()).is_dir()
    }

    /// True when the tree knows the package, broken or not.
    pub(crate) fn is_known(&self, package: &DkmsId) -> bool {
        self.is_added(package) || self.has_lost_its_link(package)
    }

    /// True when the source is there, as far as its dkms.conf tells.
    pub(crate) fn has_source(&self, package: &DkmsId) -> bool {
        let conf = self.source_link(package).join("dkms.conf");
        self.root.join(self.root.inside(&conf).unwrap_or(conf)).is_file()
    }

    /// Makes sure that the package was added and has its source.
    ///
    /// # Errors
    /// [`TreeError::NotAdded`], [`TreeError::NoLink`] and [`TreeError::Broken`].
    pub fn require(&self, package: &DkmsId) -> Result<(), TreeError> {
        if self.has_lost_its_link(package) {
            return Err(TreeError::NoLink {
                package: package.clone(),
                link: self.source_link(package),
            });
        }
        if !self.is_added(package) {
            return Err(TreeError::NotAdded {
                package: package.clone(),
                tree: self.path.clone(),
            });
        }
        if self.has_source(package) {
            Ok(())
        } else {
            Err(TreeError::Broken {
                package: package.clone(),
                source_dir: self.source_dir(package),
            })
        }
    }

    /// Makes sure that a tree that cannot be read is not taken for an empty one. One that is not there is empty.
    ///
    /// # Errors
    /// When the directory is there and cannot be listed.
    pub fn require_readable(&self) -> Result<(), TreeError> {
        match fs::read_dir(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(TreeError::io("read", &self.path)(error)),
            _ => Ok(()),
        }
    }

    /// Every package version that was added, by name and then from old to new.
    pub fn packages(&self) -> Vec<DkmsId> {
        let mut packages: Vec<DkmsId> = subdirs(&self.path)
            .into_iter()
            .flat_map(|module| {
                let versions = subdirs(&self.path.join(&module));
                versions
                    .into_iter()
                    .filter_map(move |version| DkmsId::new(&module, &version))
            })
            .filter(|package| self.is_known(package))
            .collect();
        packages.sort_by(|a, b| {
            a.module
                .cmp(&b.module)
                .then_with(|| version::compare(&a.version, &b.version))
        });
        packages
    }

    /// The kernels that have a build of `package`, oldest first.
    pub fn built_kernels(&self, package: &DkmsId) -> Vec<KernelId> {
        let mut kernels = self.kernels_in(package);
        kernels.retain(|kernel| self.is_built(package, kernel));
        kernels
    }

    /// The kernels that have a directory in that of `package`, oldest first: its builds, whole or not.
    pub(crate) fn kernels_in(&self, package: &DkmsId) -> Vec<KernelId> {
        let dir = self.version_dir(package);
        let mut kernels: Vec<KernelId> = subdirs(&dir)
            .into_iter()
            .filter(|name| is_release(name))
            .flat_map(|release| {
                let arches = subdirs(&dir.join(&release));
                arches
                    .into_iter()
                    .filter_map(move |arch| KernelId::new(&release, &arch))
            })
            .collect();
        kernels.sort_by(|a, b| version::compare(&a.release, &b.release).then_with(|| a.arch.cmp(&b.arch)));
        kernels
    }

    /// True when there is a build of `package` for `kernel` with all its modules.
    pub fn is_built(&self, package: &DkmsId, kernel: &KernelId) -> bool {
        let dir = self.built_dir(package, kernel);
        match BuildRecord::read(&dir) {
            Some(record) => self.has_modules_of(package, kernel, &record),
            None => !built_files(&dir).is_empty(),
        }
    }

    /// True when there was a build of `package` for `kernel` whose modules are gone.
    pub(crate) fn has_lost_modules(&self, package: &DkmsId, kernel: &KernelId) -> bool {
        self.built_dir(package, kernel).join("module").is_dir() && !self.is_built(package, kernel)
    }

    /// True when every module of the build in `record` is there.
    pub(crate) fn has_modules_of(&self, package: &DkmsId, kernel: &KernelId, record: &BuildRecord) -> bool {
        let dir = self.built_dir(package, kernel).join("module");
        record.modules.iter().all(|module| dir.join(&module.file).is_file())
    }

    /// The version of `module` that is installed for `kernel`.
    pub fn installed_version(&self, module: &str, kernel: &KernelId) -> Option<String> {
        let target = fs::read_link(self.mark(module, kernel)).ok()?;
        // `V/K/A`, or an absolute path that ends in it.
        let mut parts = target.iter().rev().filter_map(|part| part.to_str());
        let (arch, release, version) = (parts.next()?, parts.next()?, parts.next()?);
        (arch == kernel.arch && release == kernel.release).then(|| version.to_owned())
    }

    /// True when this version is the installed one.
    pub fn is_installed(&self, package: &DkmsId, kernel: &KernelId) -> bool {
        self.installed_version(&package.module, kernel).as_deref() == Some(package.version.as_str())
            && self.is_built(package, kernel)
    }

    /// The kernels that some version of some package is installed for.
    pub fn installed_kernels(&self) -> BTreeSet<KernelId> {
        self.status(&Filter::default())
            .into_iter()
            .filter(|status| status.state == State::Installed)
            .filter_map(|status| status.kernel)
            .collect()
    }

    /// The record of a build, where it is one of ours.
    pub fn record(&self, package: &DkmsId, kernel: &KernelId) -> Option<BuildRecord> {
        BuildRecord::read(&self.built_dir(package, kernel))
    }
}

/// The names of module files in `dir/module`, sorted.
pub(crate) fn built_files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir.join("module"))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| crate::ko::module_name(Path::new(name)).is_some())
        .collect();
    names.sort();
    names
}

/// The names of the directories in `dir` that are not hidden. Links are none.
fn subdirs(dir: &Path) -> Vec<String> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .collect()
}
