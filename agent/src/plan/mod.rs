//! The plan for a whole machine and one kernel: which packages to install, in which order, and every device's verdict.
//!
//! Pure functions. At most one package serves a device. Conflicts are resolved over the whole machine. The plan includes what a
//! package needs built before it.

mod already_served;
mod build_depends;
mod choose;
mod installed;
mod revoked;

use std::sync::Arc;

use crate::candidate::{self, Assessment, Candidate, Facts, Offer, OfferId, Rejected, Rejection};
use crate::verdict::Verdict;

pub use already_served::already_served;
pub use build_depends::Dependencies;
pub use installed::InstalledPackage;
pub use revoked::{KeptInstall, Removal, RevokedInstalls, find_revoked};

use build_depends::BuildGraph;
use choose::Assignment;

/// What is to be done for one kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// For which kernel: `uname -r`.
    pub kernel: String,
    /// The packages to install, each after what it needs.
    pub steps: Vec<Step>,
    /// One for each device, in the order of the devices.
    pub decisions: Vec<Decision>,
    /// What is installed and was revoked. It is removed before the first step.
    pub revoked: RevokedInstalls,
}

/// One package to install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The package.
    pub offer: Arc<Offer>,
    /// The devices it is for, as indices; empty for what only other packages need.
    pub serves: Vec<usize>,
    /// The earlier steps that must be built before it, as indices into [`Plan::steps`].
    pub after: Vec<usize>,
}

/// What was decided for one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The answer.
    pub verdict: Verdict,
    /// Why every other package that matches does not serve it.
    pub losers: Vec<Rejected>,
}

/// What the plan is made from, for one device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Situation {
    /// Its verdict where it needs nothing: it works, the kernel has a driver, a package is installed.
    pub already_served: Option<Verdict>,
    /// The packages that match it.
    pub assessment: Assessment,
}

/// Plans for one kernel. `installed` are the packages that are installed for it already and stay.
pub fn plan(
    situations: &[Situation],
    dependencies: &Dependencies,
    installed: &[InstalledPackage],
    facts: Facts<'_>,
) -> Plan {
    let mut graph = BuildGraph::new(dependencies, installed, facts);
    let device_options: Vec<DeviceOptions> = situations
        .iter()
        .map(|situation| DeviceOptions::of(situation, &mut graph, installed))
        .collect();
    let numbers: Vec<Vec<usize>> = device_options
        .iter()
        .map(|options| options.choices.iter().map(|(n, _)| *n).collect())
        .collect();
    let conflict = |a: usize, b: usize| conflict(graph.offer(a), graph.offer(b));
    let with_dependencies: Vec<Vec<usize>> = (0..graph.len()).map(|n| graph.with_dependencies(n)).collect();
    let chosen = Assignment {
        preferences: &numbers,
        with_dependencies: &with_dependencies,
        conflict: &conflict,
    }
    .solve();

    let picks: Vec<Option<usize>> = numbers
        .iter()
        .zip(&chosen)
        .map(|(n, pick)| pick.map(|i| n[i]))
        .collect();
    let steps = steps(&graph, &picks, &with_dependencies);
    let decisions = situations
        .iter()
        .zip(device_options)
        .zip(&chosen)
        .map(|((situation, options), pick)| options.decide(situation, *pick, &steps))
        .collect();
    Plan {
        kernel: facts.kernel.release.clone(),
        steps,
        decisions,
        revoked: RevokedInstalls::default(),
    }
}

/// A plan for packages that a person asked for by name, whether or not a device needs them.
///
/// # Errors
/// The package and the reason why it may not be installed.
pub fn plan_for(
    offers: &[Arc<Offer>],
    dependencies: &Dependencies,
    installed: &[InstalledPackage],
    facts: Facts<'_>,
) -> Result<Plan, Box<Rejected>> {
    let mut graph = BuildGraph::new(dependencies, installed, facts);
    let mut picks = Vec::new();
    for offer in offers {
        let refuse = |why| refused(offer, why);
        candidate::admit(offer, facts).map_err(refuse)?;
        let number = graph.add(offer).map_err(refuse)?;
        if let Some(other) = conflict_with_installed(offer, installed) {
            return Err(refuse(Rejection::ConflictsWith { package: other }));
        }
        picks.push(Some(number));
    }
    let with_dependencies: Vec<Vec<usize>> = (0..graph.len()).map(|n| graph.with_dependencies(n)).collect();
    let mut steps = steps(&graph, &picks, &with_dependencies);
    for (at, step) in steps.iter().enumerate() {
        if let Some(other) = steps[..at].iter().find(|other| conflict(&other.offer, &step.offer)) {
            let why = Rejection::ConflictsWith {
                package: other.offer.id.clone(),
            };
            return Err(refused(&step.offer, why));
        }
    }
    steps.iter_mut().for_each(|step| step.serves.clear());
    Ok(Plan {
        kernel: facts.kernel.release.clone(),
        steps,
        decisions: Vec::new(),
        revoked: RevokedInstalls::default(),
    })
}

fn refused(offer: &Offer, why: Rejection) -> Box<Rejected> {
    Box::new(Rejected {
        package: offer.id.clone(),
        why,
    })
}

/// The packages that may serve a device, by number, best first, and those that may not.
struct DeviceOptions {
    choices: Vec<(usize, Candidate)>,
    rejected: Vec<Rejected>,
}

impl DeviceOptions {
    fn of(situation: &Situation, graph: &mut BuildGraph<'_>, installed: &[InstalledPackage]) -> Self {
        let mut options = Self {
            choices: Vec::new(),
            rejected: Vec::new(),
        };
        for candidate in &situation.assessment.ranked {
            let offer = &candidate.offer;
            let outcome = match conflict_with_installed(offer, installed) {
                Some(package) => Err(Rejection::ConflictsWith { package }),
                None => graph.add(offer),
            };
            match outcome {
                Ok(number) => options.choices.push((number, candidate.clone())),
                Err(why) => options.rejected.push(Rejected {
                    package: offer.id.clone(),
                    why,
                }),
            }
        }
        options.rejected.extend(situation.assessment.rejected.iter().cloned());
        if situation.already_served.is_some() {
            let choices = std::mem::take(&mut options.choices);
            // Nothing is installed for it; `explain` shows them as packages that could serve the device.
            options.rejected.splice(
                0..0,
                choices.into_iter().map(|(_, candidate)| Rejected {
                    package: candidate.offer.id.clone(),
                    why: Rejection::NotNeeded,
                }),
            );
        }
        options
    }

    fn decide(self, situation: &Situation, pick: Option<usize>, steps: &[Step]) -> Decision {
        let winner = pick
            .and_then(|i| self.choices.get(i))
            .map(|(_, candidate)| candidate.clone());
        let mut losers = Vec::new();
        for (rank, (_, candidate)) in self.choices.into_iter().enumerate() {
            let why = match &winner {
                Some(winner) if winner.offer.id == candidate.offer.id => continue,
                Some(winner) if pick.is_some_and(|i| rank > i) => Rejection::Outranked {
                    by: winner.offer.id.clone(),
                    because: winner.rank.advantage_over(&candidate.rank).to_owned(),
                },
                _ => Rejection::ConflictsWith {
                    package: rival(&candidate.offer, steps),
                },
            };
            losers.push(Rejected {
                package: candidate.offer.id.clone(),
                why,
            });
        }
        losers.extend(self.rejected);
        let verdict = match (&situation.already_served, winner) {
            (Some(verdict), _) => verdict.clone(),
            (None, Some(winner)) => Verdict::Installable {
                package: winner.offer.id.clone(),
            },
            (None, None) if losers.is_empty() => Verdict::Unknown,
            (None, None) => Verdict::Refused { why: losers.clone() },
        };
        Decision { verdict, losers }
    }
}

/// The package of the plan that rules `offer` out; itself where only its own needs do.
fn rival(offer: &Offer, steps: &[Step]) -> OfferId {
    let rival = steps.iter().find(|step| conflict(&step.offer, offer));
    rival.map_or_else(|| offer.id.clone(), |step| step.offer.id.clone())
}

/// Whether two packages may not be installed together: one says so, they are versions of one, or they build modules
/// of the same name.
fn conflict(a: &Offer, b: &Offer) -> bool {
    a.id != b.id
        && (a.id.name == b.id.name
            || a.record.conflicts.contains(&b.id.name)
            || b.record.conflicts.contains(&a.id.name)
            || a.record.modules.iter().any(|module| b.record.modules.contains(module)))
}

/// The installed package that `offer` may not be put beside. Another version of itself is replaced, not a conflict.
fn conflict_with_installed(offer: &Offer, installed: &[InstalledPackage]) -> Option<OfferId> {
    let other = installed.iter().find(|other| {
        other.name != offer.id.name
            && (offer.record.conflicts.contains(&other.name)
                || offer.record.modules.iter().any(|module| other.modules.contains(module)))
    })?;
    Some(other.id())
}

/// The chosen packages with their build dependencies, each after what it needs.
fn steps(graph: &BuildGraph<'_>, picks: &[Option<usize>], with_dependencies: &[Vec<usize>]) -> Vec<Step> {
    let mut order: Vec<usize> = Vec::new();
    for &number in picks.iter().flatten() {
        // A package is listed in building order, itself last.
        for &one in &with_dependencies[number] {
            if !order.contains(&one) {
                order.push(one);
            }
        }
    }
    let place = |number: usize| order.iter().position(|&one| one == number);
    order
        .iter()
        .map(|&number| Step {
            offer: Arc::clone(graph.offer(number)),
            serves: (0..picks.len())
                .filter(|&device| picks[device] == Some(number))
                .collect(),
            after: graph.needs(number).iter().filter_map(|&need| place(need)).collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
