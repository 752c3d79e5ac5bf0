//! Which devices a source claims, and on which kernels it builds.
//!
//! - [`source`]: alias patterns read from the source text: a hint.
//! - [`order`]: what is built before what.
//! - [`trial`]: builds for real kernels: the authority. One `batch` for each tree; a `tracker` reports when a package is done.
//! - [`facts`]: a package's documents after its builds.
//! - [`save`]: writes them to the staging area, package by package.

mod batch;
pub mod error;
pub mod facts;
mod names;
pub mod order;
pub mod save;
mod scratch;
pub mod source;
mod tracker;
pub mod trial;
