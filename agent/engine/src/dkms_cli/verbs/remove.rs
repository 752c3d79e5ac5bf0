//! `unbuild` and `remove`.

use crate::dkms_cli::exit::Exit;
use crate::dkms_cli::request::{Kernels, Package};
use crate::dkms_cli::session::Session;
use crate::install::InstallError;
use crate::package::{DkmsId, KernelId};

use super::run::{Run, on_each_kernel, on_kernels};

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
        tell_dependents(session, package, kernels);
        if run.installs.remove(package, kernels)? {
            run.session.screen.done(&package.subject(None), "removed");
        }
        Ok(())
    };
    on_kernels(session, &package, kernels, forgotten)
}

/// Reports the packages that depend on the removed one. Nothing is refused: distributions remove packages in any order.
fn tell_dependents(session: &Session, package: &DkmsId, kernels: &[KernelId]) {
    let tree = &session.tree;
    for kernel in kernels.iter().filter(|kernel| tree.is_installed(package, kernel)) {
        for dependent in tree.dependents(&package.module, kernel) {
            let text = format!("{dependent} is installed for {} and needs {package}", kernel.release);
            session
                .screen
                .warning(&text, Some(format!("dkms remove {dependent} -k {}", kernel.release)));
        }
    }
}
