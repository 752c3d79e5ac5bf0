//! A complete DKMS as a library: it evaluates dkms.conf, keeps the tree below /var/lib/dkms, builds modules for kernels,
//! checks them, and installs them as transactions. It knows no network, no index and no device.
//!
//! The way of a module through it, one type per arrow:
//!
//! ```text
//! source dir → conf::DkmsConf ─┐
//! kernel::KernelTarget ────────┴→ build::BuildRequest → build::BuildOutcome → install::Plan → install::Transaction
//! ```

pub mod command;
pub mod compat;
pub mod conf;
pub mod distribution;
pub mod event;
pub mod glue;
pub mod kernel;
pub mod ko;
pub mod root;
pub mod version;
