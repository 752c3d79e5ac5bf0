//! Limits of what is read, so that a hostile mirror cannot fill a disk or memory. Documents have theirs in [`crate::document::limits`].

use crate::document::limits;

/// A root file.
pub const ROOT_MAX_BYTES: u64 = 512 << 10;
/// New roots followed in one refresh.
pub const ROOTS_MAX: u64 = 256;
/// The timestamp.
pub const TIMESTAMP_MAX_BYTES: u64 = 16 << 10;
/// The snapshot: a hundred bytes for each of some ten thousand roles.
pub const SNAPSHOT_MAX_BYTES: u64 = 2 << 20;
/// A targets file: some 200 bytes for each manifest, up to 100,000 of them.
pub const TARGETS_MAX_BYTES: u64 = 32 << 20;
/// The list of revocations.
pub const REVOCATIONS_MAX_BYTES: u64 = limits::REVOCATIONS_MAX_BYTES as u64;
/// One manifest.
pub const MANIFEST_MAX_BYTES: u64 = limits::MANIFEST_MAX_BYTES as u64;
/// A segment of the index, decoded.
pub const SEGMENT_MAX_BYTES: u64 = limits::SEGMENT_MAX_BYTES as u64;
/// A segment or delta of the index as it is served; zstd adds less than this to what it cannot compress.
pub const SEGMENT_FILE_MAX_BYTES: u64 = SEGMENT_MAX_BYTES + (128 << 10);
/// Segments of one index: together at most 4 GiB decoded.
pub const SEGMENTS_MAX: usize = 256;
/// Roles looked at to find one manifest.
pub const DELEGATIONS_MAX: usize = 64;
