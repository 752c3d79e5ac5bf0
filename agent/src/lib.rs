//! Finds, downloads, builds and installs the drivers a machine lacks.
//!
//! One module a stage, in the order of the flow: [`host`], [`device`]. At the edges: [`config`] and [`transport`].

pub mod config;
pub mod device;
pub mod host;
pub mod transport;
