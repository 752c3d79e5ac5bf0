//! A complete DKMS as a library: it evaluates dkms.conf, keeps the tree below /var/lib/dkms, builds modules for kernels,
//! checks them, and installs them as transactions. It knows no network, no index and no device.
//!
//! The way of a module through the crate, one type per arrow:
//!
//! ```text
//! source dir → conf::DkmsConf ─┐
//! kernel::KernelTarget ────────┴→ kbuild::BuildRequest → kbuild::BuildOutcome → install::Session → install::Installed
//! ```

pub mod command;
pub mod conf;
pub mod diagnosis;
pub mod distribution;
pub mod dkms_cli;
pub mod event;
pub mod excerpt;
pub mod framework;
mod fsutil;
pub mod hooks;
pub mod install;
pub mod kbuild;
pub mod kernel;
pub mod ko;
pub mod lock_file;
pub mod manual;
pub mod package;
pub mod recovery;
pub mod root;
pub mod sandbox;
pub mod script;
pub mod tarball;
pub mod tree;
pub mod usage_error;
pub mod version;

/// What `dkms --version` prints, and the first line of every make.log: the version whose behaviour we have, and our own.
pub const VERSION_TEXT: &str = dkms_cli::command::VERSION;
