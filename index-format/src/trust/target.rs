//! Targets of any TUF repository. The agent installs nothing by them; manifests have rules of their own ([`super::manifest`]).

use sha2::{Digest, Sha512};
use sigstore_tuf::TargetFile;

use super::crypto::sha256_hex;
use super::exchange::{Answer, Change, Exchange, Want, bytes_of};
use super::search::{Search, Step};
use super::state::{self, Core, TARGETS};
use super::{TrustError, Why};

/// The verified top-level roles of any TUF repository.
#[derive(Debug)]
pub struct TrustedTargets {
    core: Core,
}

impl TrustedTargets {
    pub(super) fn new(core: Core) -> Self {
        Self { core }
    }

    /// Begins to fetch the target at this path, of at most `max_bytes`. `held` is what the caller has of it: it is taken where it is the same.
    pub fn fetch(&mut self, path: &str, max_bytes: u64, held: Option<&[u8]>) -> TargetFetch<'_> {
        let mut fetch = TargetFetch {
            core: &mut self.core,
            path: path.to_owned(),
            max_bytes,
            held: held.map(<[u8]>::to_vec),
            search: Search::for_target(path),
            stage: Stage::Failed(TrustError::Unlisted {
                target: path.to_owned(),
            }),
        };
        // Other than with manifests, `targets` itself may list it.
        let first = fetch.ask(TARGETS).transpose();
        fetch.stage = first.unwrap_or_else(|| fetch.advance()).unwrap_or_else(Stage::Failed);
        fetch
    }
}

/// The fetch of one target.
#[derive(Debug)]
pub struct TargetFetch<'a> {
    core: &'a mut Core,
    path: String,
    max_bytes: u64,
    held: Option<Vec<u8>>,
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
    File {
        role: String,
        target: TargetFile,
        want: Want,
    },
    Done(Vec<u8>),
    Failed(TrustError),
}

impl TargetFetch<'_> {
    /// The verified bytes, once nothing is wanted any more.
    ///
    /// # Errors
    /// When it was refused, is not listed, or the fetch is not at its end.
    pub fn finish(self) -> Result<Vec<u8>, TrustError> {
        match self.stage {
            Stage::Done(bytes) => Ok(bytes),
            Stage::Failed(error) => Err(error),
            Stage::Role { want, .. } | Stage::File { want, .. } => Err(TrustError::Missing { file: want.path }),
        }
    }

    fn advance(&mut self) -> Result<Stage, TrustError> {
        loop {
            match self.search.next(self.core)? {
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

    /// Looks for the target in a trusted role; if it is not there, its delegations come next.
    fn ask(&mut self, role: &str) -> Result<Option<Stage>, TrustError> {
        let Some(target) = self.core.role(role).and_then(|r| r.target(&self.path)).cloned() else {
            self.search.descend(self.core, role)?;
            return Ok(None);
        };
        if let Some(bytes) = self.held.take()
            && check(&bytes, &target, &self.path, role).is_ok()
        {
            return Ok(Some(Stage::Done(bytes)));
        }
        let want = self.want_file(&target, role)?;
        Ok(Some(Stage::File {
            role: role.to_owned(),
            target,
            want,
        }))
    }

    fn want_file(&self, target: &TargetFile, role: &str) -> Result<Want, TrustError> {
        let refused = |why: &str| TrustError::refused(&self.path, role, Why::Malformed(why.to_owned()));
        if !state::is_plain_path(&self.path) {
            return Err(refused("its name is not a plain path"));
        }
        if target.length > self.max_bytes {
            return Err(TrustError::TooLong {
                file: self.path.clone(),
                max_bytes: self.max_bytes,
            });
        }
        let consistent = self.core.set.root().consistent_snapshot;
        let known = ["sha256", "sha512"]
            .into_iter()
            .find_map(|name| target.hashes.get(name));
        let hash = known
            .filter(|hash| !hash.is_empty() && hash.bytes().all(|b| b.is_ascii_hexdigit()))
            .ok_or_else(|| refused("it has no sha256 or sha512 hash"))?;
        let path = match self.path.rsplit_once('/') {
            _ if !consistent => format!("targets/{}", self.path),
            Some((dir, name)) => format!("targets/{dir}/{hash}.{name}"),
            None => format!("targets/{hash}.{}", self.path),
        };
        Ok(Want {
            path,
            max_bytes: target.length,
            may_be_absent: false,
            immutable: consistent,
        })
    }

    fn take(&mut self, bytes: &[u8]) -> Result<Stage, TrustError> {
        match &self.stage {
            Stage::Role { role, delegator, want } => {
                let (role, delegator, file) = (role.clone(), delegator.clone(), want.path.clone());
                Search::take(self.core, &role, &delegator, bytes, &file)?;
                match self.ask(&role)? {
                    Some(stage) => Ok(stage),
                    None => self.advance(),
                }
            }
            Stage::File { role, target, want } => {
                check(bytes, target, &want.path, role)?;
                Ok(Stage::Done(bytes.to_vec()))
            }
            Stage::Done(_) | Stage::Failed(_) => Err(TrustError::Unlisted {
                target: self.path.clone(),
            }),
        }
    }
}

impl Exchange for TargetFetch<'_> {
    fn want(&self) -> Option<Want> {
        match &self.stage {
            Stage::Role { want, .. } | Stage::File { want, .. } => Some(want.clone()),
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
        std::mem::take(&mut self.core.changes)
    }
}

/// Compares bytes with the signed length and with every signed hash that is known here, of which there has to be one.
fn check(bytes: &[u8], target: &TargetFile, file: &str, role: &str) -> Result<(), TrustError> {
    let mismatch = |what: String| TrustError::mismatch(file, role, what);
    if bytes.len() as u64 != target.length {
        return Err(mismatch(format!(
            "it has {} bytes instead of {}",
            bytes.len(),
            target.length
        )));
    }
    let mut is_hashed = false;
    for (name, signed) in &target.hashes {
        let found = match name.as_str() {
            "sha256" => sha256_hex(bytes),
            "sha512" => hex::encode(Sha512::digest(bytes)),
            _ => continue,
        };
        if found != *signed {
            return Err(mismatch(format!("its {name} is {found} instead of {signed}")));
        }
        is_hashed = true;
    }
    if is_hashed {
        Ok(())
    } else {
        let why = Why::Malformed("it has no sha256 or sha512 hash".to_owned());
        Err(TrustError::refused(file, role, why))
    }
}
