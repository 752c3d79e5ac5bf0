//! The plan for a whole machine and one kernel: which packages to install, in which order, and every device's verdict.
//!
//! Pure functions. At most one package serves a device. Conflicts are resolved over the whole machine. The plan includes what a
//! package needs built before it.

mod already_served;
mod build_depends;
mod choose;
mod installed;
mod retired;
mod revoked;
mod tree_name;

use std::cmp::Reverse;
use std::sync::Arc;

use dkms_engine::ko::in_kernel;

use crate::candidate::{self, Assessment, CURATED, Candidate, Facts, Offer, OfferId, Rejected, Rejection};
use crate::verdict::Verdict;

pub use already_served::already_served;
pub use build_depends::Dependencies;
pub use installed::InstalledPackage;
pub use retired::{Retired, find_retired};
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
    /// Its name in the DKMS tree: its own, unless a package of another role has that.
    pub tree_name: String,
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
    let mut device_options: Vec<DeviceOptions> = situations
        .iter()
        .map(|situation| DeviceOptions::of(situation, &mut graph, installed))
        .collect();
    let with_dependencies: Vec<Vec<usize>> = (0..graph.len()).map(|n| graph.with_dependencies(n)).collect();
    // Each round takes one package out, so this ends.
    let (chosen, picks) = loop {
        let (chosen, picks) = assign(&graph, &device_options, &with_dependencies);
        let Some((loser, winner)) = first_to_yield(&graph, &picks, &with_dependencies) else {
            break (chosen, picks);
        };
        let package = graph.offer(winner).id.clone();
        for options in &mut device_options {
            options.exclude(|n| with_dependencies[n].contains(&loser), &package);
        }
    };
    let steps = steps(&graph, &picks, &with_dependencies, facts);
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

/// The package of each device, as an index into its choices and as a number.
fn assign(
    graph: &BuildGraph<'_>,
    device_options: &[DeviceOptions],
    with_dependencies: &[Vec<usize>],
) -> (Vec<Option<usize>>, Vec<Option<usize>>) {
    let numbers: Vec<Vec<usize>> = device_options
        .iter()
        .map(|options| options.choices.iter().map(|(n, _)| *n).collect())
        .collect();
    let chosen = Assignment {
        preferences: &numbers,
        with_dependencies,
        conflict: &|a, b| conflict(graph.offer(a), graph.offer(b)),
    }
    .solve();
    let picks = numbers.iter().zip(&chosen);
    let picks = picks.map(|(n, pick)| pick.map(|i| n[i])).collect();
    (chosen, picks)
}

/// The first of the chosen packages that [`yields`] to another one, and that one.
fn first_to_yield(
    graph: &BuildGraph<'_>,
    picks: &[Option<usize>],
    with_dependencies: &[Vec<usize>],
) -> Option<(usize, usize)> {
    let chosen: Vec<usize> = picks
        .iter()
        .flatten()
        .flat_map(|&n| &with_dependencies[n])
        .copied()
        .collect();
    let mut pairs = chosen.iter().flat_map(|&a| chosen.iter().map(move |&b| (a, b)));
    pairs.find(|&(a, b)| yields(graph.offer(a), graph.offer(b)))
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
    let mut steps = steps(&graph, &picks, &with_dependencies, facts);
    let excludes = |a: &Offer, b: &Offer| conflict(a, b) || yields(a, b) || yields(b, a);
    for (at, step) in steps.iter().enumerate() {
        if let Some(other) = steps[..at].iter().find(|other| excludes(&other.offer, &step.offer)) {
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

    /// Takes out the packages of these numbers, which cannot be beside `package`.
    fn exclude(&mut self, is_excluded: impl Fn(usize) -> bool, package: &OfferId) {
        let (excluded, kept) = std::mem::take(&mut self.choices)
            .into_iter()
            .partition(|(number, _)| is_excluded(*number));
        self.choices = kept;
        let excluded: Vec<(usize, Candidate)> = excluded;
        self.rejected
            .extend(excluded.into_iter().map(|(_, candidate)| Rejected {
                package: candidate.offer.id.clone(),
                why: Rejection::ConflictsWith {
                    package: package.clone(),
                },
            }));
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
                    because: winner
                        .rank
                        .advantage_over(&candidate.rank, winner.offer.id.is_same_package(&candidate.offer.id))
                        .to_owned(),
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

/// The package of the plan that conflicts with `offer`; `offer` itself where only its build dependencies conflict.
fn rival(offer: &Offer, steps: &[Step]) -> OfferId {
    let rival = steps.iter().find(|step| conflict(&step.offer, offer));
    rival.map_or_else(|| offer.id.clone(), |step| step.offer.id.clone())
}

/// Whether only one of two packages can be installed, and the devices decide which: they are versions of one package, one lists the
/// other in `conflicts` and is curated or of the same role, or one role signs both and they have a module of the same name.
fn conflict(a: &Offer, b: &Offer) -> bool {
    let same_role = a.id.scope == b.id.scope;
    let rules_out =
        |a: &Offer, b: &Offer| (same_role || a.id.scope == CURATED) && a.record.conflicts.contains(&b.id.name);
    a.id != b.id
        && (a.id.is_same_package(&b.id) || rules_out(a, b) || rules_out(b, a) || same_role && share_a_module(a, b))
}

/// Whether `a` is not installed beside `b`, a package of another role, whatever the devices need. Where a vendor's package lists one of
/// another role in `conflicts`, the vendor's yields. Where both have a module of the same name, the curated role goes first, then
/// the priority of the repository, then the name of the role.
fn yields(a: &Offer, b: &Offer) -> bool {
    let order = |offer: &Offer| {
        (
            offer.id.scope == CURATED,
            offer.priority,
            Reverse(offer.id.scope.clone()),
        )
    };
    a.id.scope != b.id.scope
        && (a.id.scope != CURATED && a.record.conflicts.contains(&b.id.name)
            || share_a_module(a, b) && order(a) < order(b))
}

fn share_a_module(a: &Offer, b: &Offer) -> bool {
    let theirs: Vec<String> = b.record.modules.iter().map(|module| in_kernel(module)).collect();
    a.record
        .modules
        .iter()
        .any(|module| theirs.contains(&in_kernel(module)))
}

/// The installed package that `offer` may not be put beside. Another version of itself is replaced, not a conflict.
fn conflict_with_installed(offer: &Offer, installed: &[InstalledPackage]) -> Option<OfferId> {
    let other = installed.iter().find(|other| {
        !other.is_package(&offer.id)
            && (offer.record.conflicts.contains(&other.id().name)
                || offer
                    .record
                    .modules
                    .iter()
                    .any(|module| other.modules.contains(&module.replace('-', "_"))))
    })?;
    Some(other.id())
}

/// The chosen packages with their build dependencies, each after what it needs.
fn steps(
    graph: &BuildGraph<'_>,
    picks: &[Option<usize>],
    with_dependencies: &[Vec<usize>],
    facts: Facts<'_>,
) -> Vec<Step> {
    let mut taken = facts.rules.tree_names.clone();
    let mut name_of = |offer: &Offer| {
        let key = offer.id.key();
        let name = tree_name::tree_name(&key, &taken);
        taken.insert(name.clone(), key);
        name
    };
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
            tree_name: name_of(graph.offer(number)),
            serves: (0..picks.len())
                .filter(|&device| picks[device] == Some(number))
                .collect(),
            after: graph.needs(number).iter().filter_map(|&need| place(need)).collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
