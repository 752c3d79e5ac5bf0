//! `initramfs-modules`, which the generators ask, and the end of a run that changed what they take.

use std::collections::BTreeSet;

use dkms_engine::ko::in_kernel;
use dkms_engine::root::Root;
use dkms_engine::tree::Tree;

use super::args::{Common, InitramfsModules};
use super::context::{Context, root_of};
use super::failure::Failure;
use crate::apply;
use crate::exit::Exit;
use crate::initramfs::{self, Generator, Seen};
use crate::interrupt::Interrupt;
use crate::lock::RunLock;
use crate::report::progress::{ProgressEvent, Reporter, print_text};

/// Answers a generator. It is asked whenever a kernel is installed, so it needs no configuration: a mistake there must not keep a machine from
/// starting.
pub(super) fn run(options: &Common, asked: &InitramfsModules) -> Result<Exit, Failure> {
    let root = root_of(options)?;
    let InitramfsModules {
        release,
        left_out,
        update,
    } = asked;
    if *update {
        return make_complete(&root, &Reporter::new(options.json, options.verbose), release);
    }
    let names = if *left_out {
        apply::left_out(&root, release)
    } else {
        names_of(&Tree::of(&root)?, release)
    };
    names.iter().for_each(print_text);
    Ok(Exit::Converged)
}

fn names_of(tree: &Tree, release: &str) -> BTreeSet<String> {
    let kernels = tree.installed_kernels().into_iter();
    let kernels = kernels.filter(|kernel| kernel.release == release);
    kernels.flat_map(|kernel| initramfs::modules(tree, &kernel)).collect()
}

/// Those of the modules, in the kernel's spelling, that the initramfs has to have.
fn listed_of(modules: &BTreeSet<String>, tree: &Tree, release: &str) -> Vec<String> {
    let listed = names_of(tree, release).into_iter();
    listed.filter(|module| modules.contains(&in_kernel(module))).collect()
}

/// Makes the initramfs of a kernel again if the trial of modules that were left out of it has ended. Where the generator fails, the next boot
/// tries it again. Other runs do not wait for it.
fn make_complete(root: &Root, reporter: &Reporter, release: &str) -> Result<Exit, Failure> {
    let ended = apply::no_longer_left_out(root, release);
    if ended.is_empty() {
        return Ok(Exit::Converged);
    }
    // A signal does not end the generator in the middle of its work. If this fails, it may.
    let _ = Interrupt::listen();
    let has_some = !listed_of(&ended, &Tree::of(root)?, release).is_empty();
    if !has_some || make(root, reporter, release) != Generated::Failed {
        let _lock = RunLock::take(root)?;
        // What ended meanwhile is not in the image.
        if apply::no_longer_left_out(root, release) == ended {
            apply::end_left_out(root, release).map_err(Failure::writing(&root.join("/etc/modprobe.d")))?;
        }
    }
    Ok(Exit::Converged)
}

/// Makes the initramfs again of each kernel for which what belongs there has changed since `before`. Where that fails, the modules are
/// installed all the same.
pub(super) fn renew(context: &Context, tree: &Tree, before: &Seen) {
    for release in before.changed(tree) {
        if make(context.root(), &context.reporter, &release) == Generated::Yes {
            warn_of_untried(context, tree, &release);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Generated {
    Yes,
    /// This kernel has none that we know how to make.
    None,
    Failed,
}

fn make(root: &Root, reporter: &Reporter, release: &str) -> Generated {
    let Some(generator) = Generator::of(root, release) else {
        return Generated::None;
    };
    reporter.report(ProgressEvent::Initramfs {
        kernel: release.to_owned(),
    });
    let Err(message) = generator.run(root) else {
        return Generated::Yes;
    };
    reporter.report(ProgressEvent::Warning {
        text: format!("the initramfs of kernel {release} was not made, or is not complete: {message}"),
        hint: Some(generator.shown()),
    });
    Generated::Failed
}

/// Says that a new build is in the initramfs of the running kernel, because this machine may need it to start.
fn warn_of_untried(context: &Context, tree: &Tree, release: &str) {
    if context.host.running.as_deref() != Some(release) {
        return;
    }
    let on_trial = apply::on_trial(context.root(), release);
    let untried = listed_of(&on_trial, tree, release);
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
