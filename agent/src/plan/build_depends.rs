//! What must be built before a package: `BUILD_DEPENDS`, resolved by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use dkms_index::version;

use super::InstalledPackage;
use crate::candidate::{self, CURATED, Facts, Offer, OfferId, Proof, Rejection};

/// Packages by name: all versions of every name that some `BUILD_DEPENDS` reaches.
pub type Dependencies = BTreeMap<String, Vec<Arc<Offer>>>;

/// A chain of build dependencies longer than this is an error in the index.
const DEPTH_MAX: usize = 16;

/// The packages of the plan by number, each with the numbers of its build dependencies.
pub(super) struct BuildGraph<'a> {
    dependencies: &'a Dependencies,
    installed: &'a [InstalledPackage],
    facts: Facts<'a>,
    offers: Vec<Arc<Offer>>,
    needs: Vec<Vec<usize>>,
    known: BTreeMap<OfferId, Result<usize, Rejection>>,
}

/// Whether a package of the role `scope` may depend on one of the role `other`: its own, or the curated role. Another vendor must not
/// decide about its devices.
fn may_need(scope: &str, other: &str) -> bool {
    scope == other || other == CURATED
}

impl<'a> BuildGraph<'a> {
    pub(super) fn new(dependencies: &'a Dependencies, installed: &'a [InstalledPackage], facts: Facts<'a>) -> Self {
        Self {
            dependencies,
            installed,
            facts,
            offers: Vec::new(),
            needs: Vec::new(),
            known: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.offers.len()
    }

    pub(super) fn offer(&self, number: usize) -> &Arc<Offer> {
        &self.offers[number]
    }

    pub(super) fn needs(&self, number: usize) -> &[usize] {
        &self.needs[number]
    }

    /// Adds an admitted package with its build dependencies, and gives its number.
    pub(super) fn add(&mut self, offer: &Arc<Offer>) -> Result<usize, Rejection> {
        self.add_for(offer, &mut Vec::new())
    }

    fn add_for(&mut self, offer: &Arc<Offer>, dependents: &mut Vec<String>) -> Result<usize, Rejection> {
        if let Some(known) = self.known.get(&offer.id) {
            return known.clone();
        }
        dependents.push(offer.id.name.clone());
        let scope = &offer.id.scope;
        let wanted = offer.record.recipe.build_depends.iter();
        let missing: Vec<&String> = wanted.filter(|name| !self.is_installed(name, scope)).collect();
        let needs: Result<Vec<usize>, Rejection> = missing
            .into_iter()
            .map(|name| self.need(name, scope, dependents))
            .collect();
        dependents.pop();
        let number = needs.map(|needs| {
            self.offers.push(Arc::clone(offer));
            self.needs.push(needs);
            self.offers.len() - 1
        });
        self.known.insert(offer.id.clone(), number.clone());
        number
    }

    /// Whether a package of this name is installed that one of the role `scope` may be built with.
    fn is_installed(&self, name: &str, scope: &str) -> bool {
        self.installed.iter().any(|package| {
            let id = package.id();
            id.name == name && (id.scope.is_empty() || may_need(scope, &id.scope))
        })
    }

    /// The best package of a name that one of the role `scope` needs.
    fn need(&mut self, name: &str, scope: &str, dependents: &mut Vec<String>) -> Result<usize, Rejection> {
        let refuse = |reason: String| Rejection::Needs {
            name: name.to_owned(),
            reason,
        };
        if dependents.iter().any(|one| one == name) || dependents.len() >= DEPTH_MAX {
            return Err(refuse(format!("which needs it in turn ({})", dependents.join(" → "))));
        }
        let dependencies = self.dependencies;
        let mut admitted: Vec<(Proof, &Arc<Offer>)> = Vec::new();
        let mut refusal = refuse("no repository offers it".to_owned());
        let offers = dependencies.get(name).into_iter().flatten();
        for offer in offers.filter(|offer| may_need(scope, &offer.id.scope)) {
            match candidate::admit(offer, self.facts) {
                Ok(proof) => admitted.push((proof, offer)),
                Err(why) => refusal = refuse(format!("{} {why}", offer.id.version)),
            }
        }
        admitted.sort_by(|(proof_a, a), (proof_b, b)| {
            (b.id.scope == scope, b.priority, proof_b)
                .cmp(&(a.id.scope == scope, a.priority, proof_a))
                .then_with(|| version::compare(&b.id.version, &a.id.version))
        });
        for (_, offer) in admitted {
            match self.add_for(offer, dependents) {
                Ok(number) => return Ok(number),
                Err(why) => refusal = refuse(why.to_string()),
            }
        }
        Err(refusal)
    }

    /// A package with all its build dependencies in building order, itself last.
    pub(super) fn with_dependencies(&self, number: usize) -> Vec<usize> {
        let mut all = Vec::new();
        self.collect(number, &mut all);
        all
    }

    fn collect(&self, number: usize, all: &mut Vec<usize>) {
        if all.contains(&number) {
            return;
        }
        for &need in &self.needs[number] {
            self.collect(need, all);
        }
        all.push(number);
    }
}
