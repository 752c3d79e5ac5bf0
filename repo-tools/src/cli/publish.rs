//! `dkms-repo publish` and `dkms-repo timestamp`.

use super::{Context, Failure};
use crate::publish::{Extent, Report, publish};

/// Signs and publishes all that is staged; without changes it writes nothing.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Signs a new timestamp, and online roles that are due: cheap, for a timer.
#[derive(Debug, clap::Args)]
pub(super) struct TimestampArgs {}

/// Publishes everything.
pub(super) fn run(_: Args, context: &Context) -> Result<(), Failure> {
    tell(&publish(&context.repository()?, Extent::All, context.now)?, context);
    Ok(())
}

/// Publishes a timestamp.
pub(super) fn run_timestamp(_: TimestampArgs, context: &Context) -> Result<(), Failure> {
    tell(
        &publish(&context.repository()?, Extent::Timestamp, context.now)?,
        context,
    );
    Ok(())
}

/// Prints what was done.
pub(super) fn tell(report: &Report, context: &Context) {
    if context.json {
        anstream::println!("{}", serde_json::json!(report));
        return;
    }
    for (role, version) in &report.signed {
        anstream::println!("{role}\tversion {version}");
    }
    if report.signed.is_empty() {
        anstream::eprintln!("nothing to do: all is published");
    }
    for (role, expires) in &report.expiring {
        anstream::eprintln!("warning: {role} expires at {expires}, and its keys are not here");
    }
}
