//! `install` and `uninstall`.

use crate::dkms_cli::exit::Exit;
use crate::dkms_cli::request::{Kernels, Package, Subject};
use crate::dkms_cli::session::Session;
use crate::package::DkmsId;

use super::build::{Prepared, prepare};
use super::run::{Run, on_each_kernel};

/// `install`: adds and builds what is needed.
pub(in crate::dkms_cli) fn run(session: &Session, subject: &Subject, kernels: &Kernels) -> Exit {
    let Prepared { lock, jobs } = match prepare(session, subject, kernels) {
        Ok(prepared) => prepared,
        Err(exit) => return exit,
    };
    let mut run = Run::new(session, &lock);
    let done = run.build_and_install(&jobs);
    let exit = done.iter().fold(Exit::OK, |exit, done| exit.and(done.exit));
    exit.and(run.finish())
}

/// `uninstall`.
pub(in crate::dkms_cli) fn run_uninstall(session: &Session, package: &Package, kernels: &Kernels) -> Exit {
    on_each_kernel(session, &package.into(), kernels, |run, package, kernel| {
        match run.installs.uninstall(package, kernel) {
            Ok(true) => Ok(()),
            Ok(false) => {
                run.session
                    .screen
                    .done(&package.subject(Some(kernel)), "not installed, nothing to do");
                Ok(())
            }
            Err(error) => Err(error),
        }
    })
}

impl From<Package> for DkmsId {
    fn from(package: Package) -> DkmsId {
        DkmsId::from(&package)
    }
}
