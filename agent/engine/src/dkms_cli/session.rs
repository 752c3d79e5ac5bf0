//! One call of `dkms`: the root, the tree and the kernels that it is about.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::exit::Exit;
use super::request::{KernelName, Kernels, Package, Settings};
use super::rpm::Transaction;
use super::screen::{Screen, Verbosity};
use crate::conf::Directive;
use crate::framework::{Framework, FrameworkError};
use crate::kbuild::RunState;
use crate::kernel::{KernelError, KernelOptions, KernelTarget, releases};
use crate::package::{DkmsId, KernelId};
use crate::recovery::lock_and_recover;
use crate::root::Root;
use crate::tree::{Tree, TreeLock};

/// One call of `dkms`. The settings of the call override those of the machine.
pub(super) struct Session {
    pub(super) settings: Settings,
    pub(super) root: Root,
    pub(super) framework: Framework,
    pub(super) tree: Tree,
    pub(super) screen: Screen,
    /// What all builds of the call share.
    pub(super) run_state: Arc<RunState>,
    /// The kernels found so far: what is read of one is read once for all packages.
    targets: Mutex<BTreeMap<KernelId, Arc<KernelTarget>>>,
}

/// Why no kernel can be worked on.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoKernel {
    /// The running kernel is not a kernel of another root.
    #[error("no kernel was named, and the running kernel is not that of {}", .0.display())]
    OtherRoot(PathBuf),
    /// `-k all` without any headers.
    #[error("no headers of any kernel are installed in {}", .0.display())]
    NoHeaders(PathBuf),
}

impl NoKernel {
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::OtherRoot(root) => Some(format!("name it with -k, or -k all; ls {}/lib/modules", root.display())),
            Self::NoHeaders(_) => Some("install the headers of a kernel, or name one with -k".into()),
        }
    }
}

impl Session {
    /// Reads the machine's settings and puts those of the call over them.
    pub(super) fn open(mut settings: Settings) -> Result<Session, FrameworkError> {
        settings.conf = settings.conf.as_deref().map(absolute);
        let root = settings.root.as_ref().map_or_else(Root::host, Root::at);
        let mut framework = Framework::read(&root)?;
        if root.is_host() {
            framework.set_addon_modules_dir(&std::env::var("ADDON_MODULES_DIR").unwrap_or_default())?;
        }
        let over = |slot: &mut PathBuf, given: &Option<PathBuf>| {
            if let Some(given) = given {
                *slot = absolute(given);
            }
        };
        over(&mut framework.dkms_tree, &settings.dkms_tree);
        over(&mut framework.source_tree, &settings.source_tree);
        over(&mut framework.install_tree, &settings.install_tree);
        framework.symlink_modules |= settings.symlink_modules;
        framework.modprobe_on_install |= settings.modprobe_on_install;
        // As upstream, which does not touch a variable that its caller has set; framework.conf sets it again.
        let called_with = std::env::var("parallel_jobs").ok().and_then(|jobs| jobs.parse().ok());
        let called_with = called_with.filter(|jobs| *jobs > 0 && root.is_host());
        framework.parallel_jobs = settings.jobs.or(framework.parallel_jobs).or(called_with);
        let verbosity = match (settings.quiet, settings.verbose || framework.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, true) => Verbosity::Verbose,
            (false, false) => Verbosity::Normal,
        };
        let tree = Tree::new(&root, &framework);
        Ok(Session {
            settings,
            root,
            framework,
            tree,
            screen: Screen { verbosity },
            run_state: Arc::default(),
            targets: Mutex::default(),
        })
    }

    /// The options of the command line about one kernel.
    pub(super) fn kernel_options(&self, arch: Option<&str>) -> KernelOptions {
        KernelOptions {
            arch: arch.map(str::to_owned),
            source_dir: self.settings.kernel_source_dir.as_deref().map(absolute),
            config: self.settings.kernel_config.as_deref().map(absolute),
            install_tree: Some(self.framework.install_tree.clone()),
            system: None,
        }
    }

    /// The target for building: its headers must be there.
    pub(super) fn target(&self, kernel: &KernelId) -> Result<Arc<KernelTarget>, KernelError> {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(target) = targets.get(kernel) {
            return Ok(Arc::clone(target));
        }
        let options = self.kernel_options(Some(&kernel.arch));
        let target = Arc::new(KernelTarget::find(&self.root, &kernel.release, &options)?);
        targets.insert(kernel.clone(), Arc::clone(&target));
        Ok(target)
    }

    /// The target of kernel `release` with the architecture of its headers.
    fn target_of_release(&self, release: &str) -> Result<Arc<KernelTarget>, KernelError> {
        let target = Arc::new(KernelTarget::find(&self.root, release, &self.kernel_options(None))?);
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(targets.entry(KernelId::from(&*target)).or_insert(target)))
    }

    /// The kernels that the command line means; with `--all`, those that `package` is built for.
    pub(super) fn kernels(&self, kernels: &Kernels, package: Option<&DkmsId>) -> Result<Vec<KernelId>, NoKernel> {
        let name = |release: String, arch: Option<String>| self.kernel_id(KernelName { release, arch });
        Ok(match kernels {
            Kernels::Named(names) => {
                let mut found: Vec<KernelId> = Vec::new();
                for kernel in names.iter().cloned().map(|name| self.kernel_id(name)) {
                    if !found.contains(&kernel) {
                        found.push(kernel);
                    }
                }
                found
            }
            Kernels::Running { arch } if self.root.is_host() => vec![name(running(), arch.clone())],
            Kernels::Running { .. } => return Err(NoKernel::OtherRoot(self.root.path().to_owned())),
            Kernels::EveryBuilt => package
                .map(|package| self.tree.built_kernels(package))
                .unwrap_or_default(),
            Kernels::EveryKernel => {
                let found: Vec<KernelId> = KernelTarget::all(&self.root).iter().map(KernelId::from).collect();
                if found.is_empty() {
                    return Err(NoKernel::NoHeaders(self.root.join(&self.framework.install_tree)));
                }
                found
            }
        })
    }

    /// A kernel by name, which need not be there. Its architecture is the one given, else that of its headers, else this
    /// machine's.
    pub(super) fn kernel_id(&self, name: KernelName) -> KernelId {
        let told = || Some(self.target_of_release(&name.release).ok()?.arch.clone());
        let arch = name.arch.clone().or_else(told);
        let arch = arch.unwrap_or_else(|| rustix::system::uname().machine().to_string_lossy().into_owned());
        KernelId {
            release: name.release,
            arch,
        }
    }

    /// The right to write, or the exit code after saying why there is none.
    pub(super) fn lock(&self) -> Result<TreeLock, Exit> {
        lock_and_recover(&self.tree, &self.screen).map_err(|error| {
            self.screen.error(&error, error.hint());
            Exit::from(&error)
        })
    }

    /// [`Session::kernels`], or the exit code after saying what is missing.
    pub(super) fn kernels_or_complain(
        &self,
        kernels: &Kernels,
        package: Option<&DkmsId>,
    ) -> Result<Vec<KernelId>, Exit> {
        self.kernels(kernels, package).map_err(|error| {
            self.screen.error(&error, error.hint());
            Exit::REFUSED
        })
    }

    /// `--directive`, as the engine takes them.
    pub(super) fn directives(&self) -> Vec<Directive> {
        let directives = self.settings.directives.iter();
        directives
            .map(|(name, value)| Directive {
                name: name.clone(),
                value: value.clone(),
            })
            .collect()
    }

    /// Leaves a note for `--rpm_safe_upgrade`.
    pub(super) fn note_rpm_transaction(&self, package: &DkmsId) {
        if !self.settings.rpm_safe_upgrade {
            return;
        }
        let dir = self.root.join(&self.framework.tmp_location);
        let noted = Transaction::current().map_or(Ok(()), |transaction| transaction.note(&dir, package));
        if let Err(error) = noted {
            self.screen.warning(
                &format!("no note of this rpm transaction in {}: {error}", dir.display()),
                None,
            );
        }
    }

    /// True when `package` was added in this rpm transaction, with `--rpm_safe_upgrade`.
    pub(super) fn was_added_in_this_rpm_transaction(&self, package: &DkmsId) -> bool {
        let dir = self.root.join(&self.framework.tmp_location);
        self.settings.rpm_safe_upgrade
            && Transaction::current().is_some_and(|transaction| transaction.take_note(&dir, package))
    }

    /// The releases that have a directory below /lib/modules.
    pub(super) fn installed_releases(&self) -> Vec<String> {
        releases(&self.root, &self.framework.install_tree)
    }
}

/// What `uname -r` says.
pub(super) fn running() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

impl From<&Package> for DkmsId {
    fn from(package: &Package) -> DkmsId {
        DkmsId {
            module: package.module.clone(),
            version: package.version.clone(),
        }
    }
}

/// A path of the command line, for programs that run in other directories.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
