//! Verification of the files of a repository. No I/O and no clock; callers hand in bytes and `now`.
//!
//! The wire is that of The Update Framework 1.0 (TUF). The verifying core is `sigstore-tuf`; this module gives it our
//! signatures, walks our roles, and adds what TUF cannot express ([`scope`]).
//!
//! ```text
//! metadata/   N.root.json N.targets.json N.snapshot.json timestamp.json N.<role>.json
//! targets/index/HASH.packages-NNN.jsonl.zst          role `index`        hints for matching
//! targets/revocations/HASH.revocations.json          role `revocations`  can only deny
//! targets/curated/HASH.<name>@<version>.json         role `curated`      the authority to install
//! targets/by-id/<bus>-<vendor>/HASH.<…>.json         role `vendor-<…>`   the authority to install
//! ```
//!
//! Three exchanges, each of the same form: as long as it wants a file, fetch it and feed it ([`Exchange`]).
//!
//! 1. [`Refresh`] ends in [`TrustedMetadata`]. With nothing new it wants two files: the next root, which is not
//!    there, and the timestamp.
//! 2. [`TrustedMetadata::fetch_index`], only when [`TrustedMetadata::index_id`] is not the one in the cache: hands out
//!    one [`TrustedSegment`] after the other and ends in [`TrustedIndex`], with which the cache may be committed.
//! 3. [`TrustedMetadata::fetch_manifest`] for each package that is going to be installed, ends in [`TrustedManifest`].
//!    Where a delegated role is invalid, only that role's manifests cannot be fetched.
//!
//! Verified files to store come out as [`Change`]s, and go in again as [`Kept`] at the next start. Stored files are verified
//! again, but their versions are the lowest that are accepted (no rollback), so store them where only root can write.
//!
//! # Driving it
//!
//! ```
//! use dkms_index::trust::{Answer, Exchange, Expiry, Kept, Refresh, SegmentWant, TrustError, TrustedMetadata, Want};
//!
//! /// Gets files. It stops reading behind `want.max_bytes`, and says `None` only for a definite "not found".
//! trait Transport {
//!     fn get(&self, want: &Want) -> Result<Option<Vec<u8>>, std::io::Error>;
//! }
//!
//! #[derive(Debug)]
//! enum SyncError {
//!     Trust(TrustError),
//!     Io(std::io::Error),
//! }
//! # impl From<TrustError> for SyncError { fn from(e: TrustError) -> Self { Self::Trust(e) } }
//! # impl From<std::io::Error> for SyncError { fn from(e: std::io::Error) -> Self { Self::Io(e) } }
//!
//! /// The one loop: fetch what is wanted, feed it, make the changes (also after a failure).
//! fn drive(it: &mut impl Exchange, from: &impl Transport, kept: &mut Kept) -> Result<(), SyncError> {
//!     while let Some(want) = it.want() {
//!         let bytes = from.get(&want)?;
//!         let fed = it.feed(bytes.as_deref().map_or(Answer::Absent, Answer::Bytes));
//!         for change in it.changes() {
//!             change.apply(kept); // here: write and fsync the file, in this order
//!         }
//!         fed?;
//!     }
//!     Ok(())
//! }
//!
//! fn sync(
//!     pinned: &[u8], kept: &mut Kept, now: jiff::Timestamp, cached_id: &str, from: &impl Transport,
//! ) -> Result<TrustedMetadata, SyncError> {
//!     let mut refresh = Refresh::start(pinned, kept.clone(), now, Expiry::Enforce)?;
//!     drive(&mut refresh, from, kept)?;
//!     let mut metadata = refresh.finish()?;
//!
//!     if metadata.index_id()? != cached_id {
//!         let mut fetch = metadata.fetch_index(&[])?;
//!         while let Some(SegmentWant::Download(want)) = fetch.want()? {
//!             let bytes = from.get(&want)?;
//!             let segment = fetch.feed(bytes.as_deref().map_or(Answer::Absent, Answer::Bytes))?;
//!             for record in segment.records().flatten() {
//!                 let _ = record; // here: into the cache's transaction
//!             }
//!         }
//!         let _proof = fetch.finish()?; // here: commit
//!     }
//!
//!     let mut one = metadata.fetch_manifest("curated/ddcci@0.4.5.json");
//!     drive(&mut one, from, kept)?;
//!     let manifest = one.finish()?;
//!     println!("{} may be installed from {}", manifest.manifest().name, manifest.manifest().bundle.sha256);
//!     Ok(metadata)
//! }
//! ```
//!
//! # Deltas
//!
//! A cache that keeps the decoded bytes of each [`TrustedSegment`] by their `decoded_sha256` names them to
//! [`TrustedMetadata::fetch_index`] and downloads only what changed. The loop of step 2 becomes:
//!
//! ```
//! use dkms_index::trust::{Answer, IndexFetch, SegmentWant, TrustError, TrustedSegment, Want};
//!
//! fn segments(
//!     mut fetch: IndexFetch<'_>, get: impl Fn(&Want) -> Vec<u8>, held: impl Fn(&str) -> Vec<u8>, mut take: impl FnMut(TrustedSegment),
//! ) -> Result<(), TrustError> {
//!     while let Some(want) = fetch.want()? {
//!         match want {
//!             SegmentWant::Download(file) => take(fetch.feed(Answer::Bytes(&get(&file)))?),
//!             // A failure here only costs a larger download: the next want is the whole segment.
//!             SegmentWant::Delta { file, base } => {
//!                 fetch.feed_delta(Answer::Bytes(&get(&file)), &held(&base)).map(&mut take).ok();
//!             }
//!             SegmentWant::Held { decoded_sha256 } => {
//!                 fetch.feed_held(held(&decoded_sha256)).map(&mut take).ok();
//!             }
//!         }
//!     }
//!     let _proof = fetch.finish()?;
//!     Ok(())
//! }
//! ```
//!
//! # Any repository
//!
//! The same code reads any TUF repository: [`Refresh::of_top_level`] and [`TrustedTargets::fetch`]. The agent does not use that; it is how the public
//! conformance suite tests what the agent runs.
//!
//! Without a network, [`replay`] gives the [`TrustedMetadata`] of what was kept.

mod crypto;
mod error;
mod exchange;
pub mod limits;
mod manifest;
mod metadata;
mod refresh;
pub mod scope;
mod search;
mod segment;
mod state;
mod target;
mod time;

pub use crypto::provider;
pub use error::{TrustError, Why};
pub use exchange::{Answer, Change, Exchange, Kept, Want};
pub use manifest::{ManifestFetch, TrustedManifest};
pub use metadata::{Segment, TrustedMetadata};
pub use refresh::Refresh;
pub use segment::{IndexFetch, SegmentWant, TrustedIndex, TrustedSegment, delta_path};
pub use target::{TargetFetch, TrustedTargets};
pub use time::{Expiry, trusted_now};

/// Verifies the kept files once more, without any new ones: for work without a network.
///
/// # Errors
/// When they are not complete, not genuine or (unless allowed) no longer fresh.
pub fn replay(
    pinned_root: &[u8],
    kept: Kept,
    now: jiff::Timestamp,
    expiry: Expiry,
) -> Result<TrustedMetadata, TrustError> {
    let timestamp = kept.get("timestamp.json").cloned();
    let mut refresh = Refresh::start(pinned_root, kept, now, expiry)?;
    while let Some(want) = refresh.want() {
        match &timestamp {
            Some(bytes) if want.path.ends_with("/timestamp.json") => refresh.feed(Answer::Bytes(bytes))?,
            _ => refresh.feed(Answer::Absent)?,
        }
    }
    refresh.finish()
}

/// The name under which a target is kept: one for each path, so that a new state takes the place of the old one.
fn kept_target(path: &str) -> String {
    format!("target-{}.json", crypto::sha256_hex(path.as_bytes()))
}
