//! Programs of others, run to their end.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs a program and gives its standard output.
///
/// # Panics
/// When it cannot be started or fails.
pub fn run(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(done.status.success(), "{command:?}\n{}", said(&done));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Makes a program of `text`, and the directory that it is in. Another process writes it: a child that another thread starts meanwhile would keep a
/// file open that this one writes, and the kernel starts no program that is open for writing.
///
/// # Panics
/// When it cannot be made.
pub fn program(path: &Path, text: &str) {
    let mut install = Command::new("install")
        .args(["-D", "-m", "755", "/dev/stdin"])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("install starts");
    let mut stdin = install.stdin.take().expect("a pipe");
    stdin.write_all(text.as_bytes()).expect("it reads");
    drop(stdin);
    assert!(install.wait().expect("install ends").success(), "{}", path.display());
}

/// `dkms-repo` as it makes packages of distributions, without what the environment says of their time and their maintainer.
pub fn packager(words: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("dkms-repo"));
    command
        .args(words)
        .env_remove("SOURCE_DATE_EPOCH")
        .env_remove("MAINTAINER");
    command
}

/// Runs a program that is to succeed.
///
/// # Panics
/// When it cannot be started or fails.
#[track_caller]
pub fn succeeds(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}\n{}", said(&output));
    output
}

/// Runs a program that is to end with `code` and to print all of `words`. Gives what it printed.
///
/// # Panics
/// When it cannot be started, or ends or prints otherwise.
#[track_caller]
pub fn fails(command: &mut Command, code: i32, words: &[&str]) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = said(&output);
    assert_eq!(output.status.code(), Some(code), "{command:?}\n{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in\n{text}");
    }
    text
}

/// What a program printed on both outputs.
#[must_use]
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}
