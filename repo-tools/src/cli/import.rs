//! `dkms-repo import`: all drivers of an archive of a distribution.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use dkms_engine::sandbox::Policy;

use super::add::{Added, as_json, put, side_by_side, tell};
use super::{Context, Failure, print};
use crate::files::FileError;
use crate::import::{Archive, Offered};
use crate::ingest::{IngestError, Limits};
use crate::inputs;
use crate::intake::{Intake, IntakeError};
use crate::package::Vendors;
use crate::recipe::{self, Recipe};
use crate::stage::Stage;

/// Adds all drivers of an archive of a distribution. What is there is passed over, so that the same command brings what is new.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, clap::Subcommand)]
enum From {
    Debian(DebianArgs),
    Recipes(RecipesArgs),
}

/// Adds all *-dkms packages of an apt archive, in all their versions. Its index has to be signed by a key of the keyring; each package
/// has to be what the index says. Nothing is taken out that the archive no longer has.
#[derive(Debug, clap::Args)]
struct DebianArgs {
    /// The archive: the address before dists/, https://, http:// or file://.
    #[arg(long, value_name = "URL")]
    mirror: String,
    /// The keys that may sign its index, as a file of gpgv.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/usr/share/keyrings/debian-archive-keyring.gpg"
    )]
    keyring: PathBuf,
    /// A suite, such as bookworm or bookworm-backports; may be repeated.
    #[arg(long = "suite", value_name = "SUITE", default_value = "stable")]
    suites: Vec<String>,
    /// A component, such as contrib; may be repeated.
    #[arg(long = "component", value_name = "COMPONENT", default_value = "main")]
    components: Vec<String>,
    /// The architecture of packages that are not for all, as Debian names it.
    #[arg(long, value_name = "ARCH", default_value = "amd64")]
    arch: String,
    /// Only tell what would be added.
    #[arg(long)]
    dry_run: bool,
    /// What to do where packages cannot be confined; overrides the setting in repo.toml.
    #[arg(long, value_name = "POLICY")]
    sandbox: Option<Policy>,
}

/// Imports.
pub(super) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    match &args.from {
        From::Debian(args) => debian(args, context),
        From::Recipes(args) => from_recipes(args, context),
    }
}

/// Adds the drivers that recipes describe: small TOML files with the address of a git repository, a tag or commit, and what the source
/// lacks to be a package.
#[derive(Debug, clap::Args)]
struct RecipesArgs {
    /// A directory of recipes, one recipe, or the name of one that came with this program, such as xone; may be repeated.
    #[arg(required = true, value_name = "DIR|NAME")]
    recipes: Vec<PathBuf>,
    /// Also those that nobody has tried.
    #[arg(long)]
    unchecked: bool,
    /// Take the newest version that upstream has tagged, where a recipe says how it tags them (`tags`), instead of the revision that was
    /// looked at.
    #[arg(long)]
    newest: bool,
    /// Replace a version that is staged with another source.
    #[arg(long)]
    force: bool,
    /// What to do where packages cannot be confined; overrides the setting in repo.toml.
    #[arg(long, value_name = "POLICY")]
    sandbox: Option<Policy>,
}

fn from_recipes(args: &RecipesArgs, context: &Context) -> Result<(), Failure> {
    let repository = context.repository()?;
    context.require_sandbox(&repository, args.sandbox)?;
    let stage = Stage::of(&repository);
    let mut paths = Vec::new();
    for wanted in &args.recipes {
        paths.extend(recipe::find(wanted, &recipe::shared_places())?);
    }
    paths.sort();
    paths.dedup();
    let intake = Intake::on_this_machine(Vendors::of(&repository));
    let turn = Mutex::new(());
    let results = side_by_side(&paths, |path| -> Result<Option<Added>, Failure> {
        let recipe = Recipe::read(path)?;
        if recipe.unchecked.is_some() && !args.unchecked {
            return Ok(None);
        }
        let recipe = if args.newest { newest(path, recipe)? } else { recipe };
        let prepared = intake.prepare_recipe(path, &recipe)?;
        Ok(Some(put(prepared, path, &stage, &turn, args.force)?))
    });
    let tried = paths.iter().zip(results).map(|(path, result)| Tried {
        place: path,
        if_passed_over: format!("{}: it is unchecked; --unchecked takes it", path.display()),
        result,
    });
    conclude(tried.collect(), "recipes", context)
}

/// The recipe for the newest version, as far as that can be known.
fn newest(path: &Path, recipe: Recipe) -> Result<Recipe, Failure> {
    match recipe.newest(path)? {
        Some((newest, version)) => {
            print::note(&format!(
                "{}: version {version}, commit {}",
                path.display(),
                newest.revision
            ));
            Ok(newest)
        }
        None => {
            print::note(&format!(
                "{}: it does not say how versions are tagged, so its own revision is taken",
                path.display()
            ));
            Ok(recipe)
        }
    }
}

/// What became of one source.
struct Tried<'a> {
    place: &'a Path,
    /// Its name, and why it is not to be added.
    if_passed_over: String,
    /// `None` where it was passed over.
    result: Result<Option<Added>, Failure>,
}

/// Tells what became of each source. One that was not added makes the command fail.
fn conclude(tried: Vec<Tried<'_>>, what: &str, context: &Context) -> Result<(), Failure> {
    let (all, mut rows, mut failed) = (tried.len(), Vec::new(), 0);
    for one in tried {
        match one.result {
            Ok(Some(added)) => {
                tell(&added);
                rows.push(as_json(one.place, &added));
            }
            Ok(None) => print::note(&format!("passed over {}", one.if_passed_over)),
            Err(failure) => {
                failed += 1;
                failure.print();
            }
        }
    }
    if context.json {
        print::json(&serde_json::Value::Array(rows));
    }
    match failed {
        0 => Ok(()),
        _ => Err(Failure::new(format!("{failed} of {all} {what} were not added"))
            .with_hint("the others are added; the same command tries these again")),
    }
}

fn debian(args: &DebianArgs, context: &Context) -> Result<(), Failure> {
    let repository = context.repository()?;
    context.require_sandbox(&repository, args.sandbox)?;
    let stage = Stage::of(&repository);
    let archive = Archive::new(&args.mirror, &args.keyring)?;
    // The same file may be in several suites.
    let mut offered: BTreeMap<String, Offered> = BTreeMap::new();
    for suite in &args.suites {
        for package in archive.offered(suite, &args.components, &args.arch, context.now)? {
            offered.insert(package.sha256.clone(), package);
        }
    }
    let found = offered.len();
    let new: Vec<Offered> = offered
        .into_values()
        .filter(|package| inputs::made_from_digest(&stage, &package.sha256).is_none())
        .collect();
    print::note(&format!("{found} packages in the archive, {} of them new", new.len()));
    if args.dry_run {
        if context.json {
            print::json(&new);
        } else {
            new.iter()
                .for_each(|package| print::line(&format!("{} {}", package.package, package.version)));
        }
        return Ok(());
    }
    let intake = Intake::on_this_machine(Vendors::of(&repository));
    let turn = Mutex::new(());
    let results = side_by_side(&new, |package| take(package, &archive, &intake, &stage, &turn));
    let tried = new.iter().zip(results).map(|(package, result)| Tried {
        place: Path::new(&package.path),
        if_passed_over: format!("{} {}: it has no source", package.package, package.version),
        result,
    });
    conclude(tried.collect(), "packages", context)
}

/// Adds a package; `None` where it has no source for DKMS and only stands for another one.
fn take(
    package: &Offered,
    archive: &Archive<'_>,
    intake: &Intake,
    stage: &Stage,
    turn: &Mutex<()>,
) -> Result<Option<Added>, Failure> {
    let bytes = archive.file(package, Limits::default().packed_bytes)?;
    let scratch = tempfile::tempdir().map_err(FileError::on("create a directory in", &std::env::temp_dir()))?;
    // The name is shown in messages.
    let name = package.path.rsplit('/').next().unwrap_or(&package.package);
    let file = scratch.path().join(name);
    fs::write(&file, &bytes).map_err(FileError::on("write", &file))?;
    let prepared = match intake.prepare(&file) {
        Err(IntakeError::Ingest(IngestError::NoConf { .. })) => return Ok(None),
        other => other?,
    };
    Ok(Some(put(prepared, &file, stage, turn, false)?))
}
