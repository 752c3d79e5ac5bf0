//! `dkms-repo publish` and `dkms-repo timestamp`.

use super::push::{self, ToArgs};
use super::{Context, Failure, ceremony, print};
use crate::authority;
use crate::publish::{Extent, Report, prospect, publish};
use crate::push::{File, Options, Pushed};
use crate::repository::Repository;
use crate::roles::VENDOR_PREFIX;

/// Signs and publishes all that is staged; without changes it writes nothing.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// First make keys and a role for each vendor that has none yet, as `delegate` does for one.
    #[arg(long, conflicts_with = "dry_run")]
    delegate: bool,
    /// Only tell what would be written, and deleted, here and at every target. Needs the keys that publishing needs.
    #[arg(long)]
    dry_run: bool,
    /// Publish nothing; prepare what keys have to sign that are not here, for `sign` and `merge`.
    #[arg(long, conflicts_with_all = ["delegate", "dry_run", "to", "delete", "take_over"])]
    prepare: bool,
    #[command(flatten)]
    to: ToArgs,
    /// At the targets, also delete files of former states that public/ no longer has, since `gc` removed them.
    #[arg(long)]
    delete: bool,
    /// At the targets, replace metadata that another publisher wrote and never made visible.
    #[arg(long)]
    take_over: bool,
}

/// Signs a new timestamp, and online roles that are due: cheap, for a timer.
#[derive(Debug, clap::Args)]
pub(super) struct TimestampArgs {
    #[command(flatten)]
    to: ToArgs,
}

/// Publishes everything.
pub(super) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    if args.prepare {
        return ceremony::prepare(None, context);
    }
    let repository = context.repository()?;
    let options = Options {
        dry_run: args.dry_run,
        delete: args.delete,
        take_over: args.take_over,
        replace: false,
    };
    if args.dry_run {
        return foresee(&repository, &args.to, options, context);
    }
    if args.delegate {
        let report = authority::delegate_missing(&repository, context.now)?;
        for role in report.signed.keys().filter(|role| role.starts_with(VENDOR_PREFIX)) {
            anstream::eprintln!("made {role}, with a key in {}", repository.keys_dir().display());
        }
    }
    let report = publish(&repository, Extent::All, context.now)?;
    conclude(&repository, &report, &args.to, options, context)
}

/// Publishes a timestamp.
pub(super) fn run_timestamp(args: TimestampArgs, context: &Context) -> Result<(), Failure> {
    let repository = context.repository()?;
    let report = publish(&repository, Extent::Timestamp, context.now)?;
    conclude(&repository, &report, &args.to, Options::default(), context)
}

/// Tells what would be done.
fn foresee(repository: &Repository, to: &ToArgs, options: Options, context: &Context) -> Result<(), Failure> {
    let prospect = prospect(repository, Extent::All, context.now)?;
    let (pushed, failed) = push::push_tree(&prospect.tree, &push::targets(repository, to), options, context);
    let files = prospect.files.into_iter().map(|(path, bytes)| File { path, bytes });
    let files: Vec<File> = files.collect();
    if context.json {
        print_json(&prospect.report, Some(&files), &pushed);
    } else {
        for file in &files {
            print::line(&format!("write\tpublic/{}\t{} bytes", file.path, file.bytes));
        }
        for (role, version) in &prospect.report.signed {
            print::note(&format!("{role} would be signed as version {version}"));
        }
        push::warn(&prospect.report);
        push::tell(&pushed, true);
    }
    failed.map_or(Ok(()), Err)
}

/// Puts a publication to the targets and prints what was done.
pub(super) fn conclude(
    repository: &Repository,
    report: &Report,
    to: &ToArgs,
    options: Options,
    context: &Context,
) -> Result<(), Failure> {
    if !context.json {
        for (role, version) in &report.signed {
            anstream::println!("{role}\tversion {version}");
        }
        if report.signed.is_empty() {
            anstream::eprintln!("nothing to do: all is published");
        }
        push::warn(report);
    }
    let (pushed, failed) = push::push_to_all(repository, to, options, context)?;
    if context.json {
        print_json(report, None, &pushed);
    } else {
        push::tell(&pushed, false);
    }
    failed.map_or(Ok(()), Err)
}

/// One document; `would_write` is what a dry run found.
fn print_json(report: &Report, would_write: Option<&[File]>, pushed: &[Pushed]) {
    let mut document = serde_json::json!(report);
    if let Some(document) = document.as_object_mut() {
        document.insert("dry_run".to_owned(), would_write.is_some().into());
        document.extend(would_write.map(|files| ("would_write".to_owned(), serde_json::json!(files))));
        document.insert("to".to_owned(), serde_json::json!(pushed));
    }
    print::json(&document);
}
