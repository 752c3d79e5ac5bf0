//! What a source claims and where it builds.
//!
//! - [`source`]: alias patterns read from the source text: a hint.
//! - [`trial`]: builds for real kernels: the authority.
//! - [`facts`]: what a package is after its builds.

pub mod facts;
pub mod source;
pub mod trial;
