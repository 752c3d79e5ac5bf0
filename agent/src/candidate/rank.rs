//! The order among packages that may all serve a device.

use std::cmp::Ordering;

use dkms_index::pattern::Pattern;
use dkms_index::specificity::Specificity;
use serde::Serialize;

use super::{Facts, Offer, Proof};

/// What ranks a candidate, the strongest criterion first. Greater is better.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rank {
    /// The machine's owner pinned it, or it was made for this very machine.
    pub preferred: bool,
    /// The repository's priority.
    pub priority: i32,
    /// What trial builds prove.
    pub proof: Proof,
    /// How exactly the pattern names the device.
    pub specificity: Specificity,
}

impl Rank {
    pub(super) fn of(offer: &Offer, pattern: &Pattern, proof: Proof, facts: Facts<'_>) -> Self {
        Self {
            preferred: facts.rules.pinned(&offer.id.name).is_some() || !offer.record.oem_sets.is_empty(),
            priority: offer.priority,
            proof,
            specificity: Specificity::of(pattern),
        }
    }

    /// The first criterion by which `self` goes before `other`, as text. `same_package` says that they are versions of one package.
    pub fn advantage_over(&self, other: &Self, same_package: bool) -> &'static str {
        if self.preferred != other.preferred {
            "preferred on this machine"
        } else if self.priority != other.priority {
            "its repository has the higher priority"
        } else if self.proof != other.proof {
            match self.proof {
                Proof::ThisKernel => "proven to build on this kernel",
                Proof::SameSeries | Proof::None => "proven to build on this kernel series",
            }
        } else if self.specificity != other.specificity {
            "names the device more exactly"
        } else if same_package {
            "newer"
        } else {
            "first by name"
        }
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        let counts = |rank: &Self| (rank.preferred, rank.priority, rank.proof, rank.specificity);
        counts(self).cmp(&counts(other))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
