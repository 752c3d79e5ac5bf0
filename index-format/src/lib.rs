//! Modaliases, package documents and trust of a DKMS driver index.
//!
//! This crate is pure: no I/O, no clock, no environment. Callers hand in bytes and `now`.
//!
//! - [`modalias`]: what a device says of itself.
//! - [`pattern`]: which devices a driver claims.
//! - [`keys`], [`matcher`]: how a device finds its patterns among millions.
//! - [`document`]: the signed documents, manifests, index records and revocations.
//! - [`specificity`], [`version`], [`rollout`], [`overrides`]: what decides among several packages for one device.
//! - [`trust`]: which bytes of a repository may be believed.

pub mod document;
pub mod keys;
pub mod matcher;
pub mod modalias;
pub mod overrides;
pub mod pattern;
pub mod rollout;
pub mod specificity;
mod text;
pub mod trust;
pub mod version;
