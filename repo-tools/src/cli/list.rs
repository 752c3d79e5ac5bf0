//! `dkms-repo list`: what is staged.

use dkms_index::document::record::BuildOutcome;

use super::table::{self, Cell};
use super::{Context, Failure, print};
use crate::stage::Stage;

/// Lists the staged packages: name, version, directory of the manifest, number of alias patterns, kernels it builds on.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Prints the records as a JSON array, or one line for each package.
pub(super) fn run(_: Args, context: &Context) -> Result<(), Failure> {
    let packages = Stage::of(&context.repository()?).list()?;
    if context.json {
        let records: Vec<_> = packages.iter().map(|p| &p.record).collect();
        print::json(&records);
        return Ok(());
    }
    let rows = packages.iter().map(|package| {
        let (manifest, record) = (&package.manifest, &package.record);
        let built = record
            .builds
            .iter()
            .filter(|fact| fact.outcome == BuildOutcome::Built)
            .count();
        let builds = match record.builds.len() {
            0 => "not scanned".to_owned(),
            all => format!("{built} of {all}"),
        };
        vec![
            Cell::plain(&manifest.name),
            Cell::plain(&manifest.version),
            Cell::plain(&manifest.scope),
            Cell::plain(record.patterns.len().to_string()),
            Cell::plain(builds),
        ]
    });
    let header = ["PACKAGE", "VERSION", "DIRECTORY", "IDS", "BUILDS ON"].map(str::to_owned);
    table::print(&header, &rows.collect::<Vec<_>>());
    Ok(())
}
