//! `unbuild` and `remove`.

use crate::dkms_cli::exit::Exit;
use crate::dkms_cli::request::{Kernels, Package};
use crate::dkms_cli::session::Session;
use crate::install::InstallError;
use crate::package::{DkmsId, KernelId};
use crate::tree::TreeError;

use super::install::{Run, exit_of};

/// `unbuild`.
pub(in crate::dkms_cli) fn run_unbuild(session: &Session, package: &Package, kernels: &Kernels) -> Exit {
    on_each_kernel(session, &package.into(), kernels, unbuild)
}

pub(super) fn unbuild(run: &mut Run<'_>, package: &DkmsId, kernel: &KernelId) -> Result<(), InstallError> {
    let word = if run.installs.unbuild(package, kernel)? {
        "unbuilt"
    } else {
        "not built, nothing to do"
    };
    run.session.screen.done(&package.subject(Some(kernel)), word);
    Ok(())
}

/// `remove`.
pub(in crate::dkms_cli) fn run(session: &Session, package: &Package, kernels: &Kernels) -> Exit {
    let package = DkmsId::from(package);
    if session.was_added_in_this_rpm_transaction(&package) {
        session.screen.say(&format!(
            "{package}: kept, because this rpm transaction has just added it"
        ));
        return Exit::OK;
    }
    let forgotten = |run: &mut Run<'_>, package: &DkmsId, kernels: &[KernelId]| {
        if run.installs.remove(package, kernels)? {
            run.session.screen.done(&package.subject(None), "removed");
        }
        Ok(())
    };
    on_kernels(session, &package, kernels, forgotten)
}

/// Does `work` for each kernel meant, under the lock, with one depmod at the end. A failure on one kernel does not stop the others.
pub(super) fn on_each_kernel(
    session: &Session,
    package: &DkmsId,
    kernels: &Kernels,
    work: impl Fn(&mut Run<'_>, &DkmsId, &KernelId) -> Result<(), InstallError>,
) -> Exit {
    on_kernels(session, package, kernels, |run, package, kernels| {
        let mut first = Ok(());
        for kernel in kernels {
            if let Err(error) = work(run, package, kernel) {
                match first {
                    Ok(()) => first = Err(error),
                    Err(_) => run.session.screen.error(&error, error.hint()),
                }
            }
        }
        first
    })
}

fn on_kernels(
    session: &Session,
    package: &DkmsId,
    kernels: &Kernels,
    work: impl FnOnce(&mut Run<'_>, &DkmsId, &[KernelId]) -> Result<(), InstallError>,
) -> Exit {
    let lock = match session.lock() {
        Ok(lock) => lock,
        Err(exit) => return exit,
    };
    // A package whose source is gone can still be taken away: that is the way to be rid of it.
    if !session.tree.is_added(package) {
        let error = TreeError::NotAdded {
            package: package.clone(),
            tree: session.tree.path().to_owned(),
        };
        session.screen.error(&error, Some("dkms status".to_owned()));
        return Exit::from(&error);
    }
    let mut run = Run::new(session, &lock);
    let kernels = match kernels {
        Kernels::EveryBuilt => run.installs.kernels_of(package),
        _ => match session.kernels_or_complain(kernels, Some(package)) {
            Ok(kernels) => kernels,
            Err(exit) => return exit,
        },
    };
    run.note_change();
    let exit = match work(&mut run, package, &kernels) {
        Ok(()) => Exit::OK,
        Err(error) => {
            session.screen.error(&error, error.hint());
            exit_of(&error)
        }
    };
    exit.and(run.finish())
}
