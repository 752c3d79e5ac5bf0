//! What packages and kernels call: the hooks and scripts of a `dkms` package, and the decisions behind them.

mod files;
mod postinst;

pub use files::{FILES, GlueFile, install};
pub use postinst::{KernelsHere, Reason, kernels_for_package};
