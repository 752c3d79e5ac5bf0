//! `install` and `uninstall`, and the one run of installations that all verbs share.

use crate::dkms_cli::after;
use crate::dkms_cli::exit::Exit;
use crate::dkms_cli::request::{Kernels, Package, Subject};
use crate::dkms_cli::session::Session;
use crate::install::{self, InstallError, InstallOptions, InstallOutcome};
use crate::package::DkmsId;
use crate::tree::TreeLock;

use super::build::{Done, Job, Prepared, build, prepare};

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
    super::remove::on_each_kernel(session, &package.into(), kernels, |run, package, kernel| {
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

/// One run of installations and removals: one depmod for each kernel at its end.
pub(super) struct Run<'a> {
    pub(super) session: &'a Session,
    lock: &'a TreeLock,
    pub(super) installs: install::Session<'a>,
    changed: bool,
}

impl<'a> Run<'a> {
    pub(super) fn new(session: &'a Session, lock: &'a TreeLock) -> Run<'a> {
        let options = InstallOptions {
            // An upgrade by rpm must not end with nothing installed.
            force: session.settings.force || session.settings.rpm_safe_upgrade,
            force_version_override: session.settings.force_version_override,
            no_depmod: session.settings.no_depmod,
            symlink_modules: session.framework.symlink_modules,
            run_scripts: true,
        };
        let installs = install::Session::new(&session.tree, lock, options, &session.screen);
        Run {
            session,
            lock,
            installs,
            changed: false,
        }
    }

    /// Says that something was taken away or put in place.
    pub(super) fn note_change(&mut self) {
        self.changed = true;
    }

    /// Builds what has no build that is right, side by side, then installs what can be. The jobs must not depend on each other.
    pub(super) fn build_and_install(&mut self, jobs: &[Job]) -> Vec<Done> {
        let mut done = self.build_missing(jobs);
        for done in done.iter_mut().filter(|done| done.exit == Exit::OK) {
            done.exit = self.install(&done.job);
        }
        done
    }

    /// A build without headers to compare it with is taken as it is: binaries may have come from elsewhere.
    fn build_missing(&self, jobs: &[Job]) -> Vec<Done> {
        let tree = &self.session.tree;
        let is_given =
            |job: &Job| tree.is_built(&job.package, &job.kernel) && self.session.target(&job.kernel).is_err();
        let (given, open): (Vec<Job>, Vec<Job>) = jobs.iter().cloned().partition(is_given);
        let built = build(self.session, self.lock, &open, false);
        let given = given.into_iter().map(|job| Done {
            job,
            exit: Exit::OK,
            was_current: true,
        });
        let mut done: Vec<Done> = built.into_iter().chain(given).collect();
        done.sort_by_key(|done| jobs.iter().position(|job| *job == done.job));
        done
    }

    fn install(&mut self, job: &Job) -> Exit {
        let screen = self.session.screen;
        match self.installs.install(&job.package, &job.kernel) {
            Ok(InstallOutcome::Installed(_)) => {
                self.changed = true;
                Exit::OK
            }
            Ok(InstallOutcome::Already) => {
                screen.done(
                    &job.package.subject(Some(&job.kernel)),
                    "already installed (--force installs again)",
                );
                Exit::OK
            }
            Err(error) => {
                screen.error(&error, error.hint());
                exit_of(&error)
            }
        }
    }

    /// Runs depmod, and what the administrator wants to happen afterwards.
    pub(super) fn finish(self) -> Exit {
        let screen = self.session.screen;
        let exit = match self.installs.finish() {
            Ok(()) => Exit::OK,
            Err(errors) => {
                errors.iter().for_each(|error| screen.error(error, error.hint()));
                Exit::NOT_INSTALLABLE
            }
        };
        if self.changed {
            after::run(self.session);
        }
        exit
    }
}

/// The exit code of an installation that failed.
pub(super) fn exit_of(error: &InstallError) -> Exit {
    match error {
        InstallError::Tree(error) => error.into(),
        InstallError::Conf(error) => error.into(),
        InstallError::NotBuilt { .. } => Exit::BUILD,
        InstallError::NoKernel { .. } | InstallError::NotNewer { .. } => Exit::NOT_INSTALLABLE,
        InstallError::PreInstall { .. } => Exit(101),
    }
}

impl From<Package> for DkmsId {
    fn from(package: Package) -> DkmsId {
        DkmsId::from(&package)
    }
}
