//! `dkms-repo lint`: what is wrong with the staged packages.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{Context, Failure, print};
use crate::lint::{self, InTree, Severity};
use crate::stage::Stage;

/// Examines the staged packages: claims of whole classes, licenses, scripts that run as root, drivers the kernel has itself.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Compare with the modules of this kernel: its directory below /lib/modules, or a copy of it.
    #[arg(long = "modules-dir", value_name = "DIR")]
    modules_dirs: Vec<PathBuf>,
    /// Fail on warnings, too.
    #[arg(long)]
    strict: bool,
}

/// Prints one finding a line, or a JSON array; fails when one is an error.
pub(super) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let packages = Stage::of(&context.repository()?).list()?;
    let kernels: Vec<InTree> = args
        .modules_dirs
        .iter()
        .map(|dir| InTree::read(dir))
        .collect::<Result<_, _>>()?;
    let findings = lint::lint(&packages, &kernels);
    if context.json {
        print::json(&findings);
    } else {
        for finding in &findings {
            let severity = match finding.severity {
                Severity::Note => "note",
                Severity::Warning => "warning",
                Severity::Error => "error",
            };
            print::line(&format!(
                "{} {}: {severity}: {}",
                finding.name, finding.version, finding.problem
            ));
        }
        let hints: BTreeSet<&str> = findings.iter().filter_map(|finding| finding.problem.hint()).collect();
        for hint in hints {
            print::note(&format!("hint: {hint}"));
        }
    }
    let limit = if args.strict {
        Severity::Warning
    } else {
        Severity::Error
    };
    match findings.iter().filter(|finding| finding.severity >= limit).count() {
        0 => Ok(()),
        count => Err(Failure::new(format!(
            "{count} findings must be corrected before publishing"
        ))),
    }
}
