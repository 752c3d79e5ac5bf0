//! `dkms-repo gc`.

use std::num::NonZeroUsize;

use jiff::SignedDuration;

use super::{Context, Failure, print};
use crate::gc::{self, Policy};

/// Removes published files that only old states name, and bundles of packages that are no longer staged.
///
/// A state is kept if it is one of the newest or was current recently; roots are never removed. Machines and mirrors that are in
/// the middle of an update need old states, and so do deltas.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Keep this many of the newest states, the current one among them.
    #[arg(long, default_value = "20", value_name = "N")]
    keep: NonZeroUsize,
    /// Also keep the states that were current within this many days.
    #[arg(long, default_value_t = 7, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(..=36500))]
    older_than: u32,
    /// Only print what would be removed.
    #[arg(long)]
    dry_run: bool,
}

/// Prints each file that is removed.
pub(super) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let repository = context.repository()?;
    let lock = crate::recovery::lock(repository.path())?;
    let policy = Policy {
        keep: args.keep.get(),
        younger_than: SignedDuration::from_hours(24 * i64::from(args.older_than)),
    };
    let collected = gc::find(&repository, &lock, policy, context.now)?;
    if !args.dry_run {
        gc::remove(&repository, &lock, &collected)?;
    }
    let (files, bytes) = (collected.garbage.len(), collected.bytes());
    if context.json {
        anstream::println!(
            "{}",
            serde_json::json!({
                "dry_run": args.dry_run,
                "snapshots": collected.snapshots,
                "removed": collected.garbage,
                "bytes": bytes,
            })
        );
        return Ok(());
    }
    for one in &collected.garbage {
        print::line(&one.path.display().to_string());
    }
    let word = if args.dry_run { "would remove" } else { "removed" };
    let states = collected.snapshots.len();
    print::note(&format!(
        "{word} {} ({bytes} bytes); {}",
        print::count(files, "file", "files"),
        print::count(states, "state stays", "states stay")
    ));
    Ok(())
}
