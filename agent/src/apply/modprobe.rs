//! The running kernel's modules, through kmod's own program.

use std::process::{Command, Stdio};

/// Loads a module with what it needs. The error is what modprobe says.
pub(super) fn load(module: &str) -> Result<(), String> {
    run(&["--", module])
}

/// Unloads a module and what only it needed. The error is what modprobe says: mostly that it is in use.
pub(super) fn unload(module: &str) -> Result<(), String> {
    run(&["-r", "--", module])
}

/// Loads what the kernel has for a modalias, as udev does when a device appears. Having nothing is no error.
pub(super) fn load_for(modalias: &str) {
    let _ = run(&["-q", "-b", "--", modalias]);
}

/// Runs modprobe with nothing in its environment but where programs are.
fn run(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("modprobe")
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run modprobe: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or("no word of why");
    Err(last.trim().chars().take(300).collect())
}
