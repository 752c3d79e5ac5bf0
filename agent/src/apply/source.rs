//! Adds a verified source to the DKMS tree.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dkms_engine::excerpt;
use dkms_engine::install::Session as InstallSession;
use dkms_engine::package::{DkmsId, KernelId};
use dkms_engine::tree::{AddError, AddOptions, Tree};

use super::{Cause, Failure, Obtained, Worker};
use crate::error_chain::{chain, is_disk_full};
use crate::files;

/// Where a source in the source tree comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was in the source tree before.
    Existing,
    /// This program added it.
    Added,
}

/// Removes a source that this program added and that nothing uses. The next run replaces one that stays.
pub(super) fn remove_unused(tree: &Tree, package: &DkmsId, origin: Origin) {
    let dir = tree.source_tree().join(package.dashed());
    if origin == Origin::Added && !tree.is_added(package) {
        let _ = fs::remove_dir_all(dir);
    }
}

/// Adds the source. Where the tree has the same version with another source, that one is replaced if this program installed it
/// and nothing was built of it for another kernel: distributions ship different sources under one version.
pub(super) fn add(
    worker: &Worker<'_>,
    session: &mut InstallSession<'_>,
    package: &DkmsId,
    kernel: &KernelId,
    obtained: &Obtained,
) -> Result<Origin, Failure> {
    let tree = worker.tree;
    let there = tree.source_tree().join(package.dashed());
    if tree.is_added(package) {
        if same_tree(obtained.source.path(), &there).unwrap_or(false) {
            return Ok(Origin::Existing);
        }
        let installed = worker.records.installed().unwrap_or_default();
        let is_ours = installed
            .iter()
            .any(|i| i.package == package.module && i.dkms_version == package.version);
        let is_idle = tree.built_kernels(package).is_empty();
        if !is_idle && !is_ours || tree.built_kernels(package).iter().any(|built| built != kernel) {
            let reason = format!("another source of {package} is in use ({})", there.display());
            let hint = Some(format!("dkms remove {package} --all"));
            return Err(Failure {
                hint,
                ..Failure::of(Cause::Machine, reason)
            });
        }
        session.remove(package, std::slice::from_ref(kernel)).map_err(|error| {
            let reason = chain(&error);
            Failure {
                hint: error.hint(),
                ..Failure::of(Cause::Machine, reason)
            }
        })?;
    }
    let options = AddOptions {
        force: true,
        run_scripts: worker.scripts_allowed,
    };
    let context = tree.context(package, kernel);
    let origin = if there.exists() {
        Origin::Existing
    } else {
        Origin::Added
    };
    let failure = match tree.add_directory(worker.lock, obtained.source.path(), &context, &options, worker.reporter) {
        Ok(added) if added.package == *package => return Ok(origin),
        Ok(added) => {
            let reason = format!("its dkms.conf calls it {}, its manifest {package}", added.package);
            Failure::of(Cause::Package, reason)
        }
        Err(error) => {
            let cause = match &error {
                error if is_disk_full(error) => Cause::NoSpace,
                AddError::Tree(_) => Cause::Machine,
                _ => Cause::Package,
            };
            let hint = match cause {
                Cause::NoSpace => Some(files::free_some(&there)),
                _ => error.hint(),
            };
            Failure {
                excerpt: excerpt::of(&error),
                hint,
                ..Failure::of(cause, chain(&error))
            }
        }
    };
    remove_unused(tree, package, origin);
    Err(failure)
}

/// Whether two source trees hold the same files with the same bytes.
fn same_tree(one: &Path, other: &Path) -> io::Result<bool> {
    let (ours, theirs) = (entries(one)?, entries(other)?);
    if ours.len() != theirs.len() {
        return Ok(false);
    }
    for ((name, ours), (other_name, theirs)) in ours.iter().zip(&theirs) {
        let (a, b) = (fs::symlink_metadata(ours)?, fs::symlink_metadata(theirs)?);
        let same = name == other_name
            && a.file_type() == b.file_type()
            && if a.is_dir() {
                same_tree(ours, theirs)?
            } else if a.is_symlink() {
                fs::read_link(ours)? == fs::read_link(theirs)?
            } else {
                a.len() == b.len() && fs::read(ours)? == fs::read(theirs)?
            };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

fn entries(dir: &Path) -> io::Result<BTreeMap<std::ffi::OsString, PathBuf>> {
    fs::read_dir(dir)?
        .map(|entry| entry.map(|entry| (entry.file_name(), entry.path())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_the_same_when_every_byte_is() {
        let tree = |files: &[(&str, &str)]| {
            let dir = tempfile::tempdir().unwrap();
            for (name, text) in files {
                let path = dir.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            dir
        };
        let check = |one: &[(&str, &str)], other: &[(&str, &str)], expected: bool| {
            assert_eq!(
                same_tree(tree(one).path(), tree(other).path()).unwrap(),
                expected,
                "{one:?} {other:?}"
            );
        };
        check(&[("a", "1"), ("d/b", "2")], &[("d/b", "2"), ("a", "1")], true);
        check(&[("a", "1")], &[("a", "2")], false);
        check(&[("a", "1")], &[("b", "1")], false);
        check(&[("a", "1")], &[("a", "1"), ("b", "")], false);
        check(&[("a", "1")], &[("a/x", "1")], false);
        check(&[("d/b", "2")], &[("d/b", "3")], false);
    }
}
