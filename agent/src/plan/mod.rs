//! The plan for a whole machine and one kernel: which packages to install, in which order, and every device's verdict.
//!
//! Pure. At most one package serves a device, conflicts are resolved over the whole machine, and what a package needs
//! built before it comes along.

mod choose;
mod needs;
mod settle;
mod withdraw;

use std::sync::Arc;

use crate::candidate::{self, Assessment, Candidate, Facts, Offer, OfferId, Rejected, Rejection};
use crate::verdict::Verdict;

pub use needs::Library;
pub use settle::{InstalledPackage, settle};
pub use withdraw::{Remaining, Removal, Withdrawal, withdraw};

use choose::Contest;
use needs::Shelf;

/// What is to be done for one kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// For which kernel: `uname -r`.
    pub kernel: String,
    /// The packages to install, each after what it needs.
    pub steps: Vec<Step>,
    /// One for each device, in the order of the devices.
    pub decisions: Vec<Decision>,
    /// What is installed and was revoked. It goes before the first step.
    pub withdrawal: Withdrawal,
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

/// One device as the plan sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Situation {
    /// Its verdict where it needs nothing: it works, the kernel has a driver, a package is installed.
    pub settled: Option<Verdict>,
    /// The packages that match it.
    pub assessment: Assessment,
}

/// Plans for one kernel. `standing` are the packages that are installed for it already and stay.
pub fn plan(situations: &[Situation], library: &Library, standing: &[InstalledPackage], facts: Facts<'_>) -> Plan {
    let mut shelf = Shelf::new(library, standing, facts);
    let wishes: Vec<Wish> = situations
        .iter()
        .map(|situation| Wish::of(situation, &mut shelf, standing))
        .collect();
    let numbers: Vec<Vec<usize>> = wishes
        .iter()
        .map(|wish| wish.choices.iter().map(|(n, _)| *n).collect())
        .collect();
    let conflict = |a: usize, b: usize| conflict(shelf.offer(a), shelf.offer(b));
    let brings: Vec<Vec<usize>> = (0..shelf.len()).map(|n| shelf.brings(n)).collect();
    let chosen = Contest {
        wishes: &numbers,
        brings: &brings,
        conflict: &conflict,
    }
    .decide();

    let picks: Vec<Option<usize>> = numbers
        .iter()
        .zip(&chosen)
        .map(|(n, pick)| pick.map(|i| n[i]))
        .collect();
    let steps = steps(&shelf, &picks, &brings);
    let decisions = situations
        .iter()
        .zip(wishes)
        .zip(&chosen)
        .map(|((situation, wish), pick)| wish.decide(situation, *pick, &steps))
        .collect();
    Plan {
        kernel: facts.kernel.release.clone(),
        steps,
        decisions,
        withdrawal: Withdrawal::default(),
    }
}

/// A plan for packages that a person asked for by name, whether or not a device needs them.
///
/// # Errors
/// The package and the reason why it may not be installed.
pub fn plan_for(
    offers: &[Arc<Offer>],
    library: &Library,
    standing: &[InstalledPackage],
    facts: Facts<'_>,
) -> Result<Plan, Box<Rejected>> {
    let mut shelf = Shelf::new(library, standing, facts);
    let mut picks = Vec::new();
    for offer in offers {
        let refuse = |why| refused(offer, why);
        candidate::admit(offer, facts).map_err(refuse)?;
        let number = shelf.take(offer).map_err(refuse)?;
        if let Some(other) = conflict_with_installed(offer, standing) {
            return Err(refuse(Rejection::ConflictsWith { package: other }));
        }
        picks.push(Some(number));
    }
    let brings: Vec<Vec<usize>> = (0..shelf.len()).map(|n| shelf.brings(n)).collect();
    let mut steps = steps(&shelf, &picks, &brings);
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
        withdrawal: Withdrawal::default(),
    })
}

fn refused(offer: &Offer, why: Rejection) -> Box<Rejected> {
    Box::new(Rejected {
        package: offer.id.clone(),
        why,
    })
}

/// A device's choices: packages by number with their candidates, best first.
struct Wish {
    choices: Vec<(usize, Candidate)>,
    rejected: Vec<Rejected>,
}

impl Wish {
    fn of(situation: &Situation, shelf: &mut Shelf<'_>, standing: &[InstalledPackage]) -> Self {
        let mut wish = Self {
            choices: Vec::new(),
            rejected: Vec::new(),
        };
        for candidate in &situation.assessment.ranked {
            let offer = &candidate.offer;
            let outcome = match conflict_with_installed(offer, standing) {
                Some(package) => Err(Rejection::ConflictsWith { package }),
                None => shelf.take(offer),
            };
            match outcome {
                Ok(number) => wish.choices.push((number, candidate.clone())),
                Err(why) => wish.rejected.push(Rejected {
                    package: offer.id.clone(),
                    why,
                }),
            }
        }
        wish.rejected.extend(situation.assessment.rejected.iter().cloned());
        if situation.settled.is_some() {
            let settled = std::mem::take(&mut wish.choices);
            // Not wishes any more, but what `explain` shows as what could serve the device too.
            wish.rejected.splice(
                0..0,
                settled.into_iter().map(|(_, candidate)| Rejected {
                    package: candidate.offer.id.clone(),
                    why: Rejection::NotNeeded,
                }),
            );
        }
        wish
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
        let verdict = match (&situation.settled, winner) {
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
fn conflict_with_installed(offer: &Offer, standing: &[InstalledPackage]) -> Option<OfferId> {
    let clash = standing.iter().find(|other| {
        other.name != offer.id.name
            && (offer.record.conflicts.contains(&other.name)
                || offer.record.modules.iter().any(|module| other.modules.contains(module)))
    })?;
    Some(clash.id())
}

/// The chosen packages with all they bring, each after what it needs.
fn steps(shelf: &Shelf<'_>, picks: &[Option<usize>], brings: &[Vec<usize>]) -> Vec<Step> {
    let mut order: Vec<usize> = Vec::new();
    for &number in picks.iter().flatten() {
        // What a package brings is listed in building order, itself last.
        for &one in &brings[number] {
            if !order.contains(&one) {
                order.push(one);
            }
        }
    }
    let place = |number: usize| order.iter().position(|&one| one == number);
    order
        .iter()
        .map(|&number| Step {
            offer: Arc::clone(shelf.offer(number)),
            serves: (0..picks.len())
                .filter(|&device| picks[device] == Some(number))
                .collect(),
            after: shelf.needs(number).iter().filter_map(|&need| place(need)).collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
