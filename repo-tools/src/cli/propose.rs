//! `dkms-repo propose`: a dkms.conf for a source that has none.

use std::path::PathBuf;

use super::{Context, Failure, print};
use crate::ingest::{self, Limits};

/// Prints a dkms.conf for a source that has none, from what its makefiles build. Read it before `add --dkms-conf`: nothing is added here.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The source, as `add` takes it.
    path: PathBuf,
}

/// Prints the proposal.
pub(super) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let conf = ingest::propose(&args.path, Limits::default())?;
    if context.json {
        print::json(&serde_json::json!({ "path": args.path, "dkms_conf": conf }));
        return Ok(());
    }
    conf.lines().for_each(print::line);
    Ok(())
}
