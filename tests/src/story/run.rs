//! The program, run.

use std::process::{Command, Output};
use std::time::Duration;

use crate::dkms::ours;

/// How long something that must happen may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a run came to.
#[derive(Debug)]
pub struct Run {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it said on standard output.
    pub stdout: String,
    /// What it said on standard error.
    pub stderr: String,
}

impl Run {
    /// Runs a command to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn of(command: &mut Command) -> Self {
        command.output().expect("the program runs").into()
    }

    /// The final document of a run with `--json`.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn document(&self) -> serde_json::Value {
        let line = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {}\n{}", self.stdout, self.stderr))
    }

    /// Asserts how it ended, and that it said these words, on whichever output and in whichever lines.
    #[track_caller]
    pub fn assert(&self, code: i32, said: &[&str]) {
        let Self { stdout, stderr, .. } = self;
        assert_eq!(self.code, code, "\n{stdout}\n{stderr}");
        let words: Vec<&str> = stderr.split_whitespace().chain(stdout.split_whitespace()).collect();
        let text = words.join(" ");
        for expected in said {
            assert!(text.contains(expected), "no {expected:?} in\n{stdout}\n{stderr}");
        }
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The program, in an environment that is the same on every machine.
///
/// # Panics
/// When it does not compile.
#[must_use]
pub fn program(arguments: &[String]) -> Command {
    let mut command = Command::new(ours());
    command.args(arguments);
    plainly(&mut command);
    command
}

/// The program below a shell that has a mount namespace of its own, so that it can prepare what the machine is to look
/// like: `script` runs with the program's command line as `"$@"`. Takes root.
///
/// # Panics
/// When it does not compile.
#[must_use]
pub fn in_namespace(script: &str, arguments: &[String]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "/bin/sh", "-euc", script, "sh"]);
    command.arg(ours()).args(arguments);
    plainly(&mut command);
    command
}

fn plainly(command: &mut Command) {
    command
        .env("NO_COLOR", "1")
        .env("COLUMNS", "80")
        .env_remove("DKMS_FETCH_LOG");
}

/// Waits for something that must happen.
///
/// # Panics
/// When it does not happen for a long time.
pub fn patiently<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = std::time::Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
