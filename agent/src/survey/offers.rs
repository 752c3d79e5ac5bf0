//! The packages of an index, each read once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use dkms_index::overrides::Overrides;
use dkms_index::pattern::Pattern;

use crate::candidate::{Offer, OfferId};
use crate::config::Repository;
use crate::device::Device;
use crate::plan::Dependencies;
use crate::state::StateError;
use crate::state::index::{self, Index};

/// How many package names are followed over `BUILD_DEPENDS`.
const DEPENDENCY_NAMES_MAX: usize = 256;

/// The offers of an index, each read once.
pub struct Offers<'a> {
    index: &'a Index,
    repositories: &'a [Repository],
    known: HashMap<index::PackageRow, Arc<Offer>>,
}

impl<'a> Offers<'a> {
    /// Nothing is read yet.
    pub fn new(index: &'a Index, repositories: &'a [Repository]) -> Self {
        Self {
            index,
            repositories,
            known: HashMap::new(),
        }
    }

    /// The offer of one package.
    ///
    /// # Errors
    /// When the cached index is damaged.
    pub fn offer(&mut self, id: index::PackageRow) -> Result<Arc<Offer>, StateError> {
        if let Some(known) = self.known.get(&id) {
            return Ok(Arc::clone(known));
        }
        let record = self.index.record(id)?;
        let repository = self.index.repository(id);
        let priority = self
            .repositories
            .iter()
            .find(|r| r.name == *repository)
            .map_or(0, |r| r.priority);
        let name = OfferId {
            name: record.name.clone(),
            version: record.version.clone(),
            repository: repository.to_string(),
            // The role that must sign its manifest: the directory is the role's path.
            scope: record
                .manifest
                .rsplit_once('/')
                .map_or_else(String::new, |(scope, _)| scope.to_owned()),
        };
        let offer = Arc::new(Offer {
            id: name,
            priority,
            record,
        });
        self.known.insert(id, Arc::clone(&offer));
        Ok(offer)
    }

    /// All versions of a name.
    ///
    /// # Errors
    /// When the cached index is damaged.
    pub fn named(&mut self, name: &str) -> Result<Vec<Arc<Offer>>, StateError> {
        self.index.named(name)?.into_iter().map(|id| self.offer(id)).collect()
    }

    /// The packages that match a device by a pattern that is not taken out.
    pub(super) fn matching(
        &mut self,
        device: &Device,
        overrides: &Overrides,
    ) -> Result<Vec<(Arc<Offer>, Pattern)>, StateError> {
        let mut found = Vec::new();
        for modalias in &device.modaliases {
            for hit in self.index.find(modalias)? {
                let offer = self.offer(hit.package)?;
                if overrides.of_package(&offer.id.name, &hit.pattern).is_none() {
                    found.push((offer, hit.pattern));
                }
            }
        }
        Ok(found)
    }

    /// Every name that some `BUILD_DEPENDS` of these packages reaches.
    pub(super) fn dependencies(&mut self, matches: &[Vec<(Arc<Offer>, Pattern)>]) -> Result<Dependencies, StateError> {
        let start: Vec<Arc<Offer>> = matches.iter().flatten().map(|(offer, _)| Arc::clone(offer)).collect();
        self.dependencies_of(&start)
    }

    /// Every name that some `BUILD_DEPENDS` of `start` reaches.
    ///
    /// # Errors
    /// When the cached index is damaged.
    pub fn dependencies_of(&mut self, start: &[Arc<Offer>]) -> Result<Dependencies, StateError> {
        let mut dependencies: Dependencies = BTreeMap::new();
        let needs = |offer: &Arc<Offer>| offer.record.recipe.build_depends.clone();
        let mut wanted: Vec<String> = start.iter().flat_map(needs).collect();
        while let Some(name) = wanted.pop() {
            if dependencies.contains_key(&name) || dependencies.len() >= DEPENDENCY_NAMES_MAX {
                continue;
            }
            let offers = self.named(&name)?;
            wanted.extend(offers.iter().flat_map(needs));
            dependencies.insert(name, offers);
        }
        Ok(dependencies)
    }
}
