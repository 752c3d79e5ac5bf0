//! `initramfs-modules`, which the generators ask, and the end of a run that changed what they take.

use std::collections::BTreeSet;

use dkms_engine::package::KernelId;
use dkms_engine::tree::Tree;

use super::context::Context;
use super::failure::Failure;
use crate::apply;
use crate::exit::Exit;
use crate::initramfs::{self, Seen};
use crate::report::progress::{ProgressEvent, print_text};

/// Prints the modules for the initramfs of a kernel, a line each, or those that it must not load.
pub(super) fn list(context: &Context, release: &str, is_left_out: bool) -> Result<Exit, Failure> {
    let tree = context.tree()?;
    let names = if is_left_out {
        initramfs::left_out
    } else {
        initramfs::modules
    };
    names_of(&tree, release, names).iter().for_each(print_text);
    Ok(Exit::Converged)
}

fn names_of(tree: &Tree, release: &str, names: fn(&Tree, &KernelId) -> BTreeSet<String>) -> BTreeSet<String> {
    let kernels = tree.installed_kernels().into_iter();
    let kernels = kernels.filter(|kernel| kernel.release == release);
    kernels.flat_map(|kernel| names(tree, &kernel)).collect()
}

/// Makes the initramfs of a kernel again if the trial of modules that were left out of it has ended. Where the generator fails, the next boot
/// tries it again.
pub(super) fn update(context: &Context, release: &str) -> Result<Exit, Failure> {
    let root = context.root();
    let _lock = context.writer()?;
    let ended = apply::no_longer_left_out(root, release);
    if ended.is_empty() {
        return Ok(Exit::Converged);
    }
    let listed = names_of(&context.tree()?, release, initramfs::modules);
    let has_some = listed.iter().any(|module| ended.contains(&module.replace('-', "_")));
    if !has_some || make(context, release) != Generated::Failed {
        apply::end_left_out(root, release).map_err(Failure::writing(&root.join("/etc/modprobe.d")))?;
    }
    Ok(Exit::Converged)
}

/// Makes the initramfs again of each kernel for which what belongs there has changed since `before`. Where that fails, the modules are
/// installed all the same.
pub(super) fn renew(context: &Context, tree: &Tree, before: &Seen) {
    for release in Seen::of(tree).changed_since(before) {
        if make(context, &release) == Generated::Yes {
            warn_of_untried(context, tree, &release);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Generated {
    Yes,
    /// This kernel has none.
    None,
    Failed,
}

fn make(context: &Context, release: &str) -> Generated {
    let Some(command) = initramfs::command(context.root(), release) else {
        return Generated::None;
    };
    context.reporter.report(ProgressEvent::Initramfs {
        kernel: release.to_owned(),
    });
    let Err(message) = initramfs::make(context.root(), &command) else {
        return Generated::Yes;
    };
    context.reporter.report(ProgressEvent::Warning {
        text: format!(
            "the initramfs of kernel {release} is as it was: {} failed: {message}",
            command[0]
        ),
        hint: Some(command.join(" ")),
    });
    Generated::Failed
}

/// Says that a new build is in the initramfs of the running kernel, because this machine may need it to start.
fn warn_of_untried(context: &Context, tree: &Tree, release: &str) {
    if context.host.running.as_deref() != Some(release) {
        return;
    }
    let on_trial = apply::on_trial(context.root(), release);
    let untried: Vec<String> = names_of(tree, release, initramfs::modules)
        .into_iter()
        .filter(|module| on_trial.contains(&module.replace('-', "_")))
        .collect();
    if untried.is_empty() {
        return;
    }
    context.reporter.report(ProgressEvent::Warning {
        text: format!(
            "this machine may need {} to start, so the new build is in the initramfs of kernel {release}: a start that it stops there is not undone",
            untried.join(", ")
        ),
        hint: Some("have another kernel in the boot menu before the restart, or go back: dkms-fetch rollback --last".to_owned()),
    });
}
