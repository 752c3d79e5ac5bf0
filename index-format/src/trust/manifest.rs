//! One manifest: found through the delegations, verified, and checked against its scope.

use std::collections::BTreeSet;

use sigstore_tuf::TargetFile;

use super::exchange::{Answer, Change, Exchange, Want, bytes_of};
use super::limits::{DELEGATIONS_MAX, MANIFEST_MAX_BYTES};
use super::metadata::TrustedMetadata;
use super::state::{self, INDEX, REVOCATIONS, TARGETS};
use super::{TrustError, Why, scope};
use crate::document::manifest::Manifest;

/// The fetch of one manifest.
///
/// An invalid role on the way is an error of this manifest alone. The next role is not asked then: a mirror could choose the
/// role that signs by withholding a file.
#[derive(Debug)]
pub struct ManifestFetch<'a> {
    metadata: &'a mut TrustedMetadata,
    path: String,
    /// Roles still to ask, the next one last, each with its delegator.
    to_visit: Vec<(String, String)>,
    visited: BTreeSet<String>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Role {
        role: String,
        delegator: String,
        want: Want,
    },
    Manifest {
        role: String,
        target: TargetFile,
        want: Want,
    },
    Done(Box<TrustedManifest>),
    Failed(TrustError),
}

impl TrustedMetadata {
    /// Begins to fetch the manifest at this target path, [`crate::document::record::PackageRecord::manifest`]. Roles
    /// that are verified on the way stay, so that the next manifest of the same role needs only itself.
    pub fn fetch_manifest(&mut self, path: &str) -> ManifestFetch<'_> {
        ManifestFetch::start(self, path)
    }
}

/// A manifest that an offline role signed: the authority to install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedManifest {
    manifest: Manifest,
    role: String,
    path: String,
}

impl TrustedManifest {
    /// The document.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The role that signed it: `curated` or a vendor's.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// Its TUF target path.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl<'a> ManifestFetch<'a> {
    pub(super) fn start(metadata: &'a mut TrustedMetadata, path: &str) -> Self {
        let mut fetch = Self {
            metadata,
            path: path.to_owned(),
            to_visit: Vec::new(),
            visited: BTreeSet::new(),
            stage: Stage::Failed(TrustError::Unlisted {
                target: path.to_owned(),
            }),
        };
        fetch.stage = fetch
            .descend(TARGETS)
            .and_then(|()| fetch.advance())
            .unwrap_or_else(Stage::Failed);
        fetch
    }

    /// The manifest, once nothing is wanted any more.
    ///
    /// # Errors
    /// When it was refused, is not listed, or the fetch is not at its end.
    pub fn finish(self) -> Result<TrustedManifest, TrustError> {
        match self.stage {
            Stage::Done(manifest) => Ok(*manifest),
            Stage::Failed(error) => Err(error),
            Stage::Role { want, .. } | Stage::Manifest { want, .. } => Err(TrustError::Missing { file: want.path }),
        }
    }

    /// Puts the roles that `role` delegates this path to at the front, in their order (5.6.7).
    fn descend(&mut self, role: &str) -> Result<(), TrustError> {
        let delegations = self.metadata.core.role(role).and_then(|r| r.delegations.as_ref());
        let mut children = Vec::new();
        for child in delegations.iter().flat_map(|d| &d.roles) {
            // These two never sign manifests, whatever their paths are.
            if [INDEX, REVOCATIONS].contains(&child.name.as_str()) || !state::is_plain_role(&child.name) {
                continue;
            }
            let covers = child
                .matches_path(&self.path)
                .map_err(|e| TrustError::from_tuf(e, &format!("metadata/{role}.json"), role, self.metadata.core.now))?;
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

    /// Searches the roles that are loaded; stops where a file is needed.
    fn advance(&mut self) -> Result<Stage, TrustError> {
        while let Some((role, delegator)) = self.to_visit.pop() {
            if !self.visited.insert(role.clone()) {
                continue;
            }
            if self.visited.len() > DELEGATIONS_MAX {
                let why = Why::Malformed(format!("more than {DELEGATIONS_MAX} roles would have to be asked"));
                return Err(TrustError::refused(&self.path, &role, why));
            }
            let core = &mut self.metadata.core;
            let now = core.now_for_expiry();
            // A role that is loaded already must also satisfy the delegator through which it is reached this time.
            let at_hand = match core.role(&role) {
                Some(_) => core
                    .set
                    .verify_delegated_targets(&role, &delegator, now)
                    .map(|_| true)
                    .map_err(|e| TrustError::from_tuf(e, &format!("metadata/{role}.json"), &role, core.now))?,
                None => core.admit_kept_role(&role, &delegator),
            };
            if !at_hand {
                let want = core.want_role(&role)?;
                return Ok(Stage::Role { role, delegator, want });
            }
            if let Some(stage) = self.ask(&role)? {
                return Ok(stage);
            }
        }
        Err(TrustError::Unlisted {
            target: self.path.clone(),
        })
    }

    /// Looks for the manifest in a trusted role; if it is not there, its delegations come next.
    fn ask(&mut self, role: &str) -> Result<Option<Stage>, TrustError> {
        let Some(target) = self
            .metadata
            .core
            .role(role)
            .and_then(|r| r.target(&self.path))
            .cloned()
        else {
            self.descend(role)?;
            return Ok(None);
        };
        let core = &self.metadata.core;
        let want = state::want_target(core, &target, &self.path, role, MANIFEST_MAX_BYTES)?;
        let kept = core.kept.get(&super::kept_target(&self.path));
        if let Some(bytes) = kept.filter(|b| state::check_target(b, &target, &self.path, role).is_ok()) {
            return Ok(Some(Stage::Done(Box::new(self.read(bytes, role, &want.path)?))));
        }
        Ok(Some(Stage::Manifest {
            role: role.to_owned(),
            target,
            want,
        }))
    }

    fn read(&self, bytes: &[u8], role: &str, file: &str) -> Result<TrustedManifest, TrustError> {
        let manifest =
            Manifest::read(bytes).map_err(|e| TrustError::refused(file, role, Why::Malformed(e.to_string())))?;
        scope::check(&manifest, &self.path).map_err(|why| TrustError::refused(file, role, why))?;
        Ok(TrustedManifest {
            manifest,
            role: role.to_owned(),
            path: self.path.clone(),
        })
    }

    fn take(&mut self, bytes: &[u8]) -> Result<Stage, TrustError> {
        match &self.stage {
            Stage::Role { role, delegator, want } => {
                let (role, delegator, file) = (role.clone(), delegator.clone(), want.path.clone());
                let core = &mut self.metadata.core;
                let now = core.now;
                core.admit_role(&role, &delegator, bytes)
                    .map_err(|e| TrustError::from_tuf(e, &file, &role, now))?;
                core.keep(format!("{role}.json"), bytes);
                match self.ask(&role)? {
                    Some(stage) => Ok(stage),
                    None => self.advance(),
                }
            }
            Stage::Manifest { role, target, want } => {
                state::check_target(bytes, target, &want.path, role)?;
                let manifest = self.read(bytes, role, &want.path)?;
                self.metadata.core.keep(super::kept_target(&self.path), bytes);
                Ok(Stage::Done(Box::new(manifest)))
            }
            Stage::Done(_) | Stage::Failed(_) => Err(TrustError::Unlisted {
                target: self.path.clone(),
            }),
        }
    }
}

impl Exchange for ManifestFetch<'_> {
    fn want(&self) -> Option<Want> {
        match &self.stage {
            Stage::Role { want, .. } | Stage::Manifest { want, .. } => Some(want.clone()),
            Stage::Done(_) | Stage::Failed(_) => None,
        }
    }

    fn feed(&mut self, answer: Answer<'_>) -> Result<(), TrustError> {
        let Some(want) = self.want() else { return Ok(()) };
        match bytes_of(&want, answer).and_then(|bytes| self.take(bytes)) {
            Ok(stage) => {
                self.stage = stage;
                Ok(())
            }
            Err(error) => {
                self.stage = Stage::Failed(error.clone());
                Err(error)
            }
        }
    }

    fn changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.metadata.core.changes)
    }
}
