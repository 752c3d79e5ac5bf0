//! `dkms-repo completions` and `dkms-repo man`: made from the definition of the command line.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;
use dkms_engine::manual::{self, Page};

use super::{Cli, Failure};

/// What the manual page has besides the command line.
const PAGE: Page<'_> = Page {
    section: "1",
    manual: "User commands",
    see_also: &[("dkms-repo.toml", "5"), ("dkms-fetch", "8"), ("dkms", "8")],
};

/// Prints the completions for a shell.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which shell.
    shell: Shell,
}

/// Prints the manual page.
#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {}

/// Prints completions.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "dkms-repo", &mut text);
    print(&text);
    Ok(())
}

/// Prints roff.
pub(super) fn run_man(_: &ManArgs) -> Result<(), Failure> {
    let mut text = Vec::new();
    manual::write(Cli::command(), &PAGE, &mut text)
        .map_err(|error| Failure::new(format!("the manual page could not be made: {error}")))?;
    print(&text);
    Ok(())
}

fn print(text: &[u8]) {
    // A closed pipe is no error: the reader may stop early.
    let _ = std::io::stdout().write_all(text);
}
