//! One run of installations and removals, which the verbs share.

use std::cmp::Ordering;
use std::collections::{BTreeSet, VecDeque};

use crate::dkms_cli::after;
use crate::dkms_cli::exit::Exit;
use crate::dkms_cli::request::Kernels;
use crate::dkms_cli::session::Session;
use crate::install::{self, InstallError, InstallOptions, InstallOutcome};
use crate::kbuild::MissingDepends;
use crate::package::{DkmsId, KernelId};
use crate::script::ScriptConsent;
use crate::tree::{TreeError, TreeLock};
use crate::version;

use super::build::{Done, Job, build};

/// One run of installations and removals: one depmod for each kernel at its end.
pub(super) struct Run<'a> {
    pub(super) session: &'a Session,
    lock: &'a TreeLock,
    pub(super) installs: install::Session<'a>,
    /// What was installed or removed.
    changed: Vec<(DkmsId, KernelId)>,
}

impl<'a> Run<'a> {
    pub(super) fn new(session: &'a Session, lock: &'a TreeLock) -> Run<'a> {
        let options = InstallOptions {
            // An upgrade by rpm must not end with nothing installed.
            force: session.settings.force || session.settings.rpm_safe_upgrade,
            force_version_override: session.settings.force_version_override,
            no_depmod: session.settings.no_depmod,
            symlink_modules: session.framework.symlink_modules,
            scripts: ScriptConsent::All,
        };
        let installs = install::Session::new(&session.tree, lock, options, &session.screen);
        Run {
            session,
            lock,
            installs,
            changed: Vec::new(),
        }
    }

    /// Notes that something was installed or removed.
    pub(super) fn note_change(&mut self, package: &DkmsId, kernel: &KernelId) {
        self.changed.push((package.clone(), kernel.clone()));
    }

    /// Builds in parallel what has no up-to-date build, then installs what can be installed. The jobs must not depend on each other.
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
        if let Some(newer) = self.newer_version(&job.package, &job.kernel) {
            let (package, release) = (&job.package, &job.kernel.release);
            screen.complaint(
                &format!("{package} is not installed: version {newer} is installed for {release}, which is newer"),
                Some(format!("dkms install --force {package} -k {release}")),
            );
            return Exit::NOT_INSTALLABLE;
        }
        match self.installs.install(&job.package, &job.kernel) {
            Ok(InstallOutcome::Installed(_)) => {
                self.note_change(&job.package, &job.kernel);
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

    /// Builds again the packages with BUILD_DEPENDS_REBUILD that depend on what this run has installed, and those that depend on them in
    /// turn. Where they were installed, they are installed again.
    pub(super) fn follow(&mut self) -> Exit {
        let mut exit = Exit::OK;
        let mut seen = BTreeSet::new();
        let asked_for = self
            .changed
            .iter()
            .map(|(package, kernel)| (package.clone(), kernel.clone(), false));
        let mut queue: VecDeque<(DkmsId, KernelId, bool)> = asked_for.collect();
        while let Some((package, kernel, was_built)) = queue.pop_front() {
            let tree = &self.session.tree;
            let followers = tree.followers(&package.module, &kernel, was_built).into_iter();
            let jobs: Vec<Job> = followers
                .filter(|follower| seen.insert((follower.clone(), kernel.clone())))
                .map(|follower| Job {
                    package: follower,
                    kernel: kernel.clone(),
                    anew: true,
                    missing_depends: MissingDepends::Ignore,
                })
                .collect();
            let (installed, built): (Vec<Job>, Vec<Job>) = jobs
                .into_iter()
                .partition(|job| tree.is_installed(&job.package, &job.kernel));
            let mut done = self.build_missing(&built);
            done.extend(self.build_and_install(&installed));
            for done in done {
                exit = exit.and(done.exit);
                if done.exit == Exit::OK {
                    queue.push_back((done.job.package, done.job.kernel, true));
                }
            }
        }
        exit
    }

    /// The version that is in place, where that is a newer one and nothing says to replace it.
    fn newer_version(&self, package: &DkmsId, kernel: &KernelId) -> Option<String> {
        let settings = &self.session.settings;
        if settings.force || settings.force_version_override || settings.rpm_safe_upgrade {
            return None;
        }
        let installed = self.session.tree.installed_version(&package.module, kernel)?;
        (version::compare(&package.version, &installed) == Ordering::Less).then_some(installed)
    }

    /// Runs depmod, then the administrator's post_transaction.
    pub(super) fn finish(self) -> Exit {
        let screen = self.session.screen;
        let exit = match self.installs.finish() {
            Ok(()) => Exit::OK,
            Err(errors) => {
                errors.iter().for_each(|error| screen.error(error, error.hint()));
                Exit::NOT_INSTALLABLE
            }
        };
        if !self.changed.is_empty() {
            after::run(self.session, &self.changed);
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
        InstallError::PreInstall { .. } | InstallError::ScriptNotAllowed(_) => Exit(101),
    }
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

/// Does `work` for all kernels meant at once, under the lock, with one depmod at the end.
pub(super) fn on_kernels(
    session: &Session,
    package: &DkmsId,
    kernels: &Kernels,
    work: impl FnOnce(&mut Run<'_>, &DkmsId, &[KernelId]) -> Result<(), InstallError>,
) -> Exit {
    let lock = match session.lock() {
        Ok(lock) => lock,
        Err(exit) => return exit,
    };
    // A package whose source is gone can still be removed.
    if !session.tree.is_known(package) {
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
    for kernel in &kernels {
        run.note_change(package, kernel);
    }
    let exit = match work(&mut run, package, &kernels) {
        Ok(()) => Exit::OK,
        Err(error) => {
            session.screen.error(&error, error.hint());
            exit_of(&error)
        }
    };
    exit.and(run.finish())
}
