//! Finds, downloads, builds and installs the drivers a machine lacks.
//!
//! One module a stage, in the order of the flow: [`host`], [`device`], [`sync`], [`candidate`] (with [`intree`], what the
//! kernel drives by itself), [`plan`], [`fetch`], [`verdict`], [`report`]. At the edges: [`config`], [`state`] and [`transport`].

pub mod candidate;
pub mod config;
pub mod device;
pub mod exit;
pub mod fetch;
mod files;
pub mod host;
pub mod intree;
pub mod plan;
pub mod report;
pub mod state;
pub mod sync;
pub mod transport;
pub mod verdict;
