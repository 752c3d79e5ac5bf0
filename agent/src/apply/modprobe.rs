//! Loads and unloads modules of the running kernel by modprobe.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use dkms_engine::command::Confined;

use super::module_view::ModuleView;

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
    /// The directory whose `lib/modules` it reads; none for that of the machine.
    pub view: Option<PathBuf>,
}

impl Default for Loader {
    fn default() -> Self {
        Self {
            path: "/usr/sbin:/usr/bin:/sbin:/bin".into(),
            patience: Duration::from_secs(5),
            limit: Duration::from_secs(120),
            view: None,
        }
    }
}

/// How long modprobe may take to end after it was killed. One that waits in the kernel does not end.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

impl Loader {
    /// The same, for modules that depmod does not know yet.
    pub(super) fn within(&self, view: Option<&ModuleView>) -> Self {
        Self {
            view: view.map(|view| view.path().to_owned()),
            ..self.clone()
        }
    }

    /// Whether it finds only the modules of a view.
    pub(super) fn is_within_view(&self) -> bool {
        self.view.is_some()
    }

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
        let mut modprobe = Confined::new("modprobe");
        if let Some(view) = &self.view {
            modprobe = modprobe.arg("-d").arg(view);
        }
        let modprobe = modprobe
            .args(arguments)
            .env("PATH", &self.path)
            // A module that is half loaded stays so until the next boot.
            .uninterruptible()
            .time_limit(self.limit);
        let too_long = |what: &str| format!("modprobe did not end within {} s and {what}", self.limit.as_secs());
        let ran = within(self.limit + KILL_TIMEOUT, move || modprobe.output(MESSAGE_MAX_BYTES));
        let Some(ran) = ran else {
            return Err(too_long("cannot be killed"));
        };
        let output = ran.map_err(|error| format!("cannot run modprobe: {error}"))?;
        if output.ended.timed_out {
            return Err(too_long("was killed"));
        }
        if output.ended.status.success() {
            return Ok(());
        }
        let output = String::from_utf8_lossy(&output.stderr);
        let last = output.lines().last().unwrap_or("no message");
        Err(last.trim().chars().take(300).collect())
    }
}

/// What `work` returns, if it ends within `limit`; a thread stays behind where it does not.
fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        // Nobody waits any more after the limit.
        let _ = done.send(work());
    });
    ended.recv_timeout(limit).ok()
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

    #[test]
    fn what_cannot_be_killed_is_not_waited_for() {
        let (end, waits) = mpsc::channel::<()>();
        let began = Instant::now();
        assert_eq!(within(Duration::from_millis(50), move || waits.recv()), None);
        assert!(began.elapsed() < Duration::from_secs(20));
        drop(end);
        assert_eq!(within(Duration::from_secs(20), || 1), Some(1));
    }
}
