//! Loads and unloads modules of the running kernel by modprobe.

use std::ffi::OsString;
use std::time::Duration;

use dkms_engine::command::Confined;

/// What is kept of modprobe's messages.
const MESSAGE_MAX_BYTES: u64 = 64 << 10;

/// How modprobe is called.
#[derive(Debug, Clone)]
pub struct Loader {
    /// Where `modprobe` is looked for, as in `PATH`; it gets this and nothing else of our environment.
    pub path: OsString,
    /// How long a driver may take to bind after its module is loaded.
    pub patience: Duration,
    /// How long modprobe may take: a module's init function can wait for a device for ever.
    pub limit: Duration,
}

impl Default for Loader {
    fn default() -> Self {
        Self {
            path: "/usr/sbin:/usr/bin:/sbin:/bin".into(),
            patience: Duration::from_secs(5),
            limit: Duration::from_secs(120),
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
        let ran = Confined::new("modprobe")
            .args(arguments)
            .env("PATH", &self.path)
            // A module that is half loaded stays so until the next boot.
            .uninterruptible()
            .time_limit(self.limit)
            .output(MESSAGE_MAX_BYTES);
        let output = ran.map_err(|error| format!("cannot run modprobe: {error}"))?;
        if output.ended.timed_out {
            return Err(format!(
                "modprobe did not end within {} s and was killed",
                self.limit.as_secs()
            ));
        }
        if output.ended.status.success() {
            return Ok(());
        }
        let output = String::from_utf8_lossy(&output.stderr);
        let last = output.lines().last().unwrap_or("no message");
        Err(last.trim().chars().take(300).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Instant;

    use super::*;

    /// Loads a module with this script in place of modprobe.
    fn check(script: &str, expected: Result<(), &str>) {
        let dir = tempfile::tempdir().unwrap();
        let modprobe = dir.path().join("modprobe");
        fs::write(&modprobe, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&modprobe, fs::Permissions::from_mode(0o755)).unwrap();
        let loader = Loader {
            path: format!("{}:/usr/bin:/bin", dir.path().display()).into(),
            limit: Duration::from_secs(1),
            ..Loader::default()
        };
        let began = Instant::now();
        assert_eq!(loader.load("edu"), expected.map_err(str::to_owned), "{script}");
        assert!(began.elapsed() < Duration::from_secs(20), "{script}");
    }

    #[test]
    fn the_error_is_modprobes_message_and_one_that_hangs_is_ended() {
        check("[ \"$*\" = '-- edu' ]", Ok(()));
        check("echo first >&2; echo ' the last ' >&2; exit 1", Err("the last"));
        check("exit 1", Err("no message"));
        check("sleep 60", Err("modprobe did not end within 1 s and was killed"));
    }
}
