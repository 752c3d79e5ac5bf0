//! The records of the index: compressed bytes are verified before they reach the decompressor, decoded bytes after.

use jiff::Timestamp;

use super::crypto::sha256_hex;
use super::exchange::{Answer, Want, bytes_of};
use super::limits::SEGMENT_FILE_MAX_BYTES;
use super::metadata::{Segment, TrustedMetadata};
use super::state::{self, INDEX};
use super::{TrustError, Why};
use crate::document::record::Record;
use crate::document::revocation::Revocations;
use crate::document::segment::SegmentError;
use crate::document::{self, DocumentError};

/// What the fetch of the index needs next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SegmentWant {
    /// Download this file and hand it to [`IndexFetch::feed`].
    Download(Want),
    /// Download this file, and hand it with the decoded bytes of the held segment to [`IndexFetch::feed_delta`].
    Delta {
        /// The delta.
        file: Want,
        /// One of those named to [`TrustedMetadata::fetch_index`].
        base: String,
    },
    /// Hand the decoded bytes of this held segment to [`IndexFetch::feed_held`].
    Held {
        /// One of those named to [`TrustedMetadata::fetch_index`].
        decoded_sha256: String,
    },
}

/// The fetch of the whole index, one segment at a time, so that only one is in memory.
#[derive(Debug)]
pub struct IndexFetch<'a> {
    metadata: &'a TrustedMetadata,
    segments: Vec<Segment>,
    next: usize,
    held: Vec<String>,
    records: u64,
}

/// A verified segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedSegment {
    info: Segment,
    decoded: Vec<u8>,
}

/// Proof that every segment of one state of the index was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedIndex {
    id: String,
    issued: Option<Timestamp>,
    expires: Timestamp,
    segments: Vec<Segment>,
    records: u64,
    revocations: Revocations,
}

impl TrustedMetadata {
    /// Begins to fetch the records of the index. `held` are the `decoded_sha256` of segments that the caller still
    /// has, decoded: they are not downloaded again.
    ///
    /// # Errors
    /// As [`TrustedMetadata::segments`].
    pub fn fetch_index(&self, held: &[String]) -> Result<IndexFetch<'_>, TrustError> {
        IndexFetch::start(self, held)
    }
}

impl<'a> IndexFetch<'a> {
    pub(super) fn start(metadata: &'a TrustedMetadata, held: &[String]) -> Result<Self, TrustError> {
        Ok(Self {
            metadata,
            segments: metadata.segments()?,
            next: 0,
            held: held.to_vec(),
            records: 0,
        })
    }

    /// What is needed next; `None` when all segments are in.
    ///
    /// # Errors
    /// When the segment's entry is not as it must be.
    pub fn want(&self) -> Result<Option<SegmentWant>, TrustError> {
        let Some(segment) = self.segments.get(self.next) else {
            return Ok(None);
        };
        if self.held.contains(&segment.decoded_sha256) {
            return Ok(Some(SegmentWant::Held {
                decoded_sha256: segment.decoded_sha256.clone(),
            }));
        }
        for base in &self.held {
            let path = delta_path(&segment.path, base);
            if let Some(target) = self.metadata.core.delegated_target(INDEX, &path) {
                let file = state::want_target(&self.metadata.core, target, &path, INDEX, SEGMENT_FILE_MAX_BYTES)?;
                return Ok(Some(SegmentWant::Delta {
                    file,
                    base: base.clone(),
                }));
            }
        }
        Ok(Some(SegmentWant::Download(self.download(segment)?)))
    }

    /// Takes the downloaded file.
    ///
    /// # Errors
    /// When it is not what was signed.
    pub fn feed(&mut self, answer: Answer<'_>) -> Result<TrustedSegment, TrustError> {
        let segment = self.current()?;
        let want = self.download(segment)?;
        let bytes = bytes_of(&want, answer)?;
        let target = self.target(segment)?;
        state::check_target(bytes, target, &want.path, INDEX)?;
        let decoded = decode(bytes, segment, &want.path)?;
        self.accept(decoded, &want.path)
    }

    /// Takes a downloaded delta and the decoded bytes of its base. Whatever is wrong with either, the segment can still
    /// be downloaded whole: the error may be ignored, the next [`IndexFetch::want`] says so.
    ///
    /// # Errors
    /// When the delta is not what was signed, or does not make the signed segment of this base.
    pub fn feed_delta(&mut self, answer: Answer<'_>, base: &[u8]) -> Result<TrustedSegment, TrustError> {
        let Some(SegmentWant::Delta { file, base: name }) = self.want()? else {
            return Err(TrustError::Unlisted {
                target: "index/".to_owned(),
            });
        };
        // Not tried twice: neither this delta nor, should the base be damaged, another one from it.
        self.held.retain(|held| *held != name);
        let bytes = bytes_of(&file, answer)?;
        let segment = self.current()?;
        let path = delta_path(&segment.path, &name);
        let target = self.metadata.core.delegated_target(INDEX, &path);
        let target = target.ok_or(TrustError::Unlisted { target: path })?;
        state::check_target(bytes, target, &file.path, INDEX)?;
        // Whether the base is the right one shows in what comes out: `accept` hashes that.
        let decoded = document::segment::apply_delta(bytes, base, segment.decoded_length)
            .map_err(|error| TrustError::refused(&file.path, INDEX, Why::Malformed(error.to_string())))?;
        self.accept(decoded, &file.path)
    }

    /// Takes a held segment's decoded bytes. If they are damaged, the segment is downloaded after all: the error may
    /// be ignored, the next [`IndexFetch::want`] says so.
    ///
    /// # Errors
    /// When they are not those of the wanted segment.
    pub fn feed_held(&mut self, decoded: Vec<u8>) -> Result<TrustedSegment, TrustError> {
        let file = format!("the kept copy of {}", self.current()?.path);
        let wanted = self.current()?.decoded_sha256.clone();
        let accepted = self.accept(decoded, &file);
        if accepted.is_err() {
            self.held.retain(|held| *held != wanted);
        }
        accepted
    }

    /// The proof, when all segments were handed out.
    ///
    /// # Errors
    /// When some were not.
    pub fn finish(self) -> Result<TrustedIndex, TrustError> {
        if let Some(segment) = self.segments.get(self.next) {
            return Err(TrustError::Missing {
                file: segment.path.clone(),
            });
        }
        Ok(TrustedIndex {
            id: self.metadata.index_id()?,
            issued: self.metadata.issued(),
            expires: self.metadata.expires(),
            segments: self.segments,
            records: self.records,
            revocations: self.metadata.revocations().clone(),
        })
    }

    fn current(&self) -> Result<&Segment, TrustError> {
        self.segments.get(self.next).ok_or_else(|| TrustError::Unlisted {
            target: "index/".to_owned(),
        })
    }

    fn target(&self, segment: &Segment) -> Result<&sigstore_tuf::TargetFile, TrustError> {
        self.metadata
            .core
            .delegated_target(INDEX, &segment.path)
            .ok_or_else(|| TrustError::Unlisted {
                target: segment.path.clone(),
            })
    }

    fn download(&self, segment: &Segment) -> Result<Want, TrustError> {
        state::want_target(
            &self.metadata.core,
            self.target(segment)?,
            &segment.path,
            INDEX,
            SEGMENT_FILE_MAX_BYTES,
        )
    }

    fn accept(&mut self, decoded: Vec<u8>, file: &str) -> Result<TrustedSegment, TrustError> {
        let info = self.current()?.clone();
        let found = sha256_hex(&decoded);
        if found != info.decoded_sha256 {
            let what = format!("decoded, its sha256 is {found} instead of {}", info.decoded_sha256);
            return Err(TrustError::mismatch(file, INDEX, what));
        }
        let segment = TrustedSegment { info, decoded };
        self.records += segment.lines().count() as u64;
        self.next += 1;
        Ok(segment)
    }
}

/// The target path of the delta that makes the newest state of a segment out of the one with this `decoded_sha256`.
///
/// The name identifies segment and base (by half of the hash, because every client reads the names with every new index), so
/// that the entry of a delta needs no `custom` data. The hash of the result proves that a delta fits its base.
///
/// ```
/// use dkms_index::trust::delta_path;
/// let base = "0123456789abcdef".repeat(4);
/// let path = delta_path("index/packages-000.jsonl.zst", &base);
/// assert_eq!(path, "index/packages-000.0123456789abcdef0123456789abcdef.delta");
/// ```
pub fn delta_path(segment: &str, base_decoded_sha256: &str) -> String {
    let stem = segment.strip_suffix(".jsonl.zst").unwrap_or(segment);
    format!(
        "{stem}.{}.delta",
        base_decoded_sha256.get(..32).unwrap_or(base_decoded_sha256)
    )
}

/// Decompresses verified bytes, never to more than the signed length.
fn decode(bytes: &[u8], segment: &Segment, file: &str) -> Result<Vec<u8>, TrustError> {
    document::segment::decode(bytes, segment.decoded_length).map_err(|error| match error {
        SegmentError::Length(_) => TrustError::mismatch(file, INDEX, error.to_string()),
        _ => TrustError::refused(file, INDEX, Why::Malformed(error.to_string())),
    })
}

impl TrustedSegment {
    /// Its signed description.
    pub fn info(&self) -> &Segment {
        &self.info
    }

    /// The decoded bytes, to be stored by their hash for [`TrustedMetadata::fetch_index`].
    pub fn decoded(&self) -> &[u8] {
        &self.decoded
    }

    /// The records, read and checked as they are asked for. A line of a kind this program does not know is a single
    /// `Err`: skip it, so that a newer repository can add kinds.
    pub fn records(&self) -> impl Iterator<Item = Result<Record, DocumentError>> {
        self.lines().map(Record::parse)
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        document::segment::lines(&self.decoded).map(|(_, line)| line)
    }
}

impl TrustedIndex {
    /// As [`TrustedMetadata::index_id`].
    pub fn id(&self) -> &str {
        &self.id
    }

    /// When this state was signed, if it says so.
    pub fn issued(&self) -> Option<Timestamp> {
        self.issued
    }

    /// The first moment at which a part of it expires.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Its segments, in order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Number of lines.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// What must not be installed.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }
}
