//! Finds, downloads, builds and installs the drivers a machine lacks.
//!
//! One module a stage, in the order of the flow: [`host`], [`device`], [`sync`], [`survey`] (the facts to decide by, with
//! [`intree`], what the kernel drives by itself), [`candidate`], [`plan`], [`verdict`], [`fetch`], [`apply`], [`report`]. At the
//! edges: [`cli`], [`config`], [`state`], [`lock`] and [`transport`].

pub mod apply;
pub mod candidate;
pub mod cli;
pub mod config;
pub mod device;
mod disk_full;
pub mod exit;
pub mod fetch;
mod files;
pub mod host;
pub mod initramfs;
pub mod interrupt;
pub mod intree;
pub mod lock;
pub mod medium;
pub mod mok;
pub mod overview;
pub mod plan;
pub mod report;
pub mod runtime;
pub mod state;
pub mod survey;
pub mod sync;
pub mod toolchain;
pub mod transport;
pub mod verdict;
