//! The format of a DKMS driver index: what travels on the wire, what it means, and how it is verified.
//!
//! This page is the specification. The modules have the details, and their types are the format. The crate is pure: no
//! I/O, no clock, no environment; callers hand in bytes and `now`.
//!
//! # A repository
//!
//! is a tree of static files, verified as The Update Framework 1.0 has it ([`trust`]):
//!
//! ```text
//! metadata/   N.root.json  N.targets.json  N.snapshot.json  timestamp.json  N.<role>.json
//! targets/by-id/<bus>-<vendor>/HASH.<name>@<version>.json   manifests of a vendor's role
//! targets/curated/HASH.<name>@<version>.json                manifests of the curated role
//! targets/index/HASH.packages-NNN.jsonl.zst                 segments of the index
//! targets/revocations/HASH.revocations.json                 the list of revocations
//! bundles/sha256/<2 hex>/<64 hex>                           source bundles, named by manifests; no TUF targets
//! ```
//!
//! # Documents
//!
//! | Document | Type | Signed by | May |
//! |---|---|---|---|
//! | manifest | [`document::manifest::Manifest`] | offline roles: `curated`, `vendor-<bus>-<vendor>` | authorise the installation of one package version |
//! | index line | [`document::record::Record`] | online role `index` | give hints for matching and planning |
//! | revocations | [`document::revocation::Revocations`] | role `revocations` | deny |
//!
//! All are JSON in UTF-8. A writer spells them canonically ([`document::canonical`]): one line, no spaces, keys sorted by
//! their bytes. A reader takes any spelling, but:
//!
//! - it stops at the limits of [`document::limits`];
//! - it refuses a manifest or a list of revocations with any [`document::Problem`], or of another
//!   [schema](document::manifest::SCHEMA), as a whole;
//! - it passes over an index line with any problem, or of an unknown `type`, and reads the others;
//! - it passes over fields that it does not know; what a reader must understand raises the schema.
//!
//! A field that is absent has the default of its type. Times are days (`YYYY-MM-DD`), hashes are SHA-256 in lower-case hex.
//!
//! **Names and versions** of packages, modules and kernels are 1 to 80 letters, digits and `.+-_~`, and begin with neither a
//! dot nor a dash ([`document::check_name`]): they are parts of file names and URLs as they are. Versions are ordered as dpkg
//! does ([`version`]).
//!
//! **A manifest** lies at `<scope>/<name>@<version>.json`. Its scope is `curated`, or `by-id/<bus>-<vendor>` with a vendor of four
//! lower-case digits on `pci`, `usb`, `hid` or `sdio`. In the latter every pattern must spell out that bus and that vendor
//! ([`pattern::Pattern::vendor_id`]), so a vendor's key cannot sign for other vendors' devices.
//!
//! **The index** is made of the lines of all records in the order of [`document::record::Record::place`], cut into segments
//! of at most 16 MiB, each compressed by zstd in one frame or several, one after the other ([`document::segment`]). The TUF target of a segment has
//! `"custom": {"decoded_sha256": …, "decoded_length": …}`: compressed bytes are verified before they reach the decompressor,
//! decoded bytes before they are read.
//!
//! **Overrides** ([`overrides`]) take one alias of a package or of the kernel itself out of matching. **Rollouts** ([`rollout`])
//! offer a version to a share of all machines; each machine computes for itself whether it is among them. **Revocations**
//! ([`document::revocation::Revocations::denies`]) deny a bundle or a range of versions.
//!
//! # Matching
//!
//! A device is known by its [`modalias`]; a driver says by [`pattern`]s which ones it claims. A pattern means what glibc's
//! `fnmatch(pattern, modalias, 0)` says, over bytes. The device is never a pattern, nothing is folded, trimmed or split.
//! Patterns have at most [`pattern::MAX_PATTERN_BYTES`] bytes and [`pattern::MAX_STARS`] stars, and somewhere
//! [`keys::SHORTEST_ANCHOR_BYTES`] literal bytes in a row.
//!
//! [`keys`] says how the patterns of a device are found among millions, in memory or in a database. [`specificity`] says
//! how exactly a pattern names a device.

pub mod document;
pub mod keys;
pub mod modalias;
pub mod overrides;
pub mod pattern;
pub mod rollout;
pub mod specificity;
mod text;
pub mod trust;
pub mod version;
