//! One manifest: found through the delegations, verified, and checked against its scope.

use sigstore_tuf::TargetFile;

use super::exchange::{Answer, Change, Exchange, Want, bytes_of};
use super::limits::MANIFEST_MAX_BYTES;
use super::metadata::TrustedMetadata;
use super::search::{Search, Step};
use super::state::{self, TARGETS};
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
    search: Search,
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
            search: Search::for_manifest(path),
            stage: Stage::Failed(TrustError::Unlisted {
                target: path.to_owned(),
            }),
        };
        fetch.stage = fetch
            .search
            .descend(&fetch.metadata.core, TARGETS)
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

    /// Searches the roles that are loaded; stops where a file is needed.
    fn advance(&mut self) -> Result<Stage, TrustError> {
        loop {
            match self.search.next(&mut self.metadata.core)? {
                Step::Fetch { role, delegator, want } => return Ok(Stage::Role { role, delegator, want }),
                Step::Ask(role) => {
                    if let Some(stage) = self.ask(&role)? {
                        return Ok(stage);
                    }
                }
                Step::End => {
                    return Err(TrustError::Unlisted {
                        target: self.path.clone(),
                    });
                }
            }
        }
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
            self.search.descend(&self.metadata.core, role)?;
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
                Search::take(&mut self.metadata.core, &role, &delegator, bytes, &file)?;
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
