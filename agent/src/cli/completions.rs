//! `completions` and `man`: made from the definition of the command line.

use std::io::Write;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;
use dkms_engine::manual::{self, Page};

use super::args::Cli;
use crate::exit::Exit;

/// What the manual page has besides the command line.
const PAGE: Page<'_> = Page {
    section: "8",
    manual: "System administration",
    see_also: &[
        ("dkms", "8"),
        ("dkms-repo", "1"),
        ("dkms-fetch.toml", "5"),
        ("dkms-fetch-repos", "5"),
        ("modprobe", "8"),
    ],
};

/// Prints the completions for a shell.
pub(super) fn print(shell: Shell) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dkms-fetch", &mut text);
    write(&text)
}

/// Prints the manual page, roff.
pub(super) fn man() -> ExitCode {
    let mut text = Vec::new();
    match manual::write(Cli::command(), &PAGE, &mut text) {
        Ok(()) => write(&text),
        Err(_) => Exit::Failed.into(),
    }
}

fn write(text: &[u8]) -> ExitCode {
    // The reader may close the pipe early.
    let _ = std::io::stdout().write_all(text);
    ExitCode::SUCCESS
}
