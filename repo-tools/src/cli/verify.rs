//! `dkms-repo verify`.

use std::path::PathBuf;

use super::{Context, Failure, print};
use crate::store::FIRST_ROOT;
use crate::verify::verify;

/// Verifies the published tree as a client would: all signatures, manifests and bundles.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The root that machines have pinned; default: the repository's first.
    #[arg(long, value_name = "ROOT.JSON")]
    from: Option<PathBuf>,
    /// A published tree elsewhere, such as a mirror's or on a medium.
    #[arg(long, value_name = "DIR")]
    public: Option<PathBuf>,
}

/// Prints what was verified; exit code 4 when a client would refuse any of it.
pub(super) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let public = match args.public {
        Some(public) => public,
        None => context.repository()?.public_dir(),
    };
    let root = args.from.unwrap_or_else(|| public.join(FIRST_ROOT));
    let verified = verify(&public, &root, context.now)?;
    if context.json {
        print::json(&verified);
    } else {
        anstream::println!(
            "{} records, {} manifests, {} bundles verified",
            verified.records,
            verified.manifests,
            verified.bundles
        );
        for problem in &verified.problems {
            print::note(&format!("{}: {}", problem.package, problem.why));
        }
    }
    if verified.problems.is_empty() {
        return Ok(());
    }
    let failure = Failure::new(format!(
        "{} packages could not be installed from it",
        verified.problems.len()
    ))
    .with_hint("publish again with `dkms-repo publish`, or restore public/ from a mirror");
    Err(if verified.problems.iter().any(|p| p.refused) {
        failure.refused()
    } else {
        failure
    })
}
