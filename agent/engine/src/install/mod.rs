//! Installing built modules where kernels load them from, and uninstalling them.
//!
//! All changes of files for one package are one [`Transaction`]. A [`Session`] is one run: many packages and kernels, and at its end one
//! depmod for each kernel that was touched.

#[cfg(test)]
mod crash_tests;
mod depmod;
mod error;
pub(crate) mod journal;
mod originals;
mod remove;
mod session;
#[cfg(test)]
mod session_tests;
mod transaction;
mod version_check;
mod weak;

pub use depmod::DepmodError;
pub use error::InstallError;
pub use session::{InstallOptions, InstallOutcome, Installed, Session};
pub use transaction::{Moment, Transaction};
pub use version_check::{Kept, compare_with_tree};
