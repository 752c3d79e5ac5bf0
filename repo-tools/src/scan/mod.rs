//! What a source claims and where it builds.
//!
//! - [`source`]: alias patterns read from the source text: a hint.
//! - [`order`]: what is built before what.
//! - [`trial`]: builds for real kernels: the authority. One `round` a tree; a `ledger` tells when a package is done.
//! - [`facts`]: what a package is after its builds.
//! - [`save`]: that into the staging area, package by package.

pub mod error;
pub mod facts;
mod ledger;
pub mod order;
mod round;
pub mod save;
mod scratch;
pub mod source;
pub mod trial;
