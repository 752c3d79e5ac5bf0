//! `completions` and `man`: made from the definition of the command line.

use std::io::Write;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::args::Cli;
use crate::exit;

/// Prints the completions for a shell.
pub(super) fn print(shell: Shell) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dkms-fetch", &mut text);
    write(&text)
}

/// Prints the manual page, roff.
pub(super) fn man() -> ExitCode {
    let mut text = Vec::new();
    let page = clap_mangen::Man::new(Cli::command())
        .section("8")
        .manual("System administration");
    match page.render(&mut text) {
        Ok(()) => write(&text),
        Err(_) => exit::Exit::Failed.into(),
    }
}

fn write(text: &[u8]) -> ExitCode {
    // A closed pipe is the reader's wish.
    let _ = std::io::stdout().write_all(text);
    ExitCode::SUCCESS
}
