//! Uninstalling, forgetting builds, and forgetting packages.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::InstallError;
use super::originals;
use super::session::Session;
use super::transaction::Transaction;
use super::weak;
use crate::conf::evaluate;
use crate::event::{Event, Step};
use crate::fsutil::{remove_any, same_content, sync_dir};
use crate::kbuild::forget_failure;
use crate::package::{DkmsId, KernelId};
use crate::script::ScriptKind;
use crate::tree::{RecordedModule, State, TreeError};

/// A file of the examined package that another package has replaced.
struct Covered {
    /// The other package.
    package: String,
    /// The file below the kernel's directory.
    file: PathBuf,
    /// The module that the examined package has built for this place.
    built: PathBuf,
}

impl Session<'_> {
    /// Removes the modules of `package` from `kernel` and puts originals back. False when this version is not the installed one.
    ///
    /// A package whose source or conf is gone can be uninstalled, only its scripts are not run.
    ///
    /// # Errors
    /// When files cannot be changed.
    pub fn uninstall(&mut self, package: &DkmsId, kernel: &KernelId) -> Result<bool, InstallError> {
        let tree = self.tree;
        if tree.installed_version(&package.module, kernel).as_deref() != Some(package.version.as_str()) {
            return Ok(false);
        }
        self.sink.emit(Event::Started {
            subject: package.subject(Some(kernel)),
            step: Step::Uninstall,
            detail: String::new(),
        });
        let conf = evaluate(&tree.source_dir(package), &tree.context(package, kernel)).ok();
        let modules = tree.recorded_modules(package, kernel);
        let files: Vec<_> = modules
            .iter()
            .filter_map(|module| tree.installed_file(module, kernel))
            .collect();
        let no_weak = conf.as_ref().is_some_and(|conf| conf.no_weak_modules);
        if !no_weak {
            weak::tell(tree, weak::Told::Removed, &kernel.release, &files, self.sink);
        }
        let modules_dir = tree.modules_dir(&kernel.release);
        let mut transaction = Transaction::new(tree, self.lock);
        let covered = self.covered(package, kernel, &modules);
        for file in files
            .iter()
            .filter(|file| !covered.iter().any(|other| other.file == **file))
        {
            transaction.remove(file);
        }
        for other in &covered {
            originals::forget(tree, &mut transaction, &other.package, kernel, &other.built);
        }
        originals::restore(tree, &mut transaction, &package.module, kernel, &modules);
        for file in &files {
            transaction.prune(file.parent().unwrap_or(&modules_dir), &modules_dir);
        }
        transaction.remove(&tree.mark(&package.module, kernel));
        transaction.needs_depmod(&kernel.release);
        transaction.commit()?;
        self.indexes.remove(&kernel.release);
        let line = conf.and_then(|conf| conf.scripts.post_remove);
        self.script(package, kernel, ScriptKind::PostRemove, line.as_deref());
        self.sink.emit(Event::Finished {
            subject: package.subject(Some(kernel)),
            step: Step::Uninstall,
        });
        Ok(true)
    }

    /// The files of `package` that another package has replaced since.
    fn covered(&self, package: &DkmsId, kernel: &KernelId, modules: &[RecordedModule]) -> Vec<Covered> {
        let tree = self.tree;
        let built = tree.built_dir(package, kernel).join("module");
        let changed = modules.iter().filter_map(|module| {
            let file = tree.installed_file(module, kernel)?;
            let built = built.join(&module.file);
            (!same_content(&built, &file)).then_some((file, built))
        });
        let changed: Vec<_> = changed.collect();
        if changed.is_empty() {
            return Vec::new();
        }
        let others: Vec<DkmsId> = tree
            .packages()
            .into_iter()
            .filter(|other| other.module != package.module && tree.is_installed(other, kernel))
            .collect();
        let of = |other: &DkmsId, file: &Path| {
            let dir = tree.built_dir(other, kernel).join("module");
            let modules = tree.recorded_modules(other, kernel);
            modules.iter().any(|module| {
                tree.installed_file(module, kernel).as_deref() == Some(file)
                    && same_content(&dir.join(&module.file), file)
            })
        };
        let covered = changed.into_iter().filter_map(|(file, built)| {
            let other = others.iter().find(|other| of(other, &file))?;
            Some(Covered {
                package: other.module.clone(),
                file,
                built,
            })
        });
        covered.collect()
    }

    /// Deletes the build of `package` for `kernel`, uninstalling it first. False when there is none.
    ///
    /// # Errors
    /// When files cannot be changed.
    pub fn unbuild(&mut self, package: &DkmsId, kernel: &KernelId) -> Result<bool, InstallError> {
        self.uninstall(package, kernel)?;
        let dir = self.tree.built_dir(package, kernel);
        let was_there = dir.is_dir();
        self.discard(&dir).map_err(TreeError::io("remove", &dir))?;
        if let Some(parent) = dir.parent() {
            // The release's directory, if no other architecture is in it.
            let _ = fs::remove_dir(parent);
        }
        forget_failure(self.tree, package, kernel).map_err(TreeError::io("remove", &dir))?;
        Ok(was_there)
    }

    /// Uninstalls and unbuilds `package` for `kernels`, and forgets it when no build is left. True when it was forgotten. Its source in
    /// the source tree stays.
    ///
    /// # Errors
    /// When files cannot be changed.
    pub fn remove(&mut self, package: &DkmsId, kernels: &[KernelId]) -> Result<bool, InstallError> {
        for kernel in kernels {
            self.unbuild(package, kernel)?;
        }
        if !self.tree.built_kernels(package).is_empty() {
            return Ok(false);
        }
        let dir = self.tree.version_dir(package);
        self.discard(&dir).map_err(TreeError::io("remove", &dir))?;
        // Gone if nothing of any version is left.
        let _ = fs::remove_dir(self.tree.module_dir(&package.module));
        Ok(true)
    }

    /// The kernels that `remove --all` is about: those with a build, and those where it is installed.
    pub fn kernels_of(&self, package: &DkmsId) -> Vec<KernelId> {
        let filter = crate::tree::Filter {
            module: Some(package.module.clone()),
            version: Some(package.version.clone()),
            ..crate::tree::Filter::default()
        };
        let mut kernels = self.tree.built_kernels(package);
        let installed = self
            .tree
            .status(&filter)
            .into_iter()
            .filter(|status| status.state == State::Installed);
        kernels.extend(installed.filter_map(|status| status.kernel));
        kernels.sort();
        kernels.dedup();
        kernels
    }

    /// Moves a directory out of the tree in one step, then deletes it.
    fn discard(&self, dir: &Path) -> io::Result<()> {
        if fs::symlink_metadata(dir).is_err() {
            return Ok(());
        }
        let work = self.tree.work_dir();
        fs::create_dir_all(&work)?;
        let bin = tempfile::Builder::new().prefix("gone-").tempdir_in(&work)?;
        let gone = bin.path().join("dir");
        fs::rename(dir, &gone)?;
        sync_dir(dir.parent().unwrap_or(dir))?;
        remove_any(&gone)
    }
}
