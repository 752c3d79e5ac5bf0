//! Which packages could serve a device, ranked, and why the others are rejected. Pure functions over values.
//!
//! The ranking is documented: first the policy of the machine's owner, then the priority of the repository, then trial builds for
//! the kernel, then how exactly the pattern names the device, then the version.

mod fit;
mod rank;
mod rejection;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dkms_engine::kernel::KernelConfig;
use dkms_index::document::record::{PackageRecord, Status};
use dkms_index::document::revocation::Revocations;
use dkms_index::modalias::Modalias;
use dkms_index::pattern::Pattern;
use dkms_index::version;

use crate::config::{Policy, glob_matches};
use crate::state::records::Quarantined;

pub use fit::Proof;
pub use rank::Rank;
pub use rejection::{CURATED, OfferId, PackageKey, Rejected, Rejection};

/// A package version that a repository offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its name, version and repository.
    pub id: OfferId,
    /// The repository's priority: greater goes first.
    pub priority: i32,
    /// Its record in the index.
    pub record: PackageRecord,
}

/// The target kernel.
#[derive(Debug, Clone)]
pub struct TargetKernel {
    /// `uname -r`.
    pub release: String,
    /// `uname -m`.
    pub arch: String,
    /// Its configuration; `None` where there are no headers to read it from.
    pub config: Option<KernelConfig>,
    /// The first line of `--version` of the compiler that modules for it are built with; `None` where it is not known.
    pub compiler: Option<String>,
    /// The names of its own modules; empty where they are not known. `-` is written as `_`.
    pub own_modules: BTreeSet<String>,
    /// The own modules that devices of this machine work with, each with one of the devices.
    pub modules_in_use: BTreeMap<String, String>,
}

/// The policy of the machine's owner, and what failed on the machine.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// What is denied, pinned and allowed.
    pub policy: Policy,
    /// Names of the packages that are held.
    pub held: BTreeSet<String>,
    /// What failed here.
    pub quarantine: Vec<Quarantined>,
    /// What each repository revoked, by the repository's name.
    pub revocations: BTreeMap<String, Revocations>,
    /// What tells this machine from others in a staged rollout.
    pub machine_id: String,
    /// Packages that this run does not try again, in any version: a mirror must not be able to force an older version.
    pub set_aside: BTreeMap<PackageKey, Rejection>,
    /// The names in the DKMS tree that this program gave to packages, for whatever kernel.
    pub tree_names: BTreeMap<String, PackageKey>,
}

impl Rules {
    /// The versions that the policy pins a package to, as a glob.
    fn pinned(&self, name: &str) -> Option<&str> {
        let rule = self.policy.pin.iter().find(|rule| glob_matches(&rule.package, name));
        rule.map(|rule| rule.version.as_str())
    }
}

/// The facts that candidates are assessed by.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The target kernel.
    pub kernel: &'a TargetKernel,
    /// The machine's own modalias, which chooses OEM sets.
    pub machine: Option<&'a Modalias>,
    /// The rules of this machine.
    pub rules: &'a Rules,
}

/// A package that may serve a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The package.
    pub offer: Arc<Offer>,
    /// What ranks it.
    pub rank: Rank,
}

/// All packages that match a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assessment {
    /// Those that may serve it, best first.
    pub ranked: Vec<Candidate>,
    /// Those that may not, with the reason.
    pub rejected: Vec<Rejected>,
}

/// Assesses the packages whose patterns match a device. `matches` are offers with the pattern that matched.
pub fn assess(matches: &[(Arc<Offer>, Pattern)], facts: Facts<'_>) -> Assessment {
    let mut assessment = Assessment::default();
    for (offer, pattern) in matches {
        match admit(offer, facts) {
            Ok(proof) => {
                let candidate = Candidate {
                    offer: Arc::clone(offer),
                    rank: Rank::of(offer, pattern, proof, facts),
                };
                insert(&mut assessment.ranked, candidate);
            }
            Err(why) => {
                let rejected = Rejected {
                    package: offer.id.clone(),
                    why,
                };
                if !assessment.rejected.contains(&rejected) {
                    assessment.rejected.push(rejected);
                }
            }
        }
    }
    assessment.ranked.sort_by(|a, b| {
        b.rank
            .cmp(&a.rank)
            .then_with(|| newest_of_package_first(&a.offer.id, &b.offer.id))
    });
    assessment.rejected.sort_by(|a, b| newest_first(&a.package, &b.package));
    assessment
}

/// A package that matches by several patterns counts by its best.
fn insert(ranked: &mut Vec<Candidate>, candidate: Candidate) {
    match ranked.iter_mut().find(|known| known.offer.id == candidate.offer.id) {
        Some(known) if known.rank >= candidate.rank => {}
        Some(known) => *known = candidate,
        None => ranked.push(candidate),
    }
}

/// Versions of different packages are not compared: a package is not chosen because its version number is higher.
fn newest_of_package_first(a: &OfferId, b: &OfferId) -> std::cmp::Ordering {
    (&a.name, &a.scope)
        .cmp(&(&b.name, &b.scope))
        .then_with(|| version::compare(&b.version, &a.version))
        .then_with(|| a.cmp(b))
}

fn newest_first(a: &OfferId, b: &OfferId) -> std::cmp::Ordering {
    a.name
        .cmp(&b.name)
        .then_with(|| version::compare(&b.version, &a.version))
}

/// Whether the package may be installed on this machine for this kernel at all, and what trial builds prove.
///
/// # Errors
/// The strongest reason against it: what is denied for safety comes before what is merely unfit.
pub fn admit(offer: &Offer, facts: Facts<'_>) -> Result<Proof, Rejection> {
    let Facts { kernel, rules, .. } = facts;
    let record = &offer.record;
    if let Some(reason) = revoked(offer, rules) {
        return Err(Rejection::Revoked { reason });
    }
    if let Some(why) = rules.set_aside.get(&offer.id.key()) {
        return Err(why.clone());
    }
    if record.status == Status::Withdrawn {
        return Err(Rejection::Withdrawn);
    }
    denied(offer, rules)?;
    replaces_kernel_module(offer, kernel)?;
    let machine_fits = record.oem_sets.is_empty()
        || facts.machine.is_some_and(|machine| {
            let mut patterns = record.oem_sets.iter().filter_map(|text| Pattern::parse(text).ok());
            patterns.any(|pattern| pattern.matches(machine))
        });
    if !machine_fits {
        return Err(Rejection::Unfit {
            reason: "is for other machines".to_owned(),
        });
    }
    if let Some(since) = &record.upstream_since
        && version::compare(&kernel.release, since).is_ge()
    {
        return Err(Rejection::Upstream { since: since.clone() });
    }
    if let Some(reason) = fit::unmet_condition(&record.recipe, kernel) {
        return Err(Rejection::Unfit { reason });
    }
    let proof = fit::proof(&record.builds, kernel)?;
    let failed_here = |entry: &&Quarantined| {
        // By the hash of its source: a fixed source may have the same version.
        entry.bundle_sha256 == record.bundle.sha256 && entry.kernel == kernel.release
    };
    if let Some(entry) = rules.quarantine.iter().find(failed_here) {
        return Err(Rejection::Quarantined {
            reason: entry.reason.clone(),
        });
    }
    if !record
        .rollout
        .as_ref()
        .is_none_or(|rollout| rollout.takes_in(&rules.machine_id, &rules.policy.rings))
    {
        return Err(Rejection::NotYetRolledOut);
    }
    Ok(proof)
}

fn revoked(offer: &Offer, rules: &Rules) -> Option<String> {
    let list = rules.revocations.get(&offer.id.repository)?;
    let record = &offer.record;
    let versions = [record.version.as_str(), record.dkms_version()];
    let revocation = list.denies(&record.name, &versions, &record.bundle.sha256)?;
    Some(revocation.reason.clone())
}

/// Refuses a package with a module of the name of one of the kernel's own, if it may not replace that: only the curated role may
/// sign that, and no device may lose a driver that works.
fn replaces_kernel_module(offer: &Offer, kernel: &TargetKernel) -> Result<(), Rejection> {
    for module in &offer.record.modules {
        let name = module.replace('-', "_");
        if !kernel.own_modules.contains(&name) {
            continue;
        }
        let reason = if offer.id.scope != CURATED {
            "only a package of the curated role may".to_owned()
        } else if let Some(device) = kernel.modules_in_use.get(&name) {
            format!("{device} works with it")
        } else {
            continue;
        };
        return Err(Rejection::ReplacesKernelModule {
            module: module.clone(),
            reason,
        });
    }
    Ok(())
}

/// Whether the policy of the machine's owner denies it.
fn denied(offer: &Offer, rules: &Rules) -> Result<(), Rejection> {
    let OfferId { name, version, .. } = &offer.id;
    let because = |reason: String| Err(Rejection::Denied { reason });
    let policy = &rules.policy;
    let names = |globs: &[String]| globs.iter().any(|glob| glob_matches(glob, name));
    if names(&policy.deny) {
        return because("denied by this machine's policy".to_owned());
    }
    if rules.held.contains(name) {
        return because(rejection::HELD.to_owned());
    }
    if let Some(pinned) = rules.pinned(name)
        && !glob_matches(pinned, version)
    {
        return because(format!("this machine's policy pins {name} to {pinned}"));
    }
    let scripts = &offer.record.recipe.root_scripts;
    if !scripts.is_empty() && !policy.allows_root_scripts(name) {
        return Err(Rejection::RootScripts {
            scripts: scripts.clone(),
        });
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
