//! What a kernel package's scripts ask for.

use crate::conf::evaluate;
use crate::dkms_cli::exit::Exit;
use crate::dkms_cli::request::{Hook, Kernels};
use crate::dkms_cli::session::Session;
use crate::package::{DkmsId, KernelId};

use super::remove::unbuild;
use super::run::Run;

/// `kernel_preinst`, `kernel_postinst`, `kernel_prerm`.
pub(in crate::dkms_cli) fn run(session: &Session, hook: Hook, kernels: &Kernels) -> Exit {
    let exit = match hook {
        // The exit code tells why, as for `autoinstall`.
        Hook::Postinst => return super::autoinstall::run(session, kernels),
        Hook::Preinst => unbuild_for(session, kernels, wants_autoinstall),
        Hook::Prerm => unbuild_for(session, kernels, |_, _, _| true),
    };
    if exit == Exit::OK { Exit::OK } else { Exit::HOOK }
}

/// Unbuilds every package built for the kernels that `wanted` picks.
fn unbuild_for(session: &Session, kernels: &Kernels, wanted: impl Fn(&Session, &DkmsId, &KernelId) -> bool) -> Exit {
    let kernels = match session.kernels_or_complain(kernels, None) {
        Ok(kernels) => kernels,
        Err(exit) => return exit,
    };
    let lock = match session.lock() {
        Ok(lock) => lock,
        Err(exit) => return exit,
    };
    let mut run = Run::new(session, &lock);
    let mut exit = Exit::OK;
    for package in session.tree.packages() {
        for kernel in &kernels {
            let is_meant = session.tree.built_dir(&package, kernel).is_dir() && wanted(session, &package, kernel);
            if !is_meant {
                continue;
            }
            run.note_change(&package, kernel);
            if let Err(error) = unbuild(&mut run, &package, kernel) {
                session.screen.error(&error, error.hint());
                exit = exit.and(Exit::HOOK);
            }
        }
    }
    exit.and(run.finish())
}

/// AUTOINSTALL, as it was when the package was built, else as it is now.
fn wants_autoinstall(session: &Session, package: &DkmsId, kernel: &KernelId) -> bool {
    let tree = &session.tree;
    match tree.record(package, kernel) {
        Some(record) => record.autoinstall,
        None => evaluate(&tree.source_dir(package), &tree.context(package, kernel)).is_ok_and(|conf| conf.autoinstall),
    }
}
