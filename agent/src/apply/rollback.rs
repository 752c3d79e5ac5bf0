//! Goes back to what was installed before.

use dkms_engine::install::Session as InstallSession;
use dkms_engine::package::{DkmsId, KernelId};
use dkms_engine::tree::Tree;

use super::{RemoveError, Worker, authority, trial};
use crate::state::StateError;
use crate::state::records::{Entry, InstallRecord, Quarantined, Records};

/// Whether the tree still has the build of what was installed.
///
/// # Errors
/// When the records cannot be read.
pub fn has_build(
    tree: &Tree,
    records: &Records,
    installed: &InstallRecord,
    kernel: &KernelId,
) -> Result<bool, StateError> {
    let Some(package) = id(installed) else { return Ok(false) };
    let source = records.source_of(&package.dashed())?;
    Ok(tree.is_built(&package, kernel) && source.as_ref() == Some(&installed.bundle_sha256))
}

impl Worker<'_> {
    /// Installs a build that the tree still has, in the place of what is installed now: one transaction. The build that it replaces is
    /// removed afterwards, because `dkms autoinstall` would choose it.
    ///
    /// # Errors
    /// When files or records cannot be changed.
    pub fn put_back(
        &self,
        session: &mut InstallSession<'_>,
        to: &InstallRecord,
        kernel: &KernelId,
        why: &str,
    ) -> Result<(), RemoveError> {
        let Some(package) = id(to) else { return Ok(()) };
        let scripts = authority::scripts(&to.name, &to.root_scripts, self.policy);
        session.allow_scripts(&package, scripts);
        session.install(&package, kernel)?;
        let entry = Entry {
            at: self.now,
            run: self.run.clone(),
            action: "rollback".to_owned(),
            package: to.name.clone(),
            scope: to.scope.clone(),
            version: to.version.clone(),
            kernel: to.kernel.clone(),
            outcome: "done".to_owned(),
            detail: why.to_owned(),
        };
        self.records.record_install(to, &entry)?;
        self.warn_about_trial(trial::end(self.tree.root(), &to.kernel, &to.package));
        Ok(())
    }

    /// Removes the build of what was installed before a rollback, where it is another one than what is installed now.
    ///
    /// # Errors
    /// When files or records cannot be changed.
    pub fn drop_replaced(
        &self,
        session: &mut InstallSession<'_>,
        from: &InstallRecord,
        to: &InstallRecord,
        kernel: &KernelId,
    ) -> Result<(), RemoveError> {
        match id(from) {
            Some(package) if from.dkms_version != to.dkms_version => {
                let kernels = std::slice::from_ref(kernel);
                self.drop_builds(session, &package, kernels, std::slice::from_ref(from))
            }
            _ => Ok(()),
        }
    }

    /// Keeps `--auto` from installing again what a rollback takes away, until `dkms-fetch unhold`; and allows what it brings back.
    ///
    /// # Errors
    /// When the records cannot be written.
    pub fn set_aside(
        &self,
        from: Option<&InstallRecord>,
        to: Option<&InstallRecord>,
        why: &str,
    ) -> Result<(), StateError> {
        if let Some(from) = from.filter(|from| to.is_none_or(|to| to.bundle_sha256 != from.bundle_sha256)) {
            self.records.quarantine(&Quarantined {
                bundle_sha256: from.bundle_sha256.clone(),
                package: from.name.clone(),
                version: from.version.clone(),
                kernel: from.kernel.clone(),
                reason: why.to_owned(),
                at: self.now,
            })?;
        }
        match to {
            Some(to) => self.records.release_bundle(&to.bundle_sha256, &to.kernel),
            None => Ok(()),
        }
    }
}

/// What the DKMS tree calls it.
fn id(installed: &InstallRecord) -> Option<DkmsId> {
    DkmsId::new(&installed.package, &installed.dkms_version)
}
