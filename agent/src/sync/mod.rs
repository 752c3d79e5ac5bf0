//! Brings the verified state of a repository to this machine: metadata, index, manifests.
//!
//! [`dkms_index::trust`] decides what is trusted and in which order; this module fetches the files that it asks for and stores what
//! it verified. Verified metadata is stored byte for byte as it was served. A file that cannot be stored is an error.

mod any;
mod error;
mod keep;
mod pinned;
mod segments;

use std::fs;
use std::io::Read;
use std::path::Path;

use dkms_index::trust::{
    self, Answer as Fed, Exchange, Expiry, IndexFetch, Refresh, SegmentWant, TrustedIndex, TrustedManifest,
    TrustedMetadata, TrustedSegment, Want,
};
use jiff::Timestamp;

pub use error::SyncError;
pub use pinned::{PinnedRoot, RootKey, normal_fingerprint};

use crate::config::Repository;
use crate::medium::Recorder;
use crate::state::index::{Builder, Updater};
use crate::state::{self, Paths, StateError};
use crate::transport::{Answer, Limit, Mirrors, Request, Transport};
use keep::Keeper;
use segments::SegmentCache;

/// Of how many older roots a medium has copies.
const OLDER_ROOTS_MAX: u64 = 64;

/// Whether mirrors beyond this machine may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// All mirrors.
    Online,
    /// Only `file://` mirrors and what is cached.
    Offline,
}

/// One repository in one run.
#[derive(Debug)]
pub struct Session<'a> {
    repository: &'a Repository,
    paths: &'a Paths,
    transport: &'a Transport,
    mirrors: Mirrors,
    /// Where what was verified is recorded for other machines.
    recorder: Option<&'a Recorder>,
}

/// The outcome of a refresh.
#[derive(Debug)]
pub struct Refreshed {
    /// The verified metadata.
    pub metadata: TrustedMetadata,
    /// Why it comes from an earlier run; `None` when a mirror answered.
    pub from_cache: Option<SyncError>,
}

/// The result of updating the cached index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// It was the newest already.
    Unchanged,
    /// It was changed, and has this many lines.
    Updated {
        /// Lines of the index.
        records: u64,
    },
}

impl Update {
    fn updated(index: &TrustedIndex) -> Self {
        Self::Updated {
            records: index.records(),
        }
    }
}

impl<'a> Session<'a> {
    /// Opens no connection yet.
    pub fn new(repository: &'a Repository, paths: &'a Paths, transport: &'a Transport, network: Network) -> Self {
        let usable = |url: &&url::Url| network == Network::Online || url.scheme() == "file";
        Self {
            repository,
            paths,
            transport,
            mirrors: Mirrors::new(repository.urls.iter().filter(usable).cloned().collect()),
            recorder: None,
        }
    }

    /// The same, with the directory of a medium as the first mirror.
    #[must_use]
    pub fn with_medium(mut self, medium: Option<url::Url>) -> Self {
        if let Some(medium) = medium {
            self.mirrors = self.mirrors.after(medium);
        }
        self
    }

    /// The same, which also puts every file on a medium that a mirror sent and that was verified.
    #[must_use]
    pub fn recording(mut self, recorder: Option<&'a Recorder>) -> Self {
        self.recorder = recorder;
        self
    }

    /// Puts the pinned root on the medium, and the older ones that mirrors have: another machine may pin one of these.
    ///
    /// # Errors
    /// When the pinned root cannot be read, or the medium not be written.
    pub async fn record_roots(&self) -> Result<(), SyncError> {
        let Some(recorder) = self.recorder else { return Ok(()) };
        let pinned = self.pinned_root()?;
        let Ok(root) = PinnedRoot::parse(&pinned) else {
            // The refresh says what is wrong with it.
            return Ok(());
        };
        recorder.keep(&root_path(root.version), &pinned)?;
        for version in 1..root.version.min(OLDER_ROOTS_MAX) {
            let path = root_path(version);
            let request = Request {
                may_be_absent: true,
                ..Request::whole(&path, trust::limits::ROOT_MAX_BYTES)
            };
            // A machine that pins one which is not there takes nothing from the medium.
            if let Ok((Answer::Body { .. }, bytes)) = self.transport.get_bytes(&self.mirrors, request).await
                && PinnedRoot::parse(&bytes).is_ok_and(|root| root.version == version)
            {
                recorder.keep(&path, &bytes)?;
            }
        }
        Ok(())
    }

    /// The repository.
    pub fn repository(&self) -> &Repository {
        self.repository
    }

    /// The mirrors that may be used.
    pub fn mirrors(&self) -> &Mirrors {
        &self.mirrors
    }

    /// How they are reached.
    pub fn transport(&self) -> &Transport {
        self.transport
    }

    /// Verifies the newest state of the repository. Where no mirror can be reached, what was verified before is
    /// verified again and used.
    ///
    /// # Errors
    /// When no mirror sent files that can be trusted; when there is neither a mirror nor a cache; when a file cannot be stored.
    pub async fn refresh(&self, now: Timestamp, expiry: Expiry) -> Result<Refreshed, SyncError> {
        let mut tried = 0;
        loop {
            let error = match self.refresh_once(now, expiry).await {
                Ok(metadata) => {
                    return Ok(Refreshed {
                        metadata,
                        from_cache: None,
                    });
                }
                Err(error) => error,
            };
            tried += 1;
            if error.is_trust() && tried < self.mirrors.len() {
                tracing::warn!(%error, repository = %self.repository.name, "trying another mirror");
                self.mirrors.prefer_next();
                continue;
            }
            if !error.is_transport() {
                return Err(error);
            }
            return match self.replay(now, expiry) {
                Ok(metadata) => Ok(Refreshed {
                    metadata,
                    from_cache: Some(error),
                }),
                Err(_) => Err(error),
            };
        }
    }

    async fn refresh_once(&self, now: Timestamp, expiry: Expiry) -> Result<TrustedMetadata, SyncError> {
        if self.mirrors.is_empty() {
            return Err(SyncError::NoMirror {
                repository: self.repository.name.clone(),
            });
        }
        let keeper = self.keeper();
        let kept = keeper.load()?;
        let mut refresh = Refresh::start(&self.pinned_root()?, kept, now, expiry)
            .map_err(|e| SyncError::trust(self.repository, e))?;
        self.drive(&mut refresh).await?;
        refresh.finish().map_err(|e| SyncError::trust(self.repository, e))
    }

    /// What earlier runs kept, verified once more.
    fn replay(&self, now: Timestamp, expiry: Expiry) -> Result<TrustedMetadata, SyncError> {
        trust::replay(&self.pinned_root()?, self.keeper().load()?, now, expiry)
            .map_err(|e| SyncError::trust(self.repository, e))
    }

    /// Makes the cached index that of `metadata`, in one step.
    ///
    /// # Errors
    /// When a segment cannot be fetched or trusted, or the cache cannot be written. The old index stays then.
    pub async fn update_index(&self, metadata: &TrustedMetadata) -> Result<Update, SyncError> {
        let refused = |e| SyncError::trust(self.repository, e);
        let path = self.paths.index(&self.repository.name);
        let wanted = metadata.index_id().map_err(refused)?;
        if state::index::id(&self.repository.name, &path).is_some_and(|id| id == wanted) {
            return Ok(Update::Unchanged);
        }
        let cache = self.segments();
        if let Some(mut updater) = Updater::new(&path) {
            let (index, names) = self
                .fetch_index(metadata, &cache, |lines| updater.add_lines(lines))
                .await?;
            if updater.finish(&index)? {
                cache.forget_all_but(&names);
                return Ok(Update::updated(&index));
            }
        }
        // What was fetched just now is in the cache of segments.
        let bytes = metadata
            .segments()
            .map_err(refused)?
            .iter()
            .map(|s| s.decoded_length)
            .sum();
        let mut builder = Builder::new(&path, bytes)?;
        let (index, names) = self
            .fetch_index(metadata, &cache, |lines| builder.add_lines(lines))
            .await?;
        builder.finish(&index)?;
        cache.forget_all_but(&names);
        Ok(Update::updated(&index))
    }

    /// Hands `take` the lines of every segment, verified, and says by which names the segments are kept.
    async fn fetch_index(
        &self,
        metadata: &TrustedMetadata,
        cache: &SegmentCache,
        mut take: impl FnMut(&[u8]) -> Result<(), StateError>,
    ) -> Result<(TrustedIndex, Vec<String>), SyncError> {
        let refused = |e| SyncError::trust(self.repository, e);
        let mut fetch = metadata.fetch_index(&cache.held()).map_err(refused)?;
        let mut names = Vec::new();
        while let Some(want) = fetch.want().map_err(refused)? {
            let is_kept = matches!(want, SegmentWant::Held { .. });
            let Some(segment) = self.segment(&mut fetch, want, cache).await? else {
                continue;
            };
            take(segment.decoded())?;
            let name = segment.info().decoded_sha256.clone();
            if !is_kept {
                cache
                    .keep(&name, segment.decoded())
                    .map_err(|(path, source)| SyncError::Keep { path, source })?;
            }
            names.push(name);
        }
        Ok((fetch.finish().map_err(refused)?, names))
    }

    fn segments(&self) -> SegmentCache {
        SegmentCache::new(self.paths.segments(&self.repository.name))
    }

    /// A segment from the cache, by a delta, or whole from a mirror. `None` when the cache or the delta did not work: another file
    /// is wanted then.
    async fn segment(
        &self,
        fetch: &mut IndexFetch<'_>,
        want: SegmentWant,
        cache: &SegmentCache,
    ) -> Result<Option<TrustedSegment>, SyncError> {
        let segment = match want {
            SegmentWant::Download(want) => return self.whole_segment(fetch, &want).await.map(Some),
            SegmentWant::Held { decoded_sha256 } => fetch.feed_held(cache.read(&decoded_sha256)),
            SegmentWant::Delta { file, base } => {
                let delta = self.get(&file, Limit::BySize, None).await.ok().flatten();
                fetch.feed_delta(delta.as_deref().map_or(Fed::Absent, Fed::Bytes), &cache.read(&base))
            }
        };
        Ok(segment
            .inspect_err(
                |error| tracing::debug!(%error, repository = %self.repository.name, "fetching the whole segment"),
            )
            .ok())
    }

    async fn whole_segment(&self, fetch: &mut IndexFetch<'_>, want: &Want) -> Result<TrustedSegment, SyncError> {
        let mut tried = 0;
        loop {
            let bytes = self.get(want, Limit::BySize, None).await?;
            match fetch.feed(bytes.as_deref().map_or(Fed::Absent, Fed::Bytes)) {
                Ok(segment) => {
                    self.record(want, bytes.as_deref())?;
                    return Ok(segment);
                }
                Err(error) if tried + 1 >= self.mirrors.len() => return Err(SyncError::trust(self.repository, error)),
                Err(_) => self.mirrors.prefer_next(),
            }
            tried += 1;
        }
    }

    /// The manifest at `path`, [`dkms_index::document::record::PackageRecord::manifest`]: from an earlier run where it is the
    /// same still, or else from a mirror.
    ///
    /// # Errors
    /// When it is not there, cannot be trusted, or cannot be kept.
    pub async fn manifest(&self, metadata: &mut TrustedMetadata, path: &str) -> Result<TrustedManifest, SyncError> {
        let mut fetch = metadata.fetch_manifest(path);
        self.drive(&mut fetch).await?;
        fetch.finish().map_err(|e| SyncError::trust(self.repository, e))
    }

    /// Fetches what is wanted, passes it on for verification, and stores what was verified; also after a failure.
    async fn drive(&self, exchange: &mut impl Exchange) -> Result<(), SyncError> {
        let keeper = self.keeper();
        // There may be changes before the first file is fetched.
        keeper.carry_out(exchange.changes())?;
        while let Some(want) = exchange.want() {
            let bytes = self.get(&want, Limit::Metadata, Some(&keeper)).await?;
            let fed = exchange.feed(bytes.as_deref().map_or(Fed::Absent, Fed::Bytes));
            keeper.carry_out(exchange.changes())?;
            fed.map_err(|e| SyncError::trust(self.repository, e))?;
            self.record(&want, bytes.as_deref())?;
        }
        Ok(())
    }

    fn record(&self, want: &Want, bytes: Option<&[u8]>) -> Result<(), SyncError> {
        if let (Some(recorder), Some(bytes)) = (self.recorder, bytes) {
            recorder.keep(&want.path, bytes)?;
        }
        Ok(())
    }

    /// A file from the mirrors; `None` when none of them has it. `keeper` has the copy of a file that may have changed.
    async fn get(&self, want: &Want, limit: Limit, keeper: Option<&Keeper>) -> Result<Option<Vec<u8>>, SyncError> {
        let failed = |source| SyncError::Transport {
            repository: self.repository.name.clone(),
            source,
        };
        if self.mirrors.is_empty() {
            return Err(SyncError::NotCached {
                repository: self.repository.name.clone(),
                file: want.path.clone(),
            });
        }
        let known = keeper.filter(|_| !want.immutable).and_then(|k| k.tagged(&want.path));
        let request = Request {
            etag: known.as_ref().map(|(etag, _)| etag.as_str()),
            limit,
            may_be_absent: want.path.ends_with(".root.json"),
            ..Request::whole(&want.path, want.max_bytes)
        };
        let (answer, bytes) = self.transport.get_bytes(&self.mirrors, request).await.map_err(failed)?;
        Ok(match answer {
            Answer::Body { etag } => {
                if let (Some(keeper), Some(etag), false) = (keeper, etag, want.immutable) {
                    keeper.tag(&want.path, &etag, &bytes);
                }
                Some(bytes)
            }
            Answer::NotModified => known.map(|(_, bytes)| bytes),
            Answer::NotFound => None,
        })
    }

    fn keeper(&self) -> Keeper {
        Keeper::new(
            self.paths.trust(&self.repository.name),
            self.paths.etags(&self.repository.name),
        )
    }

    fn pinned_root(&self) -> Result<Vec<u8>, SyncError> {
        let path = &self.repository.root;
        let mut bytes = Vec::new();
        fs::File::open(path)
            .and_then(|file| file.take(trust::limits::ROOT_MAX_BYTES).read_to_end(&mut bytes))
            .map(|_| bytes)
            .map_err(|source| SyncError::PinnedRoot {
                repository: self.repository.name.clone(),
                path: path.clone(),
                source,
            })
    }
}

/// Where a root is.
fn root_path(version: u64) -> String {
    format!("metadata/{version}.root.json")
}

/// The last part of a path on the wire.
fn file_name(path: &str) -> Option<&str> {
    path.rsplit('/').next().filter(|name| !name.is_empty())
}

/// A cached file; `None` when it is not there, not readable, or too long to be what is wanted.
fn read_at_most(path: &Path, max_bytes: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .ok()?
        .take(max_bytes + 1)
        .read_to_end(&mut bytes)
        .ok()?;
    (bytes.len() as u64 <= max_bytes).then_some(bytes)
}
