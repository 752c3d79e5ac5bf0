//! `dkms-repo show`: one staged package.

use dkms_index::document::record::{PackageRecord, Status};

use super::{Context, Failure, print};
use crate::stage::{Stage, StagedPackage};

/// Shows all that is known about a staged package.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Its name.
    name: String,
    /// Its version; all of them if not given.
    version: Option<String>,
}

/// Prints manifest and record as JSON, or a text with the same facts.
pub(super) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let stage = Stage::of(&context.repository()?);
    let packages = match &args.version {
        Some(version) => vec![stage.get(&args.name, version)?],
        None => stage
            .list()?
            .into_iter()
            .filter(|p| p.manifest.name == args.name)
            .collect(),
    };
    if packages.is_empty() {
        return Err(Failure::new(format!("{} is not staged", args.name)).with_hint("dkms-repo list"));
    }
    show(&packages, context);
    Ok(())
}

/// Prints packages as `show` does.
pub(super) fn show(packages: &[StagedPackage], context: &Context) {
    if context.json {
        let all = packages
            .iter()
            .map(|p| serde_json::json!({ "manifest": p.manifest, "record": p.record }));
        print::json(&serde_json::Value::Array(all.collect()));
        return;
    }
    for package in packages {
        let (manifest, record) = (&package.manifest, &package.record);
        print::line(&format!("{} {}", manifest.name, manifest.version));
        let facts = [
            ("in the DKMS tree", manifest.dkms_version().to_owned()),
            ("summary", manifest.summary.clone()),
            ("license", manifest.license.clone()),
            ("home page", manifest.homepage.clone()),
            ("manifest", manifest.target_path()),
            (
                "bundle",
                format!("{} ({} bytes)", manifest.bundle.sha256, manifest.bundle.length),
            ),
            ("scripts as root", manifest.recipe.root_scripts.join(" ")),
            ("needs", manifest.recipe.build_depends.join(" ")),
            ("firmware", manifest.firmware.join(" ")),
            ("offered to", offered_to(record)),
            ("for the machines", manifest.oem_sets.join(" ")),
        ];
        for (what, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
            print::line(&format!("  {what}: {value}"));
        }
        for fact in &record.builds {
            let outcome = serde_json::to_value(fact.outcome).unwrap_or_default();
            let outcome = outcome.as_str().unwrap_or_default();
            print::line(&format!(
                "  {} {} by {} on {}: {outcome} {}",
                fact.kernel, fact.arch, fact.compiler, fact.date, fact.reason
            ));
        }
        for module in &manifest.modules {
            let (kind, patterns) = match module.aliases.as_slice() {
                [] => ("declared", &module.declared),
                _ => ("built", &module.aliases),
            };
            print::line(&format!(
                "  module {}: {} patterns ({kind})",
                module.name,
                patterns.len()
            ));
            for pattern in patterns {
                print::line(&format!("    {pattern}"));
            }
        }
    }
}

/// Whom the version is offered to; empty: all machines.
fn offered_to(record: &PackageRecord) -> String {
    let rollout = record.rollout.as_ref().map_or_else(String::new, |rollout| {
        let rings = match rollout.rings.as_slice() {
            [] => String::new(),
            rings => format!(" and the rings {}", rings.join(", ")),
        };
        format!("{} of 1000 machines{rings}", rollout.permille)
    });
    match record.status {
        Status::Active => rollout,
        Status::Withdrawn => "nobody: it is withdrawn".to_owned(),
    }
}
