//! Starts the programs of a package manager.

use std::io;
use std::time::Duration;

use dkms_engine::command::Confined;

use super::error::ToolchainError;

/// What is kept of a program's output.
const OUTPUT_MAX_BYTES: u64 = 4 << 20;
/// How long a manager may take to bring its lists up to date, and to download.
pub(super) const NETWORK_LIMIT: Duration = Duration::from_secs(1800);
/// How long it may take for what needs no network.
pub(super) const LOCAL_LIMIT: Duration = Duration::from_secs(120);

/// What a program printed.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
    /// Whether more was printed than was kept.
    pub(super) is_cut: bool,
}

/// Runs a command, which may end with any code.
pub(super) fn run(command: &Confined, shown: &str) -> Result<Said, ToolchainError> {
    let output = command
        .output(OUTPUT_MAX_BYTES)
        .map_err(|error: io::Error| failed(shown, &error.to_string()))?;
    if output.ended.timed_out {
        return Err(failed(shown, "it took too long and was ended"));
    }
    let is_cut = [&output.stdout, &output.stderr]
        .into_iter()
        .any(|bytes| bytes.len() as u64 >= OUTPUT_MAX_BYTES);
    Ok(Said {
        code: output.ended.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        is_cut,
    })
}

/// The manager failed; only the beginning of a long message is told.
pub(super) fn failed(shown: &str, message: &str) -> ToolchainError {
    let message = if message.trim().is_empty() {
        "it says nothing"
    } else {
        message.trim()
    };
    ToolchainError::Failed {
        command: shown.to_owned(),
        message: message.chars().take(300).collect(),
    }
}
