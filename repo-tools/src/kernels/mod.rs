//! Kernels of Debian by the name of a suite: headers, compiler and all that a build needs, from the signed archive, unpacked into a directory
//! that the sandbox shows as the system. No script of a package is run, and no program of it outside of the sandbox.
//!
//! - `suite`: the name of a suite, and which others it builds on.
//! - `relation`, `resolve`: which packages are needed, by their dependencies. Pure.
//! - `unpack`: the files of a package.
//! - `cache`: what is unpacked already, and whether it is current.
//! - `fetch`: all of it together.

mod cache;
mod error;
mod fetch;
mod relation;
mod resolve;
mod suite;
mod unpack;

pub use cache::Cache;
pub use error::KernelsError;
pub use fetch::{News, Ready, Source, ready};
pub use suite::{Suite, debian_arch};
