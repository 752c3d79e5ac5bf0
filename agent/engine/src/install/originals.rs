//! The modules that ours replace: kept in the tree, and put back when ours go.
//!
//! `original_module/K/A/x.ko` holds the one that was there; several of one name lie in `collisions/` below the path they came from.
//! `origins.json` says where each one belongs. An archive of upstream 3.4 has a file `x.ko.origin` beside each module instead;
//! an archive of an older upstream has neither, and modules go where its rule says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::transaction::Transaction;
use crate::fsutil::same_content;
use crate::ko::module_name;
use crate::package::KernelId;
use crate::tree::{RecordedModule, Tree};

const ORIGINS: &str = "origins.json";

/// Every module file below a kernel's directory, by name with `_`.
#[derive(Debug, Default)]
pub(super) struct ModuleIndex {
    by_name: BTreeMap<String, Vec<PathBuf>>,
}

impl ModuleIndex {
    /// Walks through `modules_dir`. Links to directories, such as `build`, are not followed.
    pub(super) fn read(modules_dir: &Path) -> ModuleIndex {
        let mut by_name: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        let entries = WalkDir::new(modules_dir).sort_by_file_name().into_iter();
        for entry in entries
            .filter_map(Result::ok)
            .filter(|entry| !entry.file_type().is_dir())
        {
            if let Some(name) = module_name(entry.path()) {
                by_name
                    .entry(name.replace('-', "_"))
                    .or_default()
                    .push(entry.into_path());
            }
        }
        ModuleIndex { by_name }
    }

    /// The files of the module `name`, but for those in `weak-updates` and those that `ours` names.
    pub(super) fn others(&self, name: &str, ours: &[PathBuf]) -> Vec<&Path> {
        let found = self.by_name.get(&name.replace('-', "_"));
        found
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
            .filter(|path| !ours.iter().any(|our| our == path))
            .filter(|path| !path.iter().any(|part| part == "weak-updates"))
            .collect()
    }
}

/// Adds to `transaction` that the originals of `module` are archived. Returns their places, which are then free.
pub(super) fn archive(
    tree: &Tree,
    transaction: &mut Transaction<'_>,
    package: &str,
    kernel: &KernelId,
    found: &[(&RecordedModule, Vec<&Path>)],
) {
    let dir = tree.originals_dir(package, kernel);
    let modules_dir = tree.modules_dir(&kernel.release);
    let mut origins = read_origins(&dir);
    let before = origins.len();
    for (module, paths) in found {
        let main = preferred(module, paths, &modules_dir);
        for path in paths {
            let inside = path.strip_prefix(&modules_dir).unwrap_or(path);
            let name = Path::new(path.file_name().unwrap_or_default());
            let kept = if Some(*path) == main {
                name.to_owned()
            } else {
                Path::new("collisions").join(inside)
            };
            transaction.copy(path, &dir.join(&kept));
            transaction.remove(path);
            origins.insert(kept, inside.to_owned());
        }
    }
    if origins.len() > before {
        transaction.write(serde_json::to_vec(&origins).unwrap_or_default(), &dir.join(ORIGINS));
    }
}

/// The one that upstream takes for the original: in extra, in updates, where ours goes, or the only one there is.
fn preferred<'a>(module: &RecordedModule, paths: &[&'a Path], modules_dir: &Path) -> Option<&'a Path> {
    let declared = module.locations.iter().map(|l| l.trim_start_matches('/'));
    let places = ["extra", "updates"].into_iter().chain(declared);
    let in_place = |place: &str| {
        paths
            .iter()
            .copied()
            .find(|path| path.parent() == Some(&*modules_dir.join(place)))
    };
    places.into_iter().find_map(in_place).or(match paths {
        [only] => Some(*only),
        _ => None,
    })
}

/// Adds to `transaction` that all originals of `package` go back to where they were, and that the archive is removed.
pub(super) fn restore(
    tree: &Tree,
    transaction: &mut Transaction<'_>,
    package: &str,
    kernel: &KernelId,
    modules: &[RecordedModule],
) -> Vec<PathBuf> {
    let dir = tree.originals_dir(package, kernel);
    if !dir.is_dir() {
        return Vec::new();
    }
    let modules_dir = tree.modules_dir(&kernel.release);
    let origins = read_origins(&dir);
    let mut restored = Vec::new();
    let files = WalkDir::new(&dir)
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file());
    for entry in files {
        let kept = entry.path().strip_prefix(&dir).unwrap_or(entry.path());
        let Some(name) = module_name(kept) else {
            continue;
        };
        let inside = origins
            .get(kept)
            .cloned()
            .or_else(|| upstream_origin(tree, entry.path(), &modules_dir))
            .or_else(|| kept.strip_prefix("collisions").ok().map(Path::to_owned));
        let by_rule = || {
            let module = modules.iter().find(|module| module.name == name)?;
            let location = module.locations.last()?.trim_start_matches('/').to_owned();
            Some(Path::new(&location).join(kept.file_name()?))
        };
        if let Some(inside) = inside.or_else(by_rule).filter(|path| is_inside(path)) {
            let to = modules_dir.join(inside);
            transaction.copy(entry.path(), &to);
            restored.push(to);
        }
    }
    transaction.remove(&dir);
    let module_dir = tree.module_dir(package);
    transaction.prune(dir.parent().unwrap_or(&dir), &module_dir);
    restored
}

/// Adds to `transaction` that the module which is archived as an original of `package` is removed from the archive, if it is the file
/// `built`: that one is being uninstalled and must not be put back.
pub(super) fn forget(tree: &Tree, transaction: &mut Transaction<'_>, package: &str, kernel: &KernelId, built: &Path) {
    let dir = tree.originals_dir(package, kernel);
    let name = built.file_name().unwrap_or_default();
    let kept = dir.join(name);
    if !kept.is_file() || !same_content(&kept, built) {
        return;
    }
    let mut origins = read_origins(&dir);
    origins.remove(Path::new(name));
    transaction.remove(&kept);
    if origins.is_empty() {
        transaction.remove(&dir);
        transaction.prune(dir.parent().unwrap_or(&dir), &tree.module_dir(package));
    } else {
        transaction.write(serde_json::to_vec(&origins).unwrap_or_default(), &dir.join(ORIGINS));
    }
}

/// Where upstream 3.4 took the archived `module` from, below `modules_dir`.
fn upstream_origin(tree: &Tree, module: &Path, modules_dir: &Path) -> Option<PathBuf> {
    let mut name = module.file_name()?.to_owned();
    name.push(".origin");
    let text = fs::read_to_string(module.with_file_name(name)).ok()?;
    let from = tree.root().join(text.trim_end());
    from.strip_prefix(modules_dir).ok().map(Path::to_owned)
}

/// True for a relative path without `..`.
fn is_inside(path: &Path) -> bool {
    path.components()
        .all(|part| matches!(part, std::path::Component::Normal(_)))
}

fn read_origins(dir: &Path) -> BTreeMap<PathBuf, PathBuf> {
    fs::read(dir.join(ORIGINS))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}
