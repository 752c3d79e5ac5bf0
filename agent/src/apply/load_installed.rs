//! Loads what was installed before and drives none of its devices now.

use std::sync::Arc;

use dkms_engine::install::Session as InstallSession;
use dkms_engine::package::DkmsId;

use super::load::{is_served, uses_another_build};
use super::{Attempt, End, Worker};
use crate::candidate::{Offer, Rules};
use crate::device::Binding;
use crate::report::progress::ProgressEvent;
use crate::state::StateError;
use crate::state::records::InstallRecord;
use crate::survey::{Machine, Survey};

impl Worker<'_> {
    /// Loads what earlier runs installed and what drives none of its devices.
    pub(super) fn load_unbound(
        &self,
        machine: &Machine<'_>,
        survey: &mut Survey,
        rules: &mut Rules,
        session: &mut InstallSession<'_>,
    ) -> Result<Vec<Attempt>, StateError> {
        let mut attempts = self.not_bound(machine, survey, rules)?;
        self.load_rest(machine, survey, rules, session, &mut attempts)?;
        Ok(attempts)
    }

    /// Packages that are installed for the running kernel and drive none of their devices: a power cut came before they were loaded,
    /// they wait for a key, or somebody unloaded them.
    fn not_bound(&self, machine: &Machine<'_>, survey: &Survey, rules: &Rules) -> Result<Vec<Attempt>, StateError> {
        self.load_unrecorded(machine, survey);
        let mut found = Vec::new();
        let never_bound = self.records.never_bound(&survey.kernel.release)?;
        for recorded in self.records.installed()? {
            if recorded.kernel != survey.kernel.release {
                continue;
            }
            let key = recorded.key();
            let is_meant = |offer: &Offer| offer.id.repository == recorded.repository && offer.id.key().is_same(&key);
            let is_recorded = |offer: &Offer| is_meant(offer) && offer.id.version == recorded.version;
            if rules.held.contains(&recorded.name) {
                continue;
            }
            let (mut offered, mut serves) = (None, Vec::new());
            for (n, matches) in machine.matches.iter().enumerate() {
                if let Some((offer, _)) = matches.iter().find(|(offer, _)| is_recorded(offer)) {
                    offered = Some(Arc::clone(offer));
                    serves.push(n);
                }
            }
            let was_bound = !never_bound.contains(&recorded);
            if serves.iter().any(|&n| is_served(machine, n)) {
                match offered.and_then(|offer| self.waits_for_restart(machine, survey, &recorded, offer, &serves)) {
                    Some(attempt) => found.push(attempt),
                    // udev loaded it at this boot. Another package may drive the rest of its devices.
                    None => self.records.note_bound(&recorded.package, &recorded.kernel)?,
                }
            } else if was_bound {
                // It worked before. If it does not bind now, it has not failed: its device may be switched off.
                self.load_again(&recorded, offered.as_deref());
            } else if let Some(offer) = offered {
                let (files, loaded, pending) = (Vec::new(), false, None);
                let end = End::Installed { files, loaded, pending };
                let tree_name = recorded.package;
                found.push(Attempt {
                    offer,
                    tree_name,
                    serves,
                    end,
                });
            }
        }
        Ok(found)
    }

    /// A package that was installed in place of another version, which still drives its devices.
    fn waits_for_restart(
        &self,
        machine: &Machine<'_>,
        survey: &Survey,
        recorded: &InstallRecord,
        offer: Arc<Offer>,
        serves: &[usize],
    ) -> Option<Attempt> {
        let package = DkmsId::new(&recorded.package, &recorded.dkms_version)?;
        let is_old = |module: &&String| self.runs_other_build(machine, survey, &package, module);
        let module = offer.record.modules.iter().find(is_old)?;
        let end = End::Installed {
            files: Vec::new(),
            loaded: false,
            pending: Some(uses_another_build(module)),
        };
        Some(Attempt {
            tree_name: recorded.package.clone(),
            serves: serves.to_vec(),
            end,
            offer,
        })
    }

    /// Loads the modules of a package that worked before.
    fn load_again(&self, recorded: &InstallRecord, offer: Option<&Offer>) {
        for module in offer.into_iter().flat_map(|offer| &offer.record.modules) {
            self.reporter.report(ProgressEvent::Loading { module: module.clone() });
            if let Err(message) = self.loader.load(module) {
                self.reporter.report(ProgressEvent::Warning {
                    text: format!(
                        "{} {} is installed and not loaded: {message}",
                        recorded.package, recorded.version
                    ),
                    hint: Some(format!("journalctl -k -g {module}")),
                });
            }
        }
    }

    /// Loads, for devices without a driver, packages that the tree has and the records do not: a power cut came between the two.
    /// It is not known who installed them, so they stay installed where they do not bind.
    fn load_unrecorded(&self, machine: &Machine<'_>, survey: &Survey) {
        let unrecorded = |name: &str| survey.installed.iter().any(|s| s.source.is_none() && s.name == name);
        for (n, device) in machine.devices.iter().enumerate() {
            let is_meant = machine.matches[n].iter().any(|(offer, _)| unrecorded(&offer.id.name));
            if is_meant && device.binding == Binding::Unbound && !is_served(machine, n) {
                let modaliases = device.modaliases.iter();
                modaliases.for_each(|modalias| self.loader.load_for(&modalias.to_string()));
            }
        }
    }
}
