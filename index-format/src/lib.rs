//! Modaliases, package documents and trust of a DKMS driver index.
//!
//! This crate is pure: no I/O, no clock, no environment. Callers hand in bytes and `now`.
//!
//! - [`modalias`]: what a device says of itself.
//! - [`pattern`]: which devices a driver claims.
//! - [`document`]: the signed documents, manifests, index records and revocations.

pub mod document;
pub mod modalias;
pub mod pattern;
mod text;
