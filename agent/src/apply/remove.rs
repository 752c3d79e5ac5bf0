//! Taking packages away: because a person says so, or because their repository does.

use std::io;
use std::path::PathBuf;

use dkms_engine::install::{InstallError, InstallOptions, Session as InstallSession};
use dkms_engine::package::{DkmsId, KernelId};

use super::{Cause, Failure, Unloaded, Worker, adopt, unload};
use crate::error_chain::{chain, is_disk_full};
use crate::files;
use crate::plan::{Removal, Withdrawal};
use crate::report::progress::ProgressEvent;
use crate::state::StateError;
use crate::state::records::Entry;
use crate::survey::{Machine, Survey, standing};

/// Why a package could not be taken away.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// Its modules or its builds could not.
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
    /// It could not be written down.
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

/// A package that was to go.
#[derive(Debug, Clone)]
pub struct Withdrawn {
    /// Which, and why.
    pub removal: Removal,
    /// What became of it.
    pub end: RemovalOutcome,
}

/// How the removal of a package ended.
#[derive(Debug, Clone)]
pub enum RemovalOutcome {
    /// It is gone.
    Removed,
    /// It is gone from the disk; the running kernel still uses it.
    AtReboot,
    /// It is still there.
    Failed(Failure),
}

impl Worker<'_> {
    /// Takes a package away from these kernels. When no kernel has it any more, it goes from the tree, and its source with it where
    /// we put it there; anybody else's source stays, as with dkms.
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
        let is_ours = installed
            .iter()
            .any(|i| i.package == package.module && i.dkms_version == package.version);
        if session.remove(package, kernels)? && is_ours {
            let path = self.tree.source_tree().join(package.dashed());
            std::fs::remove_dir_all(&path).map_err(|source| RemoveError::Source { path, source })?;
        }
        for kernel in kernels {
            self.records.note_removed(&package.module, &kernel.release)?;
            self.records.log(&Entry {
                at: self.now,
                run: self.run.clone(),
                action: "remove".to_owned(),
                package: package.module.clone(),
                version: package.version.clone(),
                kernel: kernel.release.clone(),
                outcome: "done".to_owned(),
                detail: why.to_owned(),
            })?;
        }
        Ok(())
    }

    /// Carries out what repositories want gone from one kernel.
    pub(super) fn withdraw(
        &self,
        withdrawal: &Withdrawal,
        machine: &Machine<'_>,
        survey: &mut Survey,
    ) -> Result<Vec<Withdrawn>, StateError> {
        let kernel = KernelId::new(&survey.kernel.release, &survey.kernel.arch);
        let (Some(kernel), false) = (kernel, withdrawal.removals.is_empty()) else {
            return Ok(Vec::new());
        };
        let options = InstallOptions {
            run_scripts: self.scripts_allowed,
            ..InstallOptions::default()
        };
        let mut session = InstallSession::new(self.tree, self.lock, options, self.reporter);
        let (mut withdrawn, mut orphans) = (Vec::new(), Vec::new());
        for removal in &withdrawal.removals {
            let Some(package) = DkmsId::new(&removal.package.name, &removal.dkms_version) else {
                continue;
            };
            // First from memory: afterwards nobody knows which modules belong together.
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
            orphans.extend(unloaded.orphans);
            let why = format!("revoked by {}: {}", removal.package.repository, removal.reason);
            let end = match self.remove(&mut session, &package, std::slice::from_ref(&kernel), &why) {
                Ok(()) if unloaded.stays => RemovalOutcome::AtReboot,
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
                        ..Failure::of(cause, format!("failed to {}", chain(&error)))
                    })
                }
            };
            withdrawn.push(Withdrawn {
                removal: removal.clone(),
                end,
            });
        }
        // The mark that depmod is due stays, and the next run tries again.
        for error in session.finish().err().into_iter().flatten() {
            self.reporter.tell(ProgressEvent::Warning {
                text: format!("failed to {error}"),
                hint: error.hint(),
            });
        }
        adopt(&self.loader, &orphans);
        survey.standing = standing(self.tree, &survey.kernel, &self.records.installed()?);
        Ok(withdrawn)
    }
}
