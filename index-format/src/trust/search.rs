//! The search for the role that vouches for a target: depth first, in the order of the delegations (TUF 5.6.7).

use std::collections::BTreeSet;

use super::exchange::Want;
use super::limits::DELEGATIONS_MAX;
use super::state::{self, Core, INDEX, REVOCATIONS, TARGETS};
use super::{TrustError, Why};

/// A search in progress.
#[derive(Debug)]
pub(super) struct Search {
    path: String,
    is_for_manifest: bool,
    /// Roles still to ask, the next one last, each with its delegator.
    to_visit: Vec<(String, String)>,
    visited: BTreeSet<String>,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Step {
    /// A role has to be fetched before it can be asked.
    Fetch {
        role: String,
        delegator: String,
        want: Want,
    },
    /// This role is loaded and comes next.
    Ask(String),
    /// No role is left.
    End,
}

impl Search {
    /// For a manifest, which `targets` itself and the online roles cannot sign.
    pub(super) fn for_manifest(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            is_for_manifest: true,
            to_visit: Vec::new(),
            visited: BTreeSet::new(),
        }
    }

    /// For any target of any repository.
    pub(super) fn for_target(path: &str) -> Self {
        Self {
            is_for_manifest: false,
            ..Self::for_manifest(path)
        }
    }

    /// Puts the roles that `role` delegates the path to at the front, in their order.
    pub(super) fn descend(&mut self, core: &Core, role: &str) -> Result<(), TrustError> {
        let delegations = core.role(role).and_then(|r| r.delegations.as_ref());
        let mut children = Vec::new();
        for child in delegations.iter().flat_map(|d| &d.roles) {
            // The online roles never sign manifests, whatever their paths are.
            let is_of_index = [INDEX, REVOCATIONS].contains(&child.name.as_str());
            if self.is_for_manifest && (is_of_index || !state::is_plain_role(&child.name)) {
                continue;
            }
            let covers = child
                .matches_path(&self.path)
                .map_err(|e| TrustError::from_tuf(e, &format!("metadata/{role}.json"), role, core.now))?;
            if covers {
                children.push((child.name.clone(), role.to_owned()));
                if child.terminating {
                    self.to_visit.clear();
                    break;
                }
            }
        }
        self.to_visit.extend(children.into_iter().rev());
        Ok(())
    }

    /// The next role, from the kept files where they are still what the snapshot pins.
    pub(super) fn next(&mut self, core: &mut Core) -> Result<Step, TrustError> {
        while let Some((role, delegator)) = self.to_visit.pop() {
            if !self.visited.insert(role.clone()) {
                continue;
            }
            if self.visited.len() > DELEGATIONS_MAX {
                let why = Why::Malformed(format!("more than {DELEGATIONS_MAX} roles would have to be asked"));
                return Err(TrustError::refused(&self.path, &role, why));
            }
            let now = core.now_for_expiry();
            // A role that is loaded already must also satisfy the delegator through which it is reached this time.
            let at_hand = match core.role(&role) {
                Some(_) if role == TARGETS => true,
                Some(_) => core
                    .set
                    .verify_delegated_targets(&role, &delegator, now)
                    .map(|_| true)
                    .map_err(|e| TrustError::from_tuf(e, &format!("metadata/{role}.json"), &role, core.now))?,
                None => core.admit_kept_role(&role, &delegator),
            };
            if !at_hand {
                let want = core.want_role(&role)?;
                return Ok(Step::Fetch { role, delegator, want });
            }
            return Ok(Step::Ask(role));
        }
        Ok(Step::End)
    }

    /// Takes the file of a role that had to be fetched.
    pub(super) fn take(
        core: &mut Core,
        role: &str,
        delegator: &str,
        bytes: &[u8],
        file: &str,
    ) -> Result<(), TrustError> {
        let now = core.now;
        core.admit_role(role, delegator, bytes)
            .map_err(|e| TrustError::from_tuf(e, file, role, now))?;
        core.keep(state::kept_role(role), bytes);
        Ok(())
    }
}
