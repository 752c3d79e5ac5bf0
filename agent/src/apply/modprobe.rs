//! Loads and unloads modules of the running kernel by modprobe.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How modprobe is called.
#[derive(Debug, Clone)]
pub struct Loader {
    /// Where `modprobe` is looked for, as in `PATH`; it gets this and nothing else of our environment.
    pub path: OsString,
    /// How long a driver may take to bind after its module is loaded.
    pub patience: Duration,
}

impl Default for Loader {
    fn default() -> Self {
        Self {
            path: "/usr/sbin:/usr/bin:/sbin:/bin".into(),
            patience: Duration::from_secs(5),
        }
    }
}

impl Loader {
    /// Loads a module with what it needs. The error is modprobe's message.
    pub(super) fn load(&self, module: &str) -> Result<(), String> {
        self.run(&["--", module])
    }

    /// Unloads a module and what only it needed. The error is modprobe's message: mostly that it is in use.
    pub(super) fn unload(&self, module: &str) -> Result<(), String> {
        self.run(&["-r", "--", module])
    }

    /// Loads what the kernel has for a modalias, as udev does when a device appears. Having none is not an error.
    pub(super) fn load_for(&self, modalias: &str) {
        let _ = self.run(&["-q", "-b", "--", modalias]);
    }

    fn run(&self, arguments: &[&str]) -> Result<(), String> {
        let output = Command::new("modprobe")
            .args(arguments)
            .env_clear()
            .env("PATH", &self.path)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cannot run modprobe: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let output = String::from_utf8_lossy(&output.stderr);
        let last = output.lines().last().unwrap_or("no message");
        Err(last.trim().chars().take(300).collect())
    }
}
