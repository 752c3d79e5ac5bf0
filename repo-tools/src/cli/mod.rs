//! The command line: one file for each subcommand.
//!
//! A subcommand is a `clap::Args` struct and `run(args, &Context) -> Result<(), Failure>`. What it prints on stdout
//! is data, in JSON with `--json`; what people read while it works goes to stderr.

mod add;
mod ceremony;
mod completions;
mod delegate;
mod diff;
mod expiry;
mod failure;
mod gc;
mod import;
mod init;
mod kernels;
mod keys;
mod lint;
mod list;
mod make;
mod make_modules;
mod mirror;
mod offer;
mod print;
mod progress;
mod propose;
mod publish;
mod push;
mod release;
mod revoke;
mod scan;
mod serve;
mod show;
mod table;
mod verify;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser, Subcommand};
use dkms_engine::sandbox::{self, Policy};
use dkms_engine::usage_error;

pub use failure::{Failure, Hint};

use crate::keys::{Passphrase, Secrets};
use crate::repository::Repository;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed: the message says what, on what and why
  2  the command line was wrong
  3  expiry: a signature has expired or soon will
  4  trust refused: a signature, hash, version or scope is not as it must be";

/// Makes and keeps a signed repository of DKMS driver packages.
#[derive(Debug, Parser)]
#[command(name = "dkms-repo", version, after_help = EXIT_CODES, after_long_help = EXIT_CODES)]
pub struct Cli {
    /// The repository's working directory.
    #[arg(
        short = 'C',
        long,
        global = true,
        default_value = ".",
        env = "DKMS_REPO",
        value_name = "DIR"
    )]
    repo: PathBuf,
    /// Print lists and results as JSON.
    #[arg(long, global = true)]
    json: bool,
    /// Read the passphrase of encrypted keys from the first line of this file; default: the variable DKMS_REPO_PASSPHRASE, or the terminal.
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "passphrase_fd")]
    passphrase_file: Option<PathBuf>,
    /// Read it from this file descriptor.
    #[arg(long, global = true, value_name = "NUMBER")]
    passphrase_fd: Option<u32>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Args),
    Add(add::Args),
    Import(import::Args),
    Propose(propose::Args),
    Lint(lint::Args),
    List(list::Args),
    #[command(name = "mkdeb")]
    MkDeb(make::DebArgs),
    #[command(name = "mkrpm")]
    MkRpm(make::RpmArgs),
    ReleasePackage(release::Args),
    #[command(name = "mkkmp")]
    MkKmp(make_modules::KmpArgs),
    #[command(name = "mkdriverdisk")]
    MkDriverDisk(make_modules::DriverDiskArgs),
    Scan(scan::Args),
    Show(show::Args),
    Rollout(offer::RolloutArgs),
    OemSets(offer::OemSetsArgs),
    Unstage(offer::UnstageArgs),
    Publish(publish::Args),
    Diff(diff::Args),
    Mirror(mirror::Args),
    Timestamp(publish::TimestampArgs),
    Delegate(delegate::Args),
    Rotate(delegate::RotateArgs),
    Renew(delegate::RenewArgs),
    Sign(ceremony::SignArgs),
    Merge(ceremony::MergeArgs),
    Roles(delegate::RolesArgs),
    Expiry(expiry::Args),
    EncryptKey(keys::Args),
    Revoke(revoke::Args),
    Unrevoke(revoke::UnrevokeArgs),
    Gc(gc::Args),
    Verify(verify::Args),
    Serve(serve::Args),
    Completions(completions::Args),
    Man(completions::ManArgs),
}

/// What all subcommands share.
#[derive(Debug)]
pub struct Context {
    repo: PathBuf,
    secrets: Arc<Secrets>,
    /// Print lists and results as JSON.
    pub json: bool,
    /// The time of this run, read once.
    pub now: jiff::Timestamp,
}

impl Context {
    /// Opens the repository that `--repo` names.
    pub fn repository(&self) -> Result<Repository, Failure> {
        Ok(Repository::open(&self.repo)?.with_secrets(self.secrets()))
    }

    /// Where passphrases come from.
    fn secrets(&self) -> Arc<Secrets> {
        Arc::clone(&self.secrets)
    }

    /// Checks that packages can be confined here. `asked` is the option of this run, which overrides `repo.toml`.
    fn require_sandbox(&self, repository: &Repository, asked: Option<Policy>) -> Result<(), Failure> {
        require_sandbox(asked.unwrap_or(repository.config().sandbox))
    }

    /// The directory that `--repo` names, whether or not it is a repository yet.
    pub fn repo_dir(&self) -> &Path {
        &self.repo
    }
}

/// Checks that packages can be confined here.
fn require_sandbox(policy: Policy) -> Result<(), Failure> {
    let layers = sandbox::require(policy)?;
    if let Some(refusal) = layers.no_sandbox() {
        anstream::eprintln!("warning: {refusal}");
        refusal
            .hint()
            .iter()
            .for_each(|hint| anstream::eprintln!("hint: {hint}"));
    }
    Ok(())
}

/// Parses the command line, runs the subcommand and prints how it failed.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            anstream::eprint!("{}", usage_error::text(Cli::command(), arguments, &error));
            return ExitCode::from(2);
        }
        Err(help) => {
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
    };
    let passphrase = match (cli.passphrase_file, cli.passphrase_fd) {
        (Some(path), _) => Passphrase::File(path),
        (None, Some(number)) => Passphrase::Descriptor(number),
        (None, None) => Passphrase::Ask,
    };
    let context = Context {
        secrets: Arc::new(Secrets::from(passphrase)),
        repo: cli.repo,
        json: cli.json,
        now: jiff::Timestamp::now(),
    };
    let result = match cli.command {
        Command::Add(args) => add::run(args, &context),
        Command::Import(args) => import::run(&args, &context),
        Command::Propose(args) => propose::run(&args, &context),
        Command::Lint(args) => lint::run(args, &context),
        Command::List(args) => list::run(args, &context),
        Command::MkDeb(args) => make::run_deb(&args, &context),
        Command::MkRpm(args) => make::run_rpm(&args, &context),
        Command::ReleasePackage(args) => release::run(&args, &context),
        Command::MkKmp(args) => make_modules::run_kmp(&args, &context),
        Command::MkDriverDisk(args) => make_modules::run_driver_disk(&args, &context),
        Command::Scan(args) => scan::run(args, &context),
        Command::Show(args) => show::run(args, &context),
        Command::Rollout(args) => offer::run_rollout(args, &context),
        Command::OemSets(args) => offer::run_oem_sets(args, &context),
        Command::Unstage(args) => offer::run_unstage(args, &context),
        Command::Init(args) => init::run(args, &context),
        Command::Publish(args) => publish::run(args, &context),
        Command::Diff(args) => diff::run(args, &context),
        Command::Mirror(args) => mirror::run(args, &context),
        Command::Timestamp(args) => publish::run_timestamp(args, &context),
        Command::Delegate(args) => delegate::run(args, &context),
        Command::Rotate(args) => delegate::run_rotate(args, &context),
        Command::Renew(args) => delegate::run_renew(args, &context),
        Command::Sign(args) => ceremony::run_sign(&args, &context),
        Command::Merge(args) => ceremony::run_merge(&args, &context),
        Command::Roles(args) => delegate::run_roles(args, &context),
        Command::EncryptKey(args) => keys::run(&args, &context),
        Command::Expiry(args) => {
            return match expiry::run(&args, &context) {
                Ok(code) => code,
                Err(failure) => {
                    failure.print();
                    failure.exit_code()
                }
            };
        }
        Command::Revoke(args) => revoke::run(args, &context),
        Command::Unrevoke(args) => revoke::run_unrevoke(args, &context),
        Command::Gc(args) => gc::run(args, &context),
        Command::Verify(args) => verify::run(args, &context),
        Command::Serve(args) => serve::run(args, &context),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => completions::run_man(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            failure.exit_code()
        }
    }
}
