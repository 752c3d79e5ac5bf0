//! Programs of others, run to their end.

use std::process::{Command, Output};

/// Runs a program and gives its standard output.
///
/// # Panics
/// When it cannot be started or fails.
pub fn run(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(done.status.success(), "{command:?}\n{}", said(&done));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// What a program printed on both outputs.
#[must_use]
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}
