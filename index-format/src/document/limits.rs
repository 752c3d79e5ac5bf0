//! How large documents may be. Everything on the wire is remote input; a reader stops here.

/// Bytes of a manifest.
pub const MANIFEST_MAX_BYTES: usize = 2 << 20;
/// Bytes of one line of the index, without its line feed.
pub const LINE_MAX_BYTES: usize = 2 << 20;
/// Bytes of a segment of the index, decoded.
pub const SEGMENT_MAX_BYTES: usize = 16 << 20;
/// Bytes of the list of revocations.
pub const REVOCATIONS_MAX_BYTES: usize = 4 << 20;
/// Bytes of a source bundle.
pub const BUNDLE_MAX_BYTES: u64 = 1 << 30;
/// Bytes of a name or a version: with both and a hash, a published file's name stays below 255.
pub const NAME_MAX_BYTES: usize = 80;
/// Bytes of a text for people, an expression, a compiler's name.
pub const TEXT_MAX_BYTES: usize = 1024;
/// Modules of a package; the largest real one (lttng) has 52.
pub const MODULES_MAX: usize = 1000;
/// Patterns of a package; in all of Linux there are 26,000.
pub const PATTERNS_MAX: usize = 30_000;
/// Entries of any other list.
pub const LIST_MAX: usize = 1000;
