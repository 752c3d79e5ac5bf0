//! `dkms-repo expiry`.

use std::process::ExitCode;

use dkms_support::openmetrics::Metrics;

use super::{Context, Failure, print};
use crate::expiry::{self, Lifetime, State};

/// Tells when signatures expire, for a timer: exit code 3 when one has expired or soon will.
///
/// Soon is when less than a third of its lifetime is left, or --within.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Soon is within so many days.
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(..=36500))]
    within: Option<u32>,
    /// Print OpenMetrics, for the text file collector of a monitoring system.
    #[arg(long, conflicts_with = "json")]
    openmetrics: bool,
}

/// Prints a line for each role; the code says whether somebody has to act.
pub(super) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let repository = context.repository()?;
    let lifetimes = expiry::lifetimes(&repository, args.within, context.now)?;
    let is_due = lifetimes.iter().any(|one| one.state != State::Good);
    if args.openmetrics {
        anstream::print!("{}", metrics(&repository.config().name, &lifetimes, context));
    } else if context.json {
        print::json(&lifetimes);
    } else {
        for one in &lifetimes {
            let state = match one.state {
                State::Good => "good",
                State::Soon => "expires soon",
                State::Expired => "expired",
            };
            print::line(&format!(
                "{}\tversion {}\tuntil {}\t{state}",
                one.role, one.version, one.expires
            ));
        }
        if is_due {
            anstream::eprintln!(
                "hint: online roles are renewed by `dkms-repo timestamp`, offline ones by `dkms-repo publish` with their keys, the root \
                 by `dkms-repo rotate`"
            );
        }
    }
    Ok(if is_due { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

/// What a family has of a role.
type Value = fn(&Lifetime) -> f64;

fn metrics(repository: &str, lifetimes: &[Lifetime], context: &Context) -> String {
    let mut out = Metrics::default();
    let families: [(&str, &str, Value); 3] = [
        (
            "dkms_repo_role_expires_timestamp_seconds",
            "When the newest signature of a role expires.",
            |one| one.expires.as_second() as f64,
        ),
        (
            "dkms_repo_role_due",
            "Whether the signature of a role has expired or soon will.",
            |one| f64::from(u8::from(one.state != State::Good)),
        ),
        ("dkms_repo_role_version", "The newest version of a role.", |one| {
            one.version as f64
        }),
    ];
    for (name, help, value) in families {
        out.family(name, help);
        for one in lifetimes {
            out.sample(name, &[("repository", repository), ("role", &one.role)], value(one));
        }
    }
    let made = "dkms_repo_report_timestamp_seconds";
    out.family(made, "When this report was made.");
    out.sample(made, &[], context.now.as_second() as f64);
    out.end()
}
