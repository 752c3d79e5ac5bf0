//! Any TUF repository, by the code that synchronises ours: how the public conformance suite tests what the agent runs. The agent itself
//! only reads repositories of drivers.

use dkms_index::trust::{Expiry, Refresh, TrustedTargets};
use jiff::Timestamp;

use super::{Session, SyncError};

impl Session<'_> {
    /// Verifies the newest top-level metadata, and keeps it.
    ///
    /// # Errors
    /// When the repository does not answer, or what it sends cannot be trusted or stored. What was verified before that is kept.
    pub async fn refresh_top_level(&self, now: Timestamp) -> Result<TrustedTargets, SyncError> {
        let refused = |error| SyncError::trust(self.repository, error);
        let kept = self.keeper().load()?;
        let mut refresh = Refresh::of_top_level(&self.pinned_root()?, kept, now, Expiry::Enforce).map_err(refused)?;
        self.drive(&mut refresh).await?;
        refresh.finish_top_level().map_err(refused)
    }

    /// The target at `path`, of at most `max_bytes`; from `held`, what the caller has, where it is the same still.
    ///
    /// # Errors
    /// When no role vouches for it, or it cannot be fetched or trusted.
    pub async fn target(
        &self,
        targets: &mut TrustedTargets,
        path: &str,
        max_bytes: u64,
        held: Option<&[u8]>,
    ) -> Result<Vec<u8>, SyncError> {
        let mut fetch = targets.fetch(path, max_bytes, held);
        self.drive(&mut fetch).await?;
        fetch.finish().map_err(|error| SyncError::trust(self.repository, error))
    }

    /// The verified metadata that is kept, by role, byte for byte as it was served; of the root the newest one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn kept_metadata(&self) -> Result<Vec<(String, Vec<u8>)>, SyncError> {
        let pinned = self.pinned_root()?;
        let mut root = (0, pinned);
        let mut metadata = Vec::new();
        for (name, bytes) in self.keeper().load()? {
            let Some(role) = name.strip_suffix(".json") else {
                continue;
            };
            match role.strip_suffix(".root").map(str::parse) {
                Some(Ok(version)) if version > root.0 => root = (version, bytes),
                Some(_) => {}
                None if !role.starts_with("target-") => metadata.push((role.to_owned(), bytes)),
                None => {}
            }
        }
        metadata.push(("root".to_owned(), root.1));
        Ok(metadata)
    }
}
