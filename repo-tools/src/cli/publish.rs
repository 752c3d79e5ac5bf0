//! `dkms-repo publish` and `dkms-repo timestamp`.

use super::{Context, Failure, print};
use crate::authority;
use crate::publish::{Extent, Report, publish};
use crate::roles::VENDOR_PREFIX;

/// Signs and publishes all that is staged; without changes it writes nothing.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// First make keys and a role for each vendor that has none yet, as `delegate` does for one.
    #[arg(long)]
    delegate: bool,
}

/// Signs a new timestamp, and online roles that are due: cheap, for a timer.
#[derive(Debug, clap::Args)]
pub(super) struct TimestampArgs {}

/// Publishes everything.
pub(super) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let repository = context.repository()?;
    if args.delegate {
        let report = authority::delegate_missing(&repository, context.now)?;
        for role in report.signed.keys().filter(|role| role.starts_with(VENDOR_PREFIX)) {
            anstream::eprintln!("made {role}, with a key in {}", repository.keys_dir().display());
        }
    }
    tell(&publish(&repository, Extent::All, context.now)?, context);
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
        print::json(&report);
        return;
    }
    for (role, version) in &report.signed {
        anstream::println!("{role}\tversion {version}");
    }
    if report.signed.is_empty() {
        anstream::eprintln!("nothing to do: all is published");
    }
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
