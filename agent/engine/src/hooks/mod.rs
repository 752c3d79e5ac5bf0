//! What a `dkms` package has besides the program: hooks and scripts that packages and kernels call, the decisions behind them, the
//! manual page and the completions.

mod completions;
mod files;
mod man;
mod postinst;

pub use completions::write_completions;
pub use files::{FILES, HookFile, install};
pub use man::write_man_page;
pub use postinst::{KernelsHere, Reason, kernels_for_package};
