//! `initramfs-modules`, which the generators ask, and the end of a run that changed what they take.

use dkms_engine::package::KernelId;
use dkms_engine::tree::Tree;

use super::context::Context;
use super::failure::Failure;
use crate::exit::Exit;
use crate::initramfs::{self, Seen};
use crate::report::progress::{ProgressEvent, print_text};

/// Prints the modules for the initramfs of a kernel, a line each.
pub(super) fn list(context: &Context, release: &str) -> Result<Exit, Failure> {
    let tree = context.tree()?;
    let kernels = tree.installed_kernels();
    for kernel in kernels.iter().filter(|kernel| kernel.release == release) {
        modules(&tree, kernel);
    }
    Ok(Exit::Converged)
}

fn modules(tree: &Tree, kernel: &KernelId) {
    initramfs::modules(tree, kernel).iter().for_each(print_text);
}

/// Makes the initramfs again of each kernel for which what belongs there has changed since `before`. Where that fails, the modules are
/// installed all the same.
pub(super) fn renew(context: &Context, tree: &Tree, before: &Seen) {
    for release in Seen::of(tree).changed_since(before) {
        let Some(command) = initramfs::command(context.root(), &release) else {
            continue;
        };
        context.reporter.report(ProgressEvent::Initramfs {
            kernel: release.clone(),
        });
        if let Err(message) = initramfs::make(context.root(), &command) {
            context.reporter.report(ProgressEvent::Warning {
                text: format!(
                    "the initramfs of kernel {release} is as it was: {} failed: {message}",
                    command[0]
                ),
                hint: Some(command.join(" ")),
            });
        }
    }
}
