//! `dkms-repo add`: packages into the staging area.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use dkms_engine::sandbox::Policy;

use super::{Context, Failure, print};
use crate::files;
use crate::inputs;
use crate::intake::{self, Intake, IntakeError, Outcome, Prepared};
use crate::package::Vendors;
use crate::stage::{Stage, StagedPackage};

/// Adds driver sources: directories with a dkms.conf, archives of them (tar, zip), packages (.deb, .rpm, .src.rpm, .dsc), or commits
/// (git+URL@TAG).
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to add: a path, or git+ADDRESS@TAG with an address of https, file, or a path of a checkout; a whole commit may stand for
    /// the tag.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Replace a version that is staged with another source.
    #[arg(long)]
    force: bool,
    /// The dkms.conf for sources that have none; `propose` prints one to begin with.
    #[arg(long, value_name = "FILE")]
    dkms_conf: Option<PathBuf>,
    /// What to do where packages cannot be confined; overrides the setting in repo.toml.
    #[arg(long, value_name = "POLICY")]
    sandbox: Option<Policy>,
}

/// The result for one path.
pub(super) struct Added {
    pub(super) outcome: Outcome,
    pub(super) package: StagedPackage,
    pub(super) notes: Vec<String>,
}

/// Adds all that can be added. What cannot is reported, and makes the command fail at the end.
pub(super) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let repository = context.repository()?;
    context.require_sandbox(&repository, args.sandbox)?;
    let stage = Stage::of(&repository);
    let conf = args.dkms_conf.as_deref().map(files::read).transpose()?;
    let from_file_alone = conf.is_none();
    let intake = Intake::on_this_machine(Vendors::of(&repository)).with_conf(conf);
    // Threads of this process take turns here, so that the lock's message is only printed for other processes.
    let turn = Mutex::new(());
    let results = side_by_side(&args.paths, |path| {
        match inputs::made_from(&stage, path).filter(|_| from_file_alone) {
            Some(package) => Ok(Added {
                outcome: Outcome::Unchanged,
                package,
                notes: Vec::new(),
            }),
            None => put(intake.prepare(path)?, path, &stage, &turn, args.force),
        }
    });
    let mut added = Vec::new();
    for (path, result) in args.paths.iter().zip(results) {
        match result {
            Ok(one) => {
                tell(&one);
                added.push(as_json(path, &one));
            }
            Err(error) => Failure::from(error).print(),
        }
    }
    let failed = args.paths.len() - added.len();
    if context.json {
        print::json(&serde_json::Value::Array(added));
    }
    match failed {
        0 => Ok(()),
        _ => Err(Failure::new(format!(
            "{failed} of {} not added",
            print::count(args.paths.len(), "package was", "packages were")
        ))),
    }
}

/// Puts a prepared package into the staging area, when it is this thread's turn.
pub(super) fn put(
    prepared: Prepared,
    path: &Path,
    stage: &Stage,
    turn: &Mutex<()>,
    force: bool,
) -> Result<Added, IntakeError> {
    let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Added {
        outcome: intake::stage(stage, &prepared, path, force)?,
        package: prepared.package,
        notes: prepared.notes,
    })
}

/// `work` on every item, as many at a time as there are processors; results in the items' order.
pub(super) fn side_by_side<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(items.len());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((index, item)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    items.get(index).map(|item| (index, item))
                } {
                    let result = work(item);
                    done.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((index, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Tells a person what became of a package.
pub(super) fn tell(added: &Added) {
    let word = match added.outcome {
        Outcome::Added => "added",
        Outcome::Unchanged => "unchanged",
        Outcome::Replaced => "replaced",
    };
    let manifest = &added.package.manifest;
    print::note(&format!("{word:<10}{} {}", manifest.name, manifest.version));
    for note in &added.notes {
        print::note(&format!("          {note}"));
    }
}

/// What became of a package, as programs read it.
pub(super) fn as_json(path: &Path, added: &Added) -> serde_json::Value {
    let manifest = &added.package.manifest;
    serde_json::json!({
        "path": path,
        "outcome": added.outcome,
        "name": manifest.name,
        "version": manifest.version,
        "dkms_version": manifest.dkms_version(),
        "bundle": manifest.bundle,
        "notes": added.notes,
    })
}
