//! Why a key could not be enrolled or exported.

use std::io;
use std::path::PathBuf;

use dkms_engine::kbuild::SignError;

/// Why a key could not be enrolled or exported.
#[derive(Debug, thiserror::Error)]
pub enum MokError {
    /// `--root`: the firmware is that of another machine.
    #[error("an image has no firmware that could accept a key")]
    Image,
    /// There are no EFI variables.
    #[error("this machine has no EFI variables, so no key can be enrolled")]
    NoFirmware,
    /// There is nobody to choose a password.
    #[error("a request takes a password, and there is no terminal to ask for it")]
    NoTerminal,
    /// mokutil is not there.
    #[error("a key is enrolled by mokutil, which is not installed")]
    NoTool,
    /// The key could not be made.
    #[error(transparent)]
    Key(SignError),
    /// mokutil could not be started.
    #[error("mokutil cannot be started: {0}")]
    Start(io::Error),
    /// mokutil failed.
    #[error("mokutil did not take the request: {status}")]
    Tool {
        /// How it ended.
        status: String,
    },
    /// There is no certificate to export.
    #[error("there is no certificate at {}", certificate.display())]
    NoKey {
        /// Where it would be.
        certificate: PathBuf,
    },
}

impl MokError {
    /// Whether the command cannot work on this machine or in this way. (Exit code 2.)
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Image | Self::NoFirmware | Self::NoTerminal | Self::NoKey { .. }
        )
    }

    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Image => {
                "run it on the machine, or export the certificate and add it to the firmware's db".to_owned()
            }
            Self::NoFirmware => "without UEFI no signature is asked for, unless module.sig_enforce is set".to_owned(),
            Self::NoTerminal => "mokutil --generate-hash=PASSWORD > FILE, then --hash-file FILE".to_owned(),
            Self::NoTool => "`apt install mokutil` or `dnf install mokutil`".to_owned(),
            Self::Key(error) => return error.hint(),
            Self::Start(_) => return None,
            Self::Tool { .. } => "see its message above; `mokutil --list-new` shows requests that wait".to_owned(),
            Self::NoKey { .. } => "dkms generate_mok".to_owned(),
        })
    }
}
