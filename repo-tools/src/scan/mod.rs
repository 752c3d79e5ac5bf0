//! What a source claims and where it builds.
//!
//! - [`source`]: alias patterns read from the source text: a hint.

pub mod source;
