//! Which packages a medium carries, and which devices get nothing from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dkms_index::version;

use super::Order;
use super::made::NotServed;
use crate::candidate::{self, Facts, Offer, OfferId, PackageKey, Rejection, Rules};
use crate::cli::failure::Failure;
use crate::config::Repository;
use crate::device::{self, Device};
use crate::plan::Plan;
use crate::report::{DeviceReport, needs_no_driver};
use crate::state::index::Index;
use crate::survey::{Machine, Offers, Survey};
use crate::verdict::Verdict;

/// The devices for which none of the repositories that were looked at has anything.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// For each kernel the devices by number.
    by_kernel: BTreeMap<String, BTreeMap<usize, Verdict>>,
    /// The kernels whose own modules are not here.
    without_modules: BTreeSet<String>,
}

impl Gaps {
    /// Notes what one more repository has for the devices, with one kernel.
    fn note(&mut self, survey: &Survey, plan: &Plan) {
        let release = &survey.kernel.release;
        if !survey.has_modules {
            self.without_modules.insert(release.clone());
        }
        let decisions = plan.decisions.iter().enumerate();
        let found = decisions.filter(|(_, one)| is_gap(&one.verdict));
        let found = found.map(|(n, decision)| (n, decision.verdict.clone()));
        let Some(before) = self.by_kernel.get_mut(release) else {
            self.by_kernel.insert(release.clone(), found.collect());
            return;
        };
        let mut now: BTreeMap<usize, Verdict> = found.collect();
        let before_all = std::mem::take(before);
        *before = before_all
            .into_iter()
            .filter_map(|(n, verdict)| Some((n, both(verdict, now.remove(&n)?))))
            .collect();
    }

    /// The kernels with devices that get nothing.
    pub(super) fn not_served(self, arch: &str, devices: &[Device]) -> Vec<NotServed> {
        let without_modules = self.without_modules;
        let one = |(kernel, found): (String, BTreeMap<usize, Verdict>)| NotServed {
            modules_known: !without_modules.contains(&kernel),
            kernel,
            arch: arch.to_owned(),
            devices: found
                .into_iter()
                .map(|(n, verdict)| DeviceReport::of(devices[n].clone(), verdict))
                .filter(|report| report.verdict != Verdict::Unknown || !needs_no_driver(report))
                .collect(),
        };
        let all = self.by_kernel.into_iter().map(one);
        all.filter(|one| !one.devices.is_empty()).collect()
    }
}

/// Whether a device gets nothing. What is refused for a reason that only the machine itself can judge is on the medium.
fn is_gap(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Unknown => true,
        Verdict::Refused { why } => !why.iter().any(|one| is_up_to_the_machine(&one.why)),
        _ => false,
    }
}

/// What two repositories say of a device for which neither has anything.
fn both(one: Verdict, other: Verdict) -> Verdict {
    match (one, other) {
        (Verdict::Refused { mut why }, Verdict::Refused { why: more }) => {
            why.extend(more);
            Verdict::Refused { why }
        }
        (Verdict::Unknown, verdict) | (verdict, _) => verdict,
    }
}

impl Order<'_> {
    /// The packages that may be installed on the machine, and those that they are built with.
    pub(super) fn choose(
        &self,
        repository: &Repository,
        index: &Index,
        gaps: &mut Gaps,
    ) -> Result<Vec<Arc<Offer>>, Failure> {
        let context = self.context;
        let repositories = std::slice::from_ref(repository);
        let mut machine = Machine::look_up(&context.host, self.devices, false, repositories, index)?;
        if context.options.devices.is_some() {
            // What this machine is says nothing about the other one.
            machine.dmi = device::dmi(self.devices).cloned();
        }
        // What the owner of the other machine denies, holds and allows is known there alone.
        let rules = Rules {
            revocations: index
                .revocations()?
                .into_iter()
                .map(|(name, list)| (name.to_string(), list))
                .collect(),
            ..Rules::default()
        };
        let tree = context.tree()?;
        let mut found: BTreeMap<OfferId, Arc<Offer>> = BTreeMap::new();
        for release in self.kernels {
            let mut survey = machine.survey(release, &tree, &[])?;
            // What is installed here is not installed there.
            survey.installed.clear();
            survey.claims.iter_mut().for_each(|claims| claims.installed.clear());
            let plan = machine.plan(&survey, &rules);
            gaps.note(&survey, &plan);
            found.extend(wanted(&machine, &survey, &plan, &rules));
        }
        let start: Vec<Arc<Offer>> = found.values().cloned().collect();
        let needed = Offers::new(index, repositories).dependencies_of(&start)?;
        for offer in needed.into_values().flatten() {
            found.entry(offer.id.clone()).or_insert(offer);
        }
        Ok(found.into_values().collect())
    }
}

/// What may be installed for one kernel: what would be by the plan, and of each package the newest version that may be, and newer ones of
/// which only the other machine knows whether it may have them.
fn wanted(machine: &Machine<'_>, survey: &Survey, plan: &Plan, rules: &Rules) -> BTreeMap<OfferId, Arc<Offer>> {
    let facts = machine.facts(survey, rules);
    let mut by_package: BTreeMap<PackageKey, Vec<Arc<Offer>>> = BTreeMap::new();
    for (matches, decision) in machine.matches.iter().zip(&plan.decisions) {
        if matches!(decision.verdict, Verdict::WorksInTree { .. }) {
            continue;
        }
        for (offer, _) in matches {
            let versions = by_package.entry(offer.id.key()).or_default();
            if !versions.contains(offer) {
                versions.push(Arc::clone(offer));
            }
        }
    }
    let planned = plan.steps.iter().map(|step| &step.offer);
    let mut found: BTreeMap<OfferId, Arc<Offer>> = planned.map(|offer| (offer.id.clone(), Arc::clone(offer))).collect();
    for mut versions in by_package.into_values() {
        versions.sort_by(|a, b| version::compare(&b.id.version, &a.id.version));
        for offer in versions {
            let is_certain = match admission(&offer, facts) {
                Some(is_certain) => is_certain,
                None => continue,
            };
            found.insert(offer.id.clone(), offer);
            if is_certain {
                break;
            }
        }
    }
    found
}

/// Whether a package may be installed for certain, or perhaps; `None` where it may not.
fn admission(offer: &Offer, facts: Facts<'_>) -> Option<bool> {
    match candidate::admit(offer, facts) {
        Ok(_) => Some(true),
        Err(why) if is_up_to_the_machine(&why) => Some(false),
        Err(_) => None,
    }
}

/// Whether only the machine itself knows if this keeps a package from it.
fn is_up_to_the_machine(why: &Rejection) -> bool {
    matches!(
        why,
        Rejection::RootScripts { .. } | Rejection::NotYetRolledOut | Rejection::ReplacesKernelModule { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::candidate::Rejected;

    #[test]
    fn what_only_the_machine_can_judge_is_no_gap() {
        let refused = |whys: &[Rejection]| Verdict::Refused {
            why: whys
                .iter()
                .map(|why| Rejected {
                    package: OfferId {
                        name: "edu".into(),
                        version: "1".into(),
                        repository: "test".into(),
                        scope: String::new(),
                    },
                    why: why.clone(),
                })
                .collect(),
        };
        let withdrawn = || refused(&[Rejection::Withdrawn]);
        assert!(is_gap(&Verdict::Unknown) && is_gap(&withdrawn()));
        assert!(!is_gap(&refused(&[Rejection::Withdrawn, Rejection::NotYetRolledOut])));
        assert_eq!(both(Verdict::Unknown, withdrawn()), withdrawn());
        assert_eq!(both(withdrawn(), Verdict::Unknown), withdrawn());
        let twice = refused(&[Rejection::Withdrawn, Rejection::Withdrawn]);
        assert_eq!(both(withdrawn(), withdrawn()), twice);
    }
}
