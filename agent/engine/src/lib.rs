//! A complete DKMS as a library: conf, tree, kernels, build, install.

pub mod compat;
