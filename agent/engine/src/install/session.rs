//! One run of installations and removals.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::depmod::{self, DepmodError};
use super::error::InstallError;
use super::journal::pending_depmods;
use super::originals::{self, ModuleIndex};
use super::transaction::Transaction;
use super::version_check::{Kept, compare_with_tree};
use super::weak;
use crate::conf::{DkmsConf, evaluate};
use crate::distribution::Distribution;
use crate::event::{Event, Sink, Step};
use crate::ko::ModuleInfo;
use crate::package::{DkmsId, KernelId};
use crate::recovery::tidy;
use crate::script::{self, ScriptConsent, ScriptKind};
use crate::tree::{RecordedModule, Tree, TreeLock};
use crate::version;

/// How to install.
#[derive(Debug, Clone, Default)]
pub struct InstallOptions {
    /// Install again what is installed, and ignore the versions of the kernel's own modules and a failure of PRE_INSTALL.
    pub force: bool,
    /// Do not compare with the kernel's own modules.
    pub force_version_override: bool,
    /// Leave depmod to the caller.
    pub no_depmod: bool,
    /// Install links into the tree instead of copies.
    pub symlink_modules: bool,
    /// Which of PRE_INSTALL, POST_INSTALL and POST_REMOVE may run.
    pub scripts: ScriptConsent,
}

/// What was installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The package.
    pub package: DkmsId,
    /// The kernel.
    pub kernel: KernelId,
    /// The files below `/lib/modules`.
    pub files: Vec<PathBuf>,
    /// Modules that were left out, because the kernel's own are the same or newer.
    pub kept: Vec<Kept>,
}

/// How one installation ended, if it did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstallOutcome {
    /// It is installed now.
    Installed(Installed),
    /// It was installed and intact already.
    Already,
}

/// One run. Call [`Session::finish`] at its end: that is when depmod runs.
pub struct Session<'a> {
    pub(super) tree: &'a Tree,
    pub(super) lock: &'a TreeLock,
    pub(super) options: InstallOptions,
    pub(super) sink: &'a dyn Sink,
    pub(super) indexes: BTreeMap<String, ModuleIndex>,
    installed: Vec<(DkmsId, KernelId)>,
}

impl<'a> Session<'a> {
    /// Begins a run. The lock must be held until its end.
    pub fn new(tree: &'a Tree, lock: &'a TreeLock, options: InstallOptions, sink: &'a dyn Sink) -> Session<'a> {
        Session {
            tree,
            lock,
            options,
            sink,
            indexes: BTreeMap::new(),
            installed: Vec::new(),
        }
    }

    /// Allows scripts of a package, where [`InstallOptions::scripts`] names them one by one.
    pub fn allow_scripts(&mut self, package: &DkmsId, kinds: impl IntoIterator<Item = ScriptKind>) {
        self.options.scripts.name(package, kinds);
    }

    /// Installs the build of `package` for `kernel`, in the place of any other version of it.
    ///
    /// # Errors
    /// [`InstallError`]; nothing has changed then.
    pub fn install(&mut self, package: &DkmsId, kernel: &KernelId) -> Result<InstallOutcome, InstallError> {
        let tree = self.tree;
        tree.require(package)?;
        if !tree.is_built(package, kernel) {
            return Err(InstallError::NotBuilt {
                package: package.clone(),
                kernel: kernel.clone(),
            });
        }
        let modules_dir = tree.modules_dir(&kernel.release);
        if !modules_dir.is_dir() {
            return Err(InstallError::NoKernel {
                package: package.clone(),
                dir: modules_dir,
            });
        }
        if !self.options.force && self.is_intact(package, kernel) {
            return Ok(InstallOutcome::Already);
        }
        self.sink.emit(Event::Started {
            subject: package.subject(Some(kernel)),
            step: Step::Install,
            detail: modules_dir.display().to_string(),
        });
        let conf = evaluate(&tree.source_dir(package), &tree.context(package, kernel))?;
        let kinds = [ScriptKind::PreInstall, ScriptKind::PostInstall, ScriptKind::PostRemove];
        let required = self.options.scripts.require(package, &kinds, &conf.scripts);
        required.map_err(InstallError::ScriptNotAllowed)?;
        let modules = tree.recorded_modules(package, kernel);
        let (accepted, kept) = self.compare(package, kernel, &modules);
        if accepted.is_empty() && !modules.is_empty() {
            return Err(InstallError::NotNewer {
                package: package.clone(),
                kept,
            });
        }
        self.pre_install(package, kernel, &conf)?;
        let files = self.put(package, kernel, &accepted)?;
        self.indexes.remove(&kernel.release);
        self.installed.push((package.clone(), kernel.clone()));
        if !conf.no_weak_modules {
            weak::tell(tree, weak::Told::Added, &kernel.release, &files, self.sink);
        }
        self.script(
            package,
            kernel,
            ScriptKind::PostInstall,
            conf.scripts.post_install.as_deref(),
        );
        self.sink.emit(Event::Finished {
            subject: package.subject(Some(kernel)),
            step: Step::Install,
        });
        Ok(InstallOutcome::Installed(Installed {
            package: package.clone(),
            kernel: kernel.clone(),
            files,
            kept,
        }))
    }

    /// True when this version is installed and every module lies where it belongs, unchanged.
    fn is_intact(&self, package: &DkmsId, kernel: &KernelId) -> bool {
        let tree = self.tree;
        tree.is_installed(package, kernel)
            && tree.recorded_modules(package, kernel).iter().all(|module| {
                let built = tree.built_dir(package, kernel).join("module").join(&module.file);
                tree.installed_file(module, kernel)
                    .is_some_and(|file| crate::fsutil::same_content(&built, &file))
            })
    }

    /// Splits the modules into those to install and those that the kernel itself has in the same or a newer version.
    fn compare<'m>(
        &mut self,
        package: &DkmsId,
        kernel: &KernelId,
        modules: &'m [RecordedModule],
    ) -> (Vec<&'m RecordedModule>, Vec<Kept>) {
        let forced = self.forced(&package.module);
        let tree = self.tree;
        let ours = self.our_files(package, kernel);
        let modules_dir = tree.modules_dir(&kernel.release);
        let index = self
            .indexes
            .entry(kernel.release.clone())
            .or_insert_with(|| ModuleIndex::read(&modules_dir));
        let (mut accepted, mut kept) = (Vec::new(), Vec::new());
        for module in modules {
            let found = match index.others(&module.name, &ours)[..] {
                [only] if !forced => Some(only),
                // With several of one name it is not clear which one to compare with.
                _ => None,
            };
            let built = tree.built_dir(package, kernel).join("module").join(&module.file);
            let theirs = found.and_then(|path| Some((path, ModuleInfo::read(path).ok()?)));
            let verdict = theirs.and_then(|(path, theirs)| {
                compare_with_tree(&module.name, &ModuleInfo::read(&built).ok()?, path, &theirs)
            });
            match verdict {
                Some(verdict) => kept.push(verdict),
                None => accepted.push(module),
            }
        }
        for verdict in &kept {
            self.sink.emit(Event::Warning {
                text: format!("{verdict}; it is not replaced"),
                hint: Some(format!("dkms install --force {package} -k {}", kernel.release)),
            });
        }
        (accepted, kept)
    }

    /// True when versions are not compared: by an option, or by a list of the distribution.
    fn forced(&self, module: &str) -> bool {
        let listed = || {
            let dir = self.tree.root().join("/usr/share/dkms/modules_to_force_install");
            let files = std::fs::read_dir(dir)
                .into_iter()
                .flatten()
                .filter_map(|entry| Some(entry.ok()?.path()));
            let texts = files.filter_map(|path| std::fs::read_to_string(path).ok());
            texts.into_iter().any(|text| {
                text.split_whitespace()
                    .any(|word| word == module || word == format!("{module}_version-override"))
            })
        };
        self.options.force || self.options.force_version_override || listed()
    }

    /// Every file that some version of this package has installed for `kernel`.
    fn our_files(&self, package: &DkmsId, kernel: &KernelId) -> Vec<PathBuf> {
        let installed = self.tree.installed_version(&package.module, kernel);
        let Some(package) = installed.and_then(|version| DkmsId::new(&package.module, &version)) else {
            return Vec::new();
        };
        let modules = self.tree.recorded_modules(&package, kernel);
        modules
            .iter()
            .filter_map(|module| self.tree.installed_file(module, kernel))
            .collect()
    }

    fn pre_install(&self, package: &DkmsId, kernel: &KernelId, conf: &DkmsConf) -> Result<(), InstallError> {
        let allowed = self.options.scripts.allows(package, ScriptKind::PreInstall);
        let Some(line) = conf.scripts.pre_install.as_deref().filter(|_| allowed) else {
            return Ok(());
        };
        let source = self.tree.source_dir(package);
        let result = script::run(
            self.tree,
            package,
            ScriptKind::PreInstall,
            line,
            &source,
            Some(kernel),
            self.sink,
        );
        match result {
            Err(source) if !self.options.force => Err(InstallError::PreInstall {
                package: package.clone(),
                source: Box::new(source),
            }),
            _ => Ok(()),
        }
    }

    /// Runs a script whose failure is only reported: the step before it is complete.
    pub(super) fn script(&self, package: &DkmsId, kernel: &KernelId, kind: ScriptKind, line: Option<&str>) {
        let Some(line) = line else { return };
        match &self.options.scripts {
            consent if consent.allows(package, kind) => {}
            ScriptConsent::Named(_) => {
                let directive = kind.directive();
                self.sink.emit(Event::Warning {
                    text: format!("{directive} of {package} is not run: it is not among the scripts that were allowed"),
                    hint: None,
                });
                return;
            }
            _ => return,
        }
        let source = self.tree.source_dir(package);
        if let Err(error) = script::run(self.tree, package, kind, line, &source, Some(kernel), self.sink) {
            self.sink.emit(Event::Warning {
                text: error.to_string(),
                hint: error.hint(),
            });
        }
    }

    /// The transaction of one installation.
    fn put(
        &mut self,
        package: &DkmsId,
        kernel: &KernelId,
        modules: &[&RecordedModule],
    ) -> Result<Vec<PathBuf>, InstallError> {
        let tree = self.tree;
        let ours = self.our_files(package, kernel);
        let modules_dir = tree.modules_dir(&kernel.release);
        let built = tree.built_dir(package, kernel).join("module");
        let mut transaction = Transaction::new(tree, self.lock);
        let mut files = Vec::new();
        let mut found = Vec::new();
        let index = self
            .indexes
            .entry(kernel.release.clone())
            .or_insert_with(|| ModuleIndex::read(&modules_dir));
        for module in modules {
            let dir = modules_dir.join(module.locations.first().map_or("extra", |l| l.trim_start_matches('/')));
            let to = dir.join(&module.file);
            if self.options.symlink_modules {
                let from = tree
                    .root()
                    .inside(&built.join(&module.file))
                    .unwrap_or_else(|| built.join(&module.file));
                transaction.link(&from, &to);
            } else {
                transaction.copy(&built.join(&module.file), &to);
            }
            // The same module in another compression would hide ours, or be hidden by it.
            for suffix in ["", ".gz", ".xz", ".zst"] {
                let other = dir.join(format!("{}.ko{suffix}", module.name));
                if other != to && ours.contains(&other) {
                    transaction.remove(&other);
                }
            }
            found.push((*module, index.others(&module.name, &ours)));
            files.push(to);
        }
        // What another version of this package had installed under names that are not used any more.
        ours.iter()
            .filter(|file| !files.contains(file))
            .for_each(|file| transaction.remove(file));
        if Distribution::of(tree.root()).leaves_originals() {
            // Only the files in the directory where ours go, which are another package's: depmod prefers our place to all others.
            for (module, paths) in &mut found {
                let place = module.locations.first().map(|place| place.trim_start_matches('/'));
                let place = modules_dir.join(place.unwrap_or("extra"));
                paths.retain(|path| path.parent() == Some(&*place));
            }
            found.retain(|(_, paths)| !paths.is_empty());
        }
        originals::archive(tree, &mut transaction, &package.module, kernel, &found);
        let target = Path::new(&package.version).join(&kernel.release).join(&kernel.arch);
        transaction.link(&target, &tree.mark(&package.module, kernel));
        transaction.needs_depmod(&kernel.release);
        transaction.commit()?;
        Ok(files)
    }

    /// Ends the run: one depmod for each kernel that needs one, by this run or by one that was interrupted.
    ///
    /// # Errors
    /// For each kernel whose depmod failed; what this run installed for it is removed again.
    pub fn finish(mut self) -> Result<(), Vec<DepmodError>> {
        let ended = self.run_depmods();
        tidy(self.tree, self.lock);
        ended
    }

    fn run_depmods(&mut self) -> Result<(), Vec<DepmodError>> {
        if self.options.no_depmod {
            return Ok(());
        }
        let mut releases = pending_depmods(self.tree);
        releases.sort_by(|a, b| version::compare(a, b));
        let mut errors = Vec::new();
        for release in releases {
            if !self.tree.modules_dir(&release).is_dir() {
                let _ = std::fs::remove_file(super::journal::depmod_mark(self.tree, &release));
                continue;
            }
            self.sink.emit(Event::DepmodStarted {
                release: release.clone(),
            });
            let ended = depmod::run(self.tree, &release);
            self.sink.emit(Event::DepmodEnded {
                release: release.clone(),
            });
            if let Err(error) = ended {
                let stderr = error.to_string();
                let rolled_back = self.roll_back(&release);
                errors.push(DepmodError {
                    release,
                    stderr,
                    rolled_back,
                });
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Uninstalls what this run installed for `release`.
    fn roll_back(&mut self, release: &str) -> Vec<DkmsId> {
        let mine: Vec<(DkmsId, KernelId)> = self
            .installed
            .iter()
            .filter(|(_, kernel)| kernel.release == release)
            .cloned()
            .collect();
        mine.into_iter()
            .filter(|(package, kernel)| self.uninstall(package, kernel).is_ok())
            .map(|(p, _)| p)
            .collect()
    }
}
