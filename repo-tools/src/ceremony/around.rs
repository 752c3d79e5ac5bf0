//! What a document is compared with, and what says who has to sign it.

use std::collections::BTreeMap;

use super::document::{Body, Document};
use super::need::Need;
use crate::publish::Published;
use crate::roles::TARGETS;
use crate::signed::{Delegations, RoleKeys, Root, Targets};

/// What is published, and what was prepared together with a document.
#[derive(Debug, Clone)]
pub(super) struct Around {
    /// The newest root.
    pub(super) root: Root,
    /// `targets` and those that it delegates to, as far as they are known.
    pub(super) roles: BTreeMap<String, Targets>,
    /// What was prepared, by role.
    pub(super) prepared: BTreeMap<String, Body>,
}

impl Around {
    /// What is published in the repository.
    pub(super) fn published(published: &Published) -> Self {
        let roles = published.roles.iter();
        Self {
            root: published.root.signed.clone(),
            roles: roles
                .map(|(role, signed)| (role.clone(), signed.signed.clone()))
                .collect(),
            prepared: BTreeMap::new(),
        }
    }

    /// The same, with what is prepared together.
    #[must_use]
    pub(super) fn with(mut self, documents: &[Document]) -> Self {
        let bodies = documents
            .iter()
            .map(|document| (document.role.clone(), document.body.clone()));
        self.prepared.extend(bodies);
        self
    }

    /// Just this root.
    pub(super) fn root(root: &Root) -> Self {
        Self {
            root: root.clone(),
            roles: BTreeMap::new(),
            prepared: BTreeMap::new(),
        }
    }

    /// What a document of this role replaces.
    pub(super) fn before(&self, role: &str) -> Option<Body> {
        if role == "root" {
            return Some(Body::Root(self.root.clone()));
        }
        self.roles.get(role).cloned().map(Body::Targets)
    }

    /// Who has to sign this document; nobody where no one delegates to its role.
    pub(super) fn needs(&self, document: &Document) -> Vec<Need> {
        let of_root = |root: &Root, role: &str, is_required| {
            let keys = root.roles.get(role)?;
            Some(need(
                &format!("root version {}", root.version),
                keys,
                &root.keys,
                is_required,
            ))
        };
        let (role, old) = (document.role.as_str(), &self.root);
        match (&document.body, self.prepared.get("root")) {
            (Body::Root(new), _) => {
                let by_old = of_root(old, role, true);
                let by_new = of_root(new, role, true).filter(|_| new.roles.get(role) != old.roles.get(role));
                by_old.into_iter().chain(by_new).collect()
            }
            (Body::Targets(_), Some(Body::Root(new))) if role == TARGETS => {
                let by_new = of_root(new, role, true);
                let by_old = of_root(old, role, false).filter(|_| new.roles.get(role) != old.roles.get(role));
                by_new.into_iter().chain(by_old).collect()
            }
            (Body::Targets(_), _) if role == TARGETS => of_root(old, role, true).into_iter().collect(),
            (Body::Targets(_), _) => self.of_delegation(role).into_iter().collect(),
        }
    }

    fn of_delegation(&self, role: &str) -> Option<Need> {
        let targets = match self.prepared.get(TARGETS) {
            Some(Body::Targets(targets)) => targets,
            _ => self.roles.get(TARGETS)?,
        };
        let delegations: &Delegations = targets.delegations.as_ref()?;
        let delegation = delegations.roles.iter().find(|delegation| delegation.name == role)?;
        let of = format!("targets version {}", targets.version);
        Some(need(&of, &delegation.keys, &delegations.keys, true))
    }
}

fn need(of: &str, keys: &RoleKeys, known: &BTreeMap<String, crate::keys::PublicKey>, is_required: bool) -> Need {
    let own = known.iter().filter(|(id, _)| keys.keyids.contains(id));
    Need {
        of: of.to_owned(),
        keys: keys.clone(),
        public: own.map(|(id, key)| (id.clone(), key.clone())).collect(),
        is_required,
    }
}
