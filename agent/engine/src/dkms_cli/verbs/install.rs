//! `install` and `uninstall`.

use crate::dkms_cli::exit::Exit;
use crate::dkms_cli::request::{Kernels, Package, Subject};
use crate::dkms_cli::session::Session;
use crate::package::DkmsId;

use super::build::{Job, Prepared, prepare};
use super::run::{Run, on_each_kernel};

/// `install`: adds and builds what is needed.
pub(in crate::dkms_cli) fn run(session: &Session, subject: &Subject, kernels: &Kernels) -> Exit {
    let Prepared { lock, jobs } = match prepare(session, subject, kernels) {
        Ok(prepared) => prepared,
        Err(exit) => return exit,
    };
    let (lost, jobs): (Vec<Job>, Vec<Job>) = jobs
        .into_iter()
        .partition(|job| !session.settings.force && session.tree.has_lost_modules(&job.package, &job.kernel));
    for Job { package, kernel, .. } in &lost {
        let dir = session.tree.built_dir(package, kernel).join("module");
        session.screen.complaint(
            &format!(
                "{package} is not installed: modules of its build are missing in {}",
                dir.display()
            ),
            Some(format!("dkms build {package} -k {}", kernel.release)),
        );
    }
    let lost = lost.first().map_or(Exit::OK, |_| Exit::NOT_INSTALLABLE);
    let mut run = Run::new(session, &lock);
    let done = run.build_and_install(&jobs);
    let exit = done.iter().fold(Exit::OK, |exit, done| exit.and(done.exit));
    let followed = run.follow();
    lost.and(exit).and(followed).and(run.finish())
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
