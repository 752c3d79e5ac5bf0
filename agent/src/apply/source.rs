//! Adds a verified source to the DKMS tree.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dkms_engine::excerpt;
use dkms_engine::install::Session as InstallSession;
use dkms_engine::package::{DkmsId, KernelId};
use dkms_engine::sandbox::take::remove_tree;
use dkms_engine::script::ScriptConsent;
use dkms_engine::tree::{AddError, AddOptions, Authority};
use dkms_support::chain;

use super::authority;
use super::{Cause, Failure, Obtained, Worker};
use crate::candidate::OfferId;
use crate::disk_full::is_disk_full;
use crate::files;
use crate::state::StateError;

/// Where a source in the source tree comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was in the source tree before.
    Existing,
    /// This program added it.
    Added,
}

/// Removes a source that this program added and that nothing uses. The next run replaces one that stays.
pub(super) fn remove_unused(worker: &Worker<'_>, package: &DkmsId, origin: Origin) {
    let dir = worker.tree.source_tree().join(package.dashed());
    if origin == Origin::Added && !worker.tree.is_added(package) && remove_tree(&dir).is_ok() {
        let _ = worker.records.forget_source(&package.dashed());
    }
}

/// Adds the source. Where another source is in its place, that one is replaced if this program put it there and nothing was built of it
/// for another kernel: distributions ship different sources under one version.
pub(super) fn add(
    worker: &Worker<'_>,
    session: &mut InstallSession<'_>,
    offer: &OfferId,
    package: &DkmsId,
    kernel: &KernelId,
    obtained: &Obtained,
) -> Result<Origin, Failure> {
    let tree = worker.tree;
    authority::check_recipe(worker, offer, package, kernel, obtained)?;
    let scripts = authority::scripts(&offer.name, &obtained.manifest.recipe.root_scripts, worker.policy);
    let there = tree.source_tree().join(package.dashed());
    let is_there = fs::symlink_metadata(&there).is_ok();
    let is_same = is_there && same_tree(obtained.source.path(), &there).unwrap_or(false);
    let authority = signer(offer);
    if is_same && tree.is_added(package) {
        session.allow_scripts(package, scripts);
        note_signer(worker, package, &authority)?;
        return Ok(Origin::Existing);
    }
    if !is_same {
        let installed = worker.records.installed().unwrap_or_default();
        session.allow_scripts(
            package,
            authority::scripts_at_removal(package, &installed, worker.policy),
        );
        remove_other_source(worker, session, package, kernel, is_there)?;
        let bundle = &obtained.manifest.bundle.sha256;
        let noted = worker.records.note_source(&package.dashed(), bundle, worker.now);
        noted.map_err(|error| state_failure(&error))?;
    }
    let options = AddOptions {
        force: !is_same,
        scripts: ScriptConsent::Named([(package.clone(), scripts.clone())].into()),
        // In this tree a package of another role has its name.
        called: (package.module != offer.name).then(|| package.clone()),
        authority,
    };
    session.allow_scripts(package, scripts);
    let context = tree.context(package, kernel);
    let origin = if is_there { Origin::Existing } else { Origin::Added };
    let failure = match tree.add_directory(worker.lock, obtained.source.path(), &context, &options, worker.reporter) {
        Ok(added) if added.package == *package => return Ok(origin),
        Ok(added) => {
            let reason = format!("its dkms.conf calls it {}, its manifest {package}", added.package);
            Failure::of(Cause::Package, reason)
        }
        Err(AddError::ScriptNotAllowed(error)) => authority::refused(offer, error.to_string()),
        Err(error) => {
            let cause = match &error {
                error if is_disk_full(error) => Cause::NoSpace,
                AddError::Tree(_) | AddError::SharedPlace { .. } | AddError::Foreign { .. } => Cause::Machine,
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
    remove_unused(worker, package, origin);
    Err(failure)
}

/// Who signed a package: roles of different repositories have different keys, whatever their directories are called.
fn signer(offer: &OfferId) -> Authority {
    Authority::Signer(format!("{} {}", offer.repository, offer.scope))
}

/// Notes who signed a source that is in the tree already, if this program put it there: an earlier version of it made no such notes.
fn note_signer(worker: &Worker<'_>, package: &DkmsId, authority: &Authority) -> Result<(), Failure> {
    let ours = worker.records.source_of(&package.dashed());
    let is_ours = ours.map_err(|error| state_failure(&error))?.is_some();
    if !is_ours || worker.tree.authority(package).as_ref() == Some(authority) {
        return Ok(());
    }
    let noted = worker.tree.note_authority(worker.lock, package, authority);
    noted.map_err(|error| Failure {
        hint: error.hint(),
        ..Failure::of(Cause::Machine, chain(&error))
    })
}

/// Takes the other source of `package` out of the tree, if this program put it there.
fn remove_other_source(
    worker: &Worker<'_>,
    session: &mut InstallSession<'_>,
    package: &DkmsId,
    kernel: &KernelId,
    is_there: bool,
) -> Result<(), Failure> {
    let tree = worker.tree;
    let there = tree.source_tree().join(package.dashed());
    let ours = worker.records.source_of(&package.dashed());
    let is_ours = ours.map_err(|error| state_failure(&error))?.is_some();
    let is_added = tree.is_added(package);
    let refused = |reason: String| {
        let hint = if is_added {
            format!(
                "dkms remove {package} --all, and move its source away: mv {0} {0}.old",
                there.display()
            )
        } else {
            format!("move it away: mv {0} {0}.old", there.display())
        };
        Err(Failure {
            hint: Some(hint),
            ..Failure::of(Cause::Machine, reason)
        })
    };
    let built = tree.built_kernels(package);
    if !built.is_empty() && !is_ours || built.iter().any(|built| built != kernel) {
        return refused(format!("another source of {package} is in use ({})", there.display()));
    }
    if is_there && !is_ours {
        let what = "is there already and was not put there by dkms-fetch";
        return refused(format!("another source of {package} ({}) {what}", there.display()));
    }
    if is_added {
        session.remove(package, std::slice::from_ref(kernel)).map_err(|error| {
            let reason = chain(&error);
            Failure {
                hint: error.hint(),
                ..Failure::of(Cause::Machine, reason)
            }
        })?;
    }
    // What is left of a source whose removal was cut off: without its dkms.conf it could not be replaced.
    if is_there && !tree.is_added(package) && fs::symlink_metadata(there.join("dkms.conf")).is_err() {
        remove_tree(&there).map_err(|error| Failure {
            hint: files::hint(&there, &error),
            ..Failure::of(
                Cause::Machine,
                format!("{} cannot be removed: {error}", there.display()),
            )
        })?;
    }
    Ok(())
}

fn state_failure(error: &StateError) -> Failure {
    Failure {
        hint: error.hint(),
        ..Failure::of(Cause::Machine, chain(error))
    }
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
