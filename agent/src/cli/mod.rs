//! The command line: one file a subcommand, and what they share.

pub mod args;
mod auto;
mod check_kernel;
mod completions;
mod context;
mod devices;
mod doctor;
mod explain;
mod export;
pub mod failure;
mod fetch;
mod history;
mod hold;
mod initramfs;
mod install;
mod media;
mod mok;
mod named_file;
mod nearest;
mod overview;
mod packages;
mod recover;
mod remove;
mod repo;
mod requirement;
mod rollback;
mod search;
mod status;
mod sync;
mod toolchain;
mod view;
mod watch;
mod work;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use dkms_engine::usage_error;
use dkms_support::chain;
use jiff::Timestamp;

use crate::config;
use crate::exit::Exit;
use crate::interrupt;
use crate::report::progress::{ProgressEvent, Reporter};
use crate::runtime::Runtime;
use crate::state::index::Index;
use args::{Cli, Command};
use context::Context;
use failure::Failure;

/// Runs the command line `arguments`, the program's name first.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    // Sources and the tree have to be readable for the users that builds run as, whatever the caller's umask is.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    if is_dkms(arguments.first()) {
        return dkms(&arguments[1..]);
    }
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help is asked for and goes to standard output.
            if !error.use_stderr() {
                let _ = error.print();
                return ExitCode::SUCCESS;
            }
            anstream::eprint!("{}", usage_error::text(Cli::command(), arguments, &error));
            return Exit::Usage.into();
        }
    };
    match &cli.command {
        Some(Command::Dkms { arguments }) => return dkms(&with_common(&cli.common, arguments)),
        Some(Command::Completions { shell }) => return completions::print(*shell),
        Some(Command::Man) => return completions::man(),
        _ => {}
    }
    match run(&cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            report(&cli, &failure);
            failure.exit().into()
        }
    }
}

/// Called by the name `dkms`, the program is dkms.
fn is_dkms(name: Option<&OsString>) -> bool {
    name.is_some_and(|name| {
        std::path::Path::new(name)
            .file_name()
            .is_some_and(|file| file == "dkms")
    })
}

/// `dkms-fetch --root DIR --json dkms …` means what `dkms-fetch dkms … --root DIR --json` means.
fn with_common(common: &args::Common, arguments: &[OsString]) -> Vec<OsString> {
    let mut words = arguments.to_vec();
    if let Some(dir) = &common.root {
        words.extend(["--root".into(), dir.as_os_str().to_owned()]);
    }
    if common.json {
        words.push("--json".into());
    }
    words
}

/// The `dkms` command line. Its arguments are names of packages and kernels, which are ASCII. Others match nothing that exists.
fn dkms(arguments: &[OsString]) -> ExitCode {
    // `status` runs no program, and has to be quick.
    if arguments.first().is_none_or(|verb| verb != "status") {
        // If this fails, a signal does not stop running compilers; all else works.
        let _ = interrupt::end_with_commands();
    }
    dkms_engine::dkms_cli::main(
        arguments
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect(),
    )
}

/// Runs the command. A cached index that turns out to be damaged is removed, and the command runs again: a sync rebuilds the index,
/// and a command that only reads reports that there is none.
fn run(cli: &Cli) -> Result<Exit, Failure> {
    // Needs no configuration.
    if let Some(Command::InitramfsModules(asked)) = &cli.command {
        return initramfs::run(&cli.common, asked);
    }
    let mut context = Context::new(&cli.common, Timestamp::now())?;
    let ended = command(cli, &mut context);
    let Some(damaged) = ended
        .as_ref()
        .err()
        .and_then(|failure| failure.damaged_index(&context.cache))
    else {
        return ended;
    };
    context.reporter.report(ProgressEvent::Warning {
        text: format!("the cached index {} is damaged: it is not used", damaged.display()),
        hint: None,
    });
    if !cli.common.check
        && let Err(error) = std::fs::remove_file(&damaged)
        // It may be removed already.
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return ended;
    }
    let mut context = Context::new(&cli.common, Timestamp::now())?;
    context.damaged_index = Some(damaged);
    command(cli, &mut context)
}

fn command(cli: &Cli, context: &mut Context) -> Result<Exit, Failure> {
    match &cli.command {
        None if cli.auto => auto::run(context),
        Some(Command::Watch) => watch::run(cli),
        None => devices::run(context, false),
        Some(Command::Devices { export: Some(file), .. }) => {
            let is_output = file.as_os_str() == "-";
            export::run(context, (!is_output).then_some(file))
        }
        Some(Command::Devices { all, export: None }) => devices::run(context, *all),
        Some(Command::Explain { device }) => explain::run(context, device),
        Some(Command::Plan) => auto::plan(context, "plan"),
        Some(Command::Sync) => sync::run(context),
        Some(Command::Search { terms }) => search::run(context, terms),
        Some(Command::Fetch { packages }) => fetch::run(context, packages),
        Some(Command::Install { packages, reload }) => install::run(context, packages, *reload),
        Some(Command::Remove { packages, hold }) => remove::run(context, packages, *hold),
        Some(Command::InitramfsModules(asked)) => initramfs::run(&cli.common, asked),
        Some(Command::CheckKernel { release }) => check_kernel::run(context, release),
        Some(Command::Recover) => recover::run(context),
        Some(Command::Status) => status::run(context),
        Some(Command::History { last }) => history::run(context, *last),
        Some(Command::Rollback { entry, last: _ }) => rollback::run(context, *entry),
        Some(Command::Hold { packages }) => hold::hold(context, packages),
        Some(Command::Unhold { packages }) => hold::unhold(context, packages),
        Some(Command::Report {
            html,
            openmetrics,
            identify,
        }) => {
            let outputs = overview::Outputs {
                html: html.as_deref(),
                openmetrics: openmetrics.as_deref(),
                identify: *identify,
            };
            overview::run(context, &outputs)
        }
        Some(Command::Mok { command }) => mok::run(context, command),
        Some(Command::Media { command }) => media::run(context, command),
        Some(Command::Repo { command }) => repo::run(context, command),
        Some(Command::Doctor) => doctor::run(context),
        Some(Command::Dkms { .. } | Command::Completions { .. } | Command::Man) => Ok(Exit::Converged),
    }
}

/// Reports the error that stopped the run: as text on standard error, or as the final document.
fn report(cli: &Cli, failure: &Failure) {
    let hint = failure.hint().map(|hint| hint_below(cli.common.root.as_deref(), hint));
    let text = chain(failure);
    if cli.common.json {
        crate::report::progress::print_json(&serde_json::json!({
            "schema": crate::report::SCHEMA,
            "document": "failure",
            "version": crate::report::VERSION,
            "exit": failure.exit().code(),
            "error": text,
            "hint": hint,
        }));
    } else {
        Reporter::new(false, false).report(ProgressEvent::Error { text, hint });
    }
}

/// The hint of an error for the machine at `root`. Errors that do not know where the configuration is name it as on this machine; paths that
/// they carry are below the root already.
fn hint_below(root: Option<&Path>, hint: String) -> String {
    match root {
        Some(root) => hint.replace(
            &format!(" {}/", config::DIR),
            &format!(" {}{}/", root.display(), config::DIR),
        ),
        None => hint,
    }
}

/// What waits for the network in a run.
fn runtime() -> Result<Runtime, Failure> {
    Runtime::new().map_err(Failure::Runtime)
}

/// Runs work that downloads. A signal ends the work at its next `await`, and drops what it holds.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    runtime()?.run(work)?
}

/// Reports that packages are not known, if there is no index to look them up in; returns whether that is so.
fn warn_without_index(context: &Context, index: &Index) -> bool {
    if index.repositories().next().is_some() {
        return false;
    }
    let (text, hint) = if context.config.repositories.is_empty() {
        (
            "no repository is configured, so no package is known",
            "dkms-fetch repo add URL",
        )
    } else {
        ("no index is cached, so no package is known", "dkms-fetch sync")
    };
    context.reporter.report(ProgressEvent::Warning {
        text: text.to_owned(),
        hint: Some(hint.to_owned()),
    });
    true
}

/// The error where no index is cached.
fn nothing_cached(context: &Context) -> Failure {
    Failure::NothingCached {
        repositories: context.config.repositories.iter().map(|r| r.name.to_string()).collect(),
    }
}
