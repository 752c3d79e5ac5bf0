//! Removes packages: by name, or because their repository revoked them.

use std::io;
use std::path::PathBuf;

use dkms_engine::install::{InstallError, Session as InstallSession};
use dkms_engine::package::{DkmsId, KernelId};
use dkms_engine::sandbox::take::remove_tree;
use dkms_support::chain;

use super::authority;
use super::{AttemptedRemoval, Cause, Failure, RemovalOutcome, Unloaded, Worker, load_kernel_drivers, trial, unload};
use crate::disk_full::is_disk_full;
use crate::files;
use crate::plan::RevokedInstalls;
use crate::report::progress::ProgressEvent;
use crate::state::StateError;
use crate::state::records::{Entry, InstallRecord};
use crate::survey::{Machine, Survey, installed_packages};

/// Why a package could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// Its modules or its builds could not be removed.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// Its source could not be deleted.
    #[error("the source {} cannot be removed: {source}", path.display())]
    Source {
        /// Where it is.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The removal could not be recorded.
    #[error(transparent)]
    State(#[from] StateError),
}

impl RemoveError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Install(error) => error.hint(),
            Self::Source { path, source } => {
                files::hint(path, source).or_else(|| Some(format!("rm -r {}", path.display())))
            }
            Self::State(error) => error.hint(),
        }
    }
}

impl Worker<'_> {
    /// A session for removals: scripts of packages are allowed one by one.
    pub fn removal_session(&self) -> InstallSession<'_> {
        InstallSession::new(self.tree, self.lock, authority::no_scripts_yet(), self.reporter)
    }

    /// Removes a package from these kernels. When no kernel has it any more, it is removed from the tree, with its source if this
    /// program put it there; another source stays, as with dkms.
    ///
    /// # Errors
    /// When files or records cannot be changed.
    pub fn remove(
        &self,
        session: &mut InstallSession<'_>,
        package: &DkmsId,
        kernels: &[KernelId],
        why: &str,
    ) -> Result<(), RemoveError> {
        let installed = self.records.installed()?;
        self.drop_builds(session, package, kernels, &installed)?;
        for kernel in kernels {
            let is_on_kernel =
                |record: &&InstallRecord| record.package == package.module && record.kernel == kernel.release;
            let record = installed.iter().find(is_on_kernel);
            let entry = Entry {
                at: self.now,
                run: self.run.clone(),
                action: "remove".to_owned(),
                package: package.module.clone(),
                scope: record.map_or_else(String::new, |record| record.scope.clone()),
                version: package.version.clone(),
                kernel: kernel.release.clone(),
                outcome: "done".to_owned(),
                detail: why.to_owned(),
            };
            // Another version may be the one that is installed there.
            if record.is_some_and(|record| record.dkms_version == package.version) {
                self.records.record_removal(&package.module, &kernel.release, &entry)?;
                self.warn_about_trial(trial::end(self.tree.root(), &kernel.release, &package.module));
            } else {
                self.records.log(&entry)?;
            }
        }
        Ok(())
    }

    /// Removes the builds of a package for these kernels, installed or not. When none is left, the package is removed from the tree, with
    /// its source if this program put it there.
    ///
    /// # Errors
    /// When files or records cannot be changed.
    pub(super) fn drop_builds(
        &self,
        session: &mut InstallSession<'_>,
        package: &DkmsId,
        kernels: &[KernelId],
        installed: &[InstallRecord],
    ) -> Result<(), RemoveError> {
        let is_ours = self.records.source_of(&package.dashed())?.is_some();
        session.allow_scripts(package, authority::scripts_at_removal(package, installed, self.policy));
        if session.remove(package, kernels)? && is_ours {
            let path = self.tree.source_tree().join(package.dashed());
            remove_tree(&path).map_err(|source| RemoveError::Source { path, source })?;
            self.records.forget_source(&package.dashed())?;
        }
        Ok(())
    }

    /// Removes the packages that were revoked from one kernel.
    pub(super) fn remove_revoked(
        &self,
        revoked: &RevokedInstalls,
        machine: &Machine<'_>,
        survey: &mut Survey,
    ) -> Result<Vec<AttemptedRemoval>, StateError> {
        let kernel = KernelId::new(&survey.kernel.release, &survey.kernel.arch);
        let (Some(kernel), false) = (kernel, revoked.removals.is_empty()) else {
            return Ok(Vec::new());
        };
        let mut session = self.removal_session();
        let (mut removals, mut modaliases) = (Vec::new(), Vec::new());
        for removal in &revoked.removals {
            let Some(package) = DkmsId::new(&removal.tree_name, &removal.dkms_version) else {
                continue;
            };
            // Unload first: after the removal it is not known which modules belong to the package.
            let unloaded = if survey.live {
                unload(
                    &self.loader,
                    self.tree.root(),
                    &removal.modules,
                    machine.devices,
                    self.reporter,
                )
            } else {
                Unloaded::default()
            };
            modaliases.extend(unloaded.modaliases);
            let why = format!("revoked by {}: {}", removal.package.repository, removal.reason);
            let end = match self.remove(&mut session, &package, std::slice::from_ref(&kernel), &why) {
                Ok(()) if unloaded.in_use => RemovalOutcome::AtReboot,
                Ok(()) => RemovalOutcome::Removed,
                Err(RemoveError::State(error)) => return Err(error),
                Err(error) => {
                    let cause = if is_disk_full(&error) {
                        Cause::NoSpace
                    } else {
                        Cause::Machine
                    };
                    RemovalOutcome::Failed(Failure {
                        hint: error.hint(),
                        ..Failure::of(cause, chain(&error))
                    })
                }
            };
            removals.push(AttemptedRemoval {
                removal: removal.clone(),
                end,
            });
        }
        // The mark that depmod must run stays, and the next run tries again.
        for error in session.finish().err().into_iter().flatten() {
            self.reporter.report(ProgressEvent::Warning {
                text: error.to_string(),
                hint: error.hint(),
            });
        }
        load_kernel_drivers(&self.loader, &modaliases);
        survey.installed = installed_packages(self.tree, &survey.kernel, &self.records.installed()?);
        Ok(removals)
    }
}
