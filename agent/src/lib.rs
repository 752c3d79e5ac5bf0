//! Finds, downloads, builds and installs the drivers a machine lacks.
//!
//! One module a stage, in the order of the flow: [`device`].

pub mod device;
