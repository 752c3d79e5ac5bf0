//! `build`: compile a package for each kernel given.

use std::sync::Arc;

use crate::build::{BuildOptions, BuildOutcome, BuildRequest, build_all};
use crate::compat::exit::Exit;
use crate::compat::request::{Kernels, Subject};
use crate::compat::session::Session;
use crate::conf::evaluate;
use crate::event::{Event, Sink};
use crate::package::{KernelId, PackageId};
use crate::tree::TreeLock;

/// `build`.
pub(in crate::compat) fn run(session: &Session, subject: &Subject, kernels: &Kernels) -> Exit {
    let lock = match session.lock() {
        Ok(lock) => lock,
        Err(exit) => return exit,
    };
    let package = match super::add::ensure(session, &lock, subject) {
        Ok(package) => package,
        Err(exit) => return exit,
    };
    let kernels = match session.kernels_or_complain(kernels, Some(&package)) {
        Ok(kernels) => kernels,
        Err(exit) => return exit,
    };
    let (jobs, exit) = jobs_with_depends(session, &package, kernels);
    let done = build(session, &lock, &jobs, session.settings.force);
    for job in done.iter().filter(|done| done.was_current) {
        let subject = job.job.package.subject(Some(&job.job.kernel));
        session.screen.done(&subject, "already built (--force builds again)");
    }
    done.iter().fold(exit, |exit, done| exit.and(done.exit))
}

/// The jobs of one package that have what BUILD_DEPENDS names, and the exit code of those that have not, after saying so.
pub(super) fn jobs_with_depends(session: &Session, package: &PackageId, kernels: Vec<KernelId>) -> (Vec<Job>, Exit) {
    let tree = &session.tree;
    let (mut jobs, mut exit) = (Vec::new(), Exit::OK);
    for kernel in kernels {
        let conf = evaluate(&tree.source_dir(package), &tree.context(package, &kernel)).ok();
        let is_there = |name: &String| {
            let versions = tree.packages().into_iter().filter(|other| other.module == *name);
            tree.installed_version(name, &kernel).is_some()
                || versions.into_iter().any(|other| tree.is_built(&other, &kernel))
        };
        let depends = conf.map(|conf| conf.build_depends).unwrap_or_default();
        match depends.iter().find(|name| !is_there(name)) {
            Some(name) if !session.settings.force => {
                let subject = package.subject(Some(&kernel));
                let hint = format!(
                    "dkms status -m {name}; then dkms install {name}/VERSION -k {}",
                    kernel.release
                );
                session.screen.complaint(
                    &format!("{subject}: needs {name}, which is not built for that kernel"),
                    Some(hint),
                );
                exit = exit.and(Exit::DEPENDS);
            }
            _ => jobs.push(Job {
                package: package.clone(),
                kernel,
            }),
        }
    }
    (jobs, exit)
}

/// A package to build for a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) package: PackageId,
    pub(super) kernel: KernelId,
}

/// How a job ended.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) job: Job,
    pub(super) exit: Exit,
    /// There was a build that is still right.
    pub(super) was_current: bool,
}

/// Builds all jobs side by side and tells what failed. They must not depend on each other. Answers in their order.
pub(super) fn build(session: &Session, lock: &TreeLock, jobs: &[Job], force: bool) -> Vec<Done> {
    let mut done: Vec<Option<Done>> = jobs.iter().map(|_| None).collect();
    let (mut requests, mut places) = (Vec::new(), Vec::new());
    for (place, job) in jobs.iter().enumerate() {
        match session.target(&job.kernel) {
            Ok(kernel) => {
                let mut request = BuildRequest::new(job.package.clone(), Arc::new(kernel));
                request.force = force;
                request.conf_file.clone_from(&session.settings.conf);
                request.directives = session.directives();
                requests.push(request);
                places.push(place);
            }
            Err(error) => {
                let exit = Exit::from(&error);
                session.screen.error(&error, error.hint());
                done[place] = Some(Done {
                    job: job.clone(),
                    exit,
                    was_current: false,
                });
            }
        }
    }
    let mut options = BuildOptions::new(jiff::Timestamp::now());
    options.jobs = session.framework.jobs();
    let outcomes = build_all(&session.tree, lock, &requests, &options, &Quietly(session));
    for (place, outcome) in places.into_iter().zip(outcomes) {
        let exit = explain(session, &outcome);
        let was_current = matches!(outcome, BuildOutcome::Current(_));
        done[place] = Some(Done {
            job: jobs[place].clone(),
            exit,
            was_current,
        });
    }
    done.into_iter().flatten().collect()
}

/// Passes events on, but for failures: [`explain`] says more about them.
struct Quietly<'a>(&'a Session);

impl Sink for Quietly<'_> {
    fn emit(&self, event: Event) {
        if !matches!(event, Event::Failed { .. }) {
            self.0.screen.emit(event);
        }
    }
}

fn explain(session: &Session, outcome: &BuildOutcome) -> Exit {
    match outcome {
        BuildOutcome::Built(_) | BuildOutcome::Current(_) => Exit::OK,
        BuildOutcome::Excluded { package, kernel, why } => {
            session
                .screen
                .say(&format!("{}: skipped, {why}", package.subject(Some(kernel))));
            Exit::EXCLUDED
        }
        BuildOutcome::Failed(failure) => {
            let subject = failure.package.subject(Some(&failure.kernel));
            session
                .screen
                .complaint(&format!("failed to build {subject}: {failure}"), failure.hint());
            session.screen.tail(failure.log.as_deref(), &failure.tail);
            Exit::from(&failure.error)
        }
    }
}
