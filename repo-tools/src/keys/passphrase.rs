//! Where the passphrase of encrypted keys comes from: never from an argument, which everybody on the machine can read.

use std::path::PathBuf;

/// The variable of the environment that may have it.
pub const VARIABLE: &str = "DKMS_REPO_PASSPHRASE";

/// Where a passphrase is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Passphrase {
    /// In the environment ([`VARIABLE`]), else on the terminal.
    #[default]
    Ask,
    /// The first line of a file.
    File(PathBuf),
    /// The first line of what this descriptor gives.
    Descriptor(u32),
}
