//! Puts what was published where machines read it: what `publish`, `timestamp` and all that sign have in common.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use super::{Context, Failure};
use crate::publish::Report;
use crate::push::{self, Options, Progress, PushError, Pushed, Source};
use crate::recovery;
use crate::repository::Repository;
use crate::store::{Address, Store, StoreError};
use crate::verify::Tree;

/// Where else a publication goes.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct ToArgs {
    /// Also put it there: a directory, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX, or https://HOST/PATH of a server that
    /// takes PUT. May be repeated; default: publish_to in repo.toml. Credentials are read from the environment.
    #[arg(long, value_name = "ADDRESS")]
    to: Vec<Address>,
}

/// Puts the published tree to every target. All are tried; those that failed are the error.
pub(super) fn push_to_all(
    repository: &Repository,
    to: &ToArgs,
    options: Options,
    context: &Context,
) -> Result<(Vec<Pushed>, Option<Failure>), Failure> {
    let targets = targets(repository, to);
    if targets.is_empty() {
        return Ok((Vec::new(), None));
    }
    let _lock = recovery::lock(repository.path())?;
    Ok(push_tree(
        &Tree::at(&repository.public_dir()),
        &targets,
        options,
        context,
    ))
}

/// The targets of this run.
pub(super) fn targets(repository: &Repository, to: &ToArgs) -> Vec<Address> {
    if to.to.is_empty() {
        repository.targets()
    } else {
        to.to.clone()
    }
}

/// What a publication could not do.
pub(super) fn warn(report: &Report) {
    for role in &report.unbridged {
        anstream::eprintln!(
            "warning: {role} could not be signed by its old keys, too: machines that asked just now were refused"
        );
        anstream::eprintln!("hint: nothing is to be done, they succeed when they ask again");
    }
    for role in &report.awaiting_keys {
        anstream::eprintln!(
            "note: {role} has signed nothing yet: a package of it is published when its private key is here"
        );
    }
    for (role, expires) in &report.expiring {
        anstream::eprintln!("warning: {role} expires at {expires}, and its keys are not here");
    }
}

/// Puts a tree to these targets, one after the other.
pub(super) fn push_tree(
    tree: &Tree,
    targets: &[Address],
    options: Options,
    context: &Context,
) -> (Vec<Pushed>, Option<Failure>) {
    let (mut pushed, mut failed) = (Vec::new(), None::<Failure>);
    for address in targets {
        match push_one(tree, address, options, context) {
            Ok(one) => pushed.push(one),
            Err(failure) => {
                // Each is told; the last one is what the program ends with.
                if let Some(before) = failed.replace(failure) {
                    before.print();
                }
            }
        }
    }
    (pushed, failed)
}

fn push_one(tree: &Tree, address: &Address, options: Options, context: &Context) -> Result<Pushed, Failure> {
    let runtime = runtime()?;
    let store = open_target(address, options.dry_run).map_err(PushError::from)?;
    let bar = Bar::new(store.address(), options.dry_run || context.json);
    let pushed = runtime.block_on(push::push(&Source::of(tree), &store, options, &|progress| {
        bar.take(progress)
    }));
    bar.finish();
    Ok(pushed?)
}

/// Opens a target. A dry run makes no directory, and waits for nobody.
pub(super) fn open_target(address: &Address, is_dry_run: bool) -> Result<Store, StoreError> {
    if is_dry_run {
        Store::open(address)
    } else {
        Store::open_to_write(address)
    }
}

/// What requests run on.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Runtime::new().map_err(|error| Failure::new(format!("cannot start threads for requests: {error}")))
}

/// Prints what was put somewhere: a line on standard output for each target, and with a dry run one for each file.
pub(super) fn tell(pushed: &[Pushed], is_dry_run: bool) {
    for one in pushed {
        if is_dry_run {
            for file in &one.written {
                super::print::line(&format!("write\t{}/{}\t{} bytes", one.target, file.path, file.bytes));
            }
            for file in &one.deleted {
                super::print::line(&format!("delete\t{}/{}\t{} bytes", one.target, file.path, file.bytes));
            }
        }
        let bytes: u64 = one.written.iter().map(|file| file.bytes).sum();
        let (verb, removed) = match is_dry_run {
            true => ("would be written", "would be deleted"),
            false => ("written", "deleted"),
        };
        let (files, gone) = (one.written.len(), one.deleted.len());
        super::print::line(&format!(
            "{}\ttimestamp {}\tsnapshot {}\t{files} files {verb} ({bytes} bytes), {gone} {removed}",
            one.target, one.state.timestamp, one.state.snapshot
        ));
    }
}

/// Progress on a terminal, or a line at the beginning.
pub(super) struct Bar {
    bar: Option<ProgressBar>,
    target: String,
    is_quiet: bool,
}

impl Bar {
    pub(super) fn new(target: &str, is_quiet: bool) -> Self {
        let bar = (std::io::stderr().is_terminal() && !is_quiet).then(|| {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template("{bar:24} {bytes}/{total_bytes} {elapsed} {wide_msg}") {
                bar.set_style(style);
            }
            bar.set_message(target.to_owned());
            bar
        });
        Self {
            bar,
            target: target.to_owned(),
            is_quiet,
        }
    }

    pub(super) fn take(&self, progress: Progress) {
        match (progress, &self.bar) {
            (Progress::Begins { bytes, .. }, Some(bar)) => bar.set_length(bytes),
            (Progress::Begins { files, bytes }, None) if !self.is_quiet && files > 0 => {
                super::print::note(&format!("writing {files} files ({bytes} bytes) to {}", self.target));
            }
            (Progress::Wrote(bytes), Some(bar)) => bar.inc(bytes),
            (Progress::Begins { .. } | Progress::Wrote(_), None) => {}
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
