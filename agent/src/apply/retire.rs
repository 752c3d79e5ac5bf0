//! Takes packages from a kernel that does not run yet and has drivers of its own for their devices, which the running one has not.

use dkms_engine::install::DepmodError;
use dkms_engine::package::{DkmsId, KernelId};

use super::{RemoveError, Worker};
use crate::intree::InTreeError;
use crate::plan::{Retired, find_retired};
use crate::report::progress::ProgressEvent;
use crate::state::StateError;
use crate::survey::{Machine, Survey};

/// Why such packages could not be found or removed.
#[derive(Debug, thiserror::Error)]
pub enum RetireError {
    /// The modules of a kernel could not be listed.
    #[error(transparent)]
    InTree(#[from] InTreeError),
    /// What is installed or held could not be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// One could not be removed.
    #[error(transparent)]
    Remove(#[from] RemoveError),
    /// depmod failed afterwards.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Depmod(Vec<DepmodError>),
}

impl Worker<'_> {
    /// Removes them, unless somebody holds one, or it was not this program that installed it. Nothing where no kernel runs, or this one does.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn retire(&self, machine: &Machine<'_>, survey: &mut Survey) -> Result<(), RetireError> {
        let host = machine.host;
        let running = host.running.as_ref().filter(|one| **one != survey.kernel.release);
        let (Some(running), Some(kernel)) = (running, KernelId::new(&survey.kernel.release, &survey.kernel.arch))
        else {
            return Ok(());
        };
        if survey.installed.is_empty() || !host.releases.contains(running) {
            return Ok(());
        }
        let noted = self.records.installed()?;
        // What was installed now is looked at too.
        *survey = machine.survey(&kernel.release, self.tree, &noted)?;
        let old = machine.survey(running, self.tree, &noted)?;
        let retired = find_retired(&survey.installed, &survey.claims, &old.claims);
        if retired.is_empty() {
            return Ok(());
        }
        let held = self.records.holds()?;
        let mut session = self.removal_session();
        for Retired {
            name,
            dkms_version,
            module,
        } in &retired
        {
            let is_ours = noted
                .iter()
                .any(|one| one.package == *name && one.dkms_version == *dkms_version);
            let package = DkmsId::new(name, dkms_version).filter(|_| is_ours);
            let Some(package) = package.filter(|_| !held.iter().any(|hold| hold.package == *name)) else {
                continue;
            };
            let why = format!("kernel {} drives its devices itself, with {module}", kernel.release);
            self.remove(&mut session, &package, std::slice::from_ref(&kernel), &why)?;
            self.reporter.report(ProgressEvent::Warning {
                text: format!("{package} was removed from kernel {}: {why}", kernel.release),
                hint: Some(format!("to keep it: dkms-fetch hold {name}")),
            });
        }
        session.finish().map_err(RetireError::Depmod)?;
        *survey = machine.survey(&kernel.release, self.tree, &self.records.installed()?)?;
        Ok(())
    }
}
