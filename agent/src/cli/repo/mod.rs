//! `repo`: the repositories that this machine trusts.

mod add;
mod list;
mod remove;
mod source;

use super::args::RepoCommand;
use super::context::Context;
use super::failure::Failure;
use crate::exit::Exit;

pub(super) fn run(context: &mut Context, command: &RepoCommand) -> Result<Exit, Failure> {
    match command {
        RepoCommand::Add {
            source,
            fingerprint,
            name,
        } => add::run(context, source, fingerprint.as_deref(), name.as_deref()),
        RepoCommand::List => list::list(context),
        RepoCommand::Info { names } => list::info(context, names),
        RepoCommand::Remove { names } => remove::run(context, names),
    }
}
