//! `dkms-repo rollout`, `oem-sets` and `unstage`: whom a staged version is offered to.

use std::str::FromStr;

use dkms_index::document::record::Rollout;

use super::{Context, Failure, print, show};
use crate::recovery;
use crate::stage::{Stage, StagedPackage};

/// A package and its version in the index.
#[derive(Debug, Clone)]
struct PackageVersion {
    name: String,
    version: String,
}

impl FromStr for PackageVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, version) = text
            .split_once('@')
            .ok_or("expected NAME@VERSION, such as r8168@8.051.02-2")?;
        Ok(Self {
            name: name.to_owned(),
            version: version.to_owned(),
        })
    }
}

/// Offers a staged version to a share of all machines and to rings; takes effect with the next publish.
///
/// Which machines take part is fixed by the version: a larger share only adds machines.
#[derive(Debug, clap::Args)]
pub(super) struct RolloutArgs {
    /// The version, as NAME@VERSION.
    package: PackageVersion,
    /// How many of 1000 machines take part.
    #[arg(required_unless_present = "all", conflicts_with = "all", value_parser = clap::value_parser!(u16).range(0..=1000))]
    permille: Option<u16>,
    /// A ring of machines that take part in any case; may be repeated. Default: the rings that it has.
    #[arg(long = "ring", value_name = "RING", conflicts_with = "all")]
    rings: Vec<String>,
    /// Offer it to all machines.
    #[arg(long)]
    all: bool,
}

/// Limits a staged version to machines by their DMI; takes effect with the next publish.
#[derive(Debug, clap::Args)]
pub(super) struct OemSetsArgs {
    /// The version, as NAME@VERSION.
    package: PackageVersion,
    /// Patterns of the machines' DMI modaliases, such as 'dmi:*:svnLENOVO:*', in the place of those that it has.
    #[arg(required_unless_present = "clear", conflicts_with = "clear", value_name = "PATTERN")]
    machines: Vec<String>,
    /// Any machine.
    #[arg(long)]
    clear: bool,
}

/// Takes versions out of the staging area; the next publish no longer offers them. Machines that have one keep it.
#[derive(Debug, clap::Args)]
pub(super) struct UnstageArgs {
    /// The versions, as NAME@VERSION.
    #[arg(required = true)]
    packages: Vec<PackageVersion>,
}

/// Sets the rollout.
pub(super) fn run_rollout(args: RolloutArgs, context: &Context) -> Result<(), Failure> {
    change(&args.package, context, |staged| {
        let before = staged.record.rollout.take();
        staged.record.rollout = args.permille.map(|permille| {
            let (salt, rings) = before.map_or_else(
                || (format!("{}-{}", args.package.name, args.package.version), Vec::new()),
                |before| (before.salt, before.rings),
            );
            Rollout {
                permille,
                salt,
                rings: if args.rings.is_empty() { rings } else { args.rings },
            }
        });
    })
}

/// Sets the machines.
pub(super) fn run_oem_sets(args: OemSetsArgs, context: &Context) -> Result<(), Failure> {
    change(&args.package, context, |staged| {
        staged.manifest.oem_sets.clone_from(&args.machines);
        staged.record.oem_sets = args.machines;
    })
}

/// Changes a staged version and shows it.
fn change(package: &PackageVersion, context: &Context, change: impl FnOnce(&mut StagedPackage)) -> Result<(), Failure> {
    let repository = context.repository()?;
    let stage = Stage::of(&repository);
    let _lock = recovery::lock(repository.path())?;
    let mut staged = stage.get(&package.name, &package.version)?;
    change(&mut staged);
    stage.put(&staged)?;
    show::show(&[staged], context);
    Ok(())
}

/// Removes packages from the staging area.
pub(super) fn run_unstage(args: UnstageArgs, context: &Context) -> Result<(), Failure> {
    let repository = context.repository()?;
    let stage = Stage::of(&repository);
    let _lock = recovery::lock(repository.path())?;
    // All of them or none: a name that is wrong is no reason to have removed the others.
    let staged: Vec<StagedPackage> = args
        .packages
        .iter()
        .map(|package| stage.get(&package.name, &package.version))
        .collect::<Result<_, _>>()?;
    for package in &staged {
        stage.remove(&package.manifest.name, &package.manifest.version)?;
        print::note(&format!(
            "unstaged  {} {}",
            package.manifest.name, package.manifest.version
        ));
    }
    if context.json {
        show::show(&staged, context);
    }
    Ok(())
}
