//! `dkms-repo list`: what is staged.

use super::{Context, Failure};
use crate::stage::Stage;

/// Lists the staged packages: name, version, directory of the manifest, number of alias patterns, build facts.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Prints the records as a JSON array, or one line for each package.
pub(super) fn run(_: Args, context: &Context) -> Result<(), Failure> {
    let packages = Stage::of(&context.repository()?).list()?;
    if context.json {
        let records: Vec<_> = packages.iter().map(|p| &p.record).collect();
        anstream::println!("{}", serde_json::json!(records));
        return Ok(());
    }
    for package in &packages {
        let (manifest, record) = (&package.manifest, &package.record);
        anstream::println!(
            "{}\t{}\t{}\t{} patterns\t{} build facts",
            manifest.name,
            manifest.version,
            manifest.scope,
            record.patterns.len(),
            record.builds.len()
        );
    }
    Ok(())
}
