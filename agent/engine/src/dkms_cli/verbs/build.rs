//! `build`: compile a package for each kernel given.

use std::sync::Arc;

use crate::dkms_cli::exit::Exit;
use crate::dkms_cli::request::{Kernels, Subject};
use crate::dkms_cli::session::Session;
use crate::event::{Event, Sink};
use crate::kbuild::{BuildOptions, BuildOutcome, BuildRequest, MissingDepends, build_all};
use crate::package::{DkmsId, KernelId};
use crate::tree::TreeLock;

/// `build`.
pub(in crate::dkms_cli) fn run(session: &Session, subject: &Subject, kernels: &Kernels) -> Exit {
    let Prepared { lock, jobs } = match prepare(session, subject, kernels) {
        Ok(prepared) => prepared,
        Err(exit) => return exit,
    };
    let done = build(session, &lock, &jobs, session.settings.force);
    for job in done.iter().filter(|done| done.was_current) {
        let subject = job.job.package.subject(Some(&job.job.kernel));
        session.screen.done(&subject, "already built (--force builds again)");
    }
    done.iter().fold(Exit::OK, |exit, done| exit.and(done.exit))
}

/// What `build` and `install` begin with: a package that is in the tree, and what is to be built of it.
pub(super) struct Prepared {
    pub(super) lock: TreeLock,
    pub(super) jobs: Vec<Job>,
}

/// Takes the lock, adds the package if it is not yet, and finds the kernels meant.
pub(super) fn prepare(session: &Session, subject: &Subject, kernels: &Kernels) -> Result<Prepared, Exit> {
    let lock = session.lock()?;
    let package = super::add::ensure(session, &lock, subject)?;
    let kernels = session.kernels_or_complain(kernels, Some(&package))?;
    let jobs = jobs_of(session, &package, kernels);
    Ok(Prepared { lock, jobs })
}

/// The jobs of one package. What BUILD_DEPENDS names has to be installed, unless they are forced.
fn jobs_of(session: &Session, package: &DkmsId, kernels: Vec<KernelId>) -> Vec<Job> {
    let missing_depends = if session.settings.force {
        MissingDepends::Warn
    } else {
        MissingDepends::Refuse
    };
    let job = |kernel| Job {
        package: package.clone(),
        kernel,
        anew: false,
        missing_depends,
    };
    kernels.into_iter().map(job).collect()
}

/// A package to build for a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) package: DkmsId,
    pub(super) kernel: KernelId,
    /// Build it even if there is an up-to-date build.
    pub(super) anew: bool,
    /// What to do where a package of BUILD_DEPENDS is not installed.
    pub(super) missing_depends: MissingDepends,
}

/// How a job ended.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) job: Job,
    pub(super) exit: Exit,
    /// There was an up-to-date build.
    pub(super) was_current: bool,
}

/// Builds all jobs in parallel and reports what failed. They must not depend on each other. Returns the results in the order of `jobs`.
pub(super) fn build(session: &Session, lock: &TreeLock, jobs: &[Job], force: bool) -> Vec<Done> {
    let mut done: Vec<Option<Done>> = jobs.iter().map(|_| None).collect();
    let (mut requests, mut places) = (Vec::new(), Vec::new());
    for (place, job) in jobs.iter().enumerate() {
        match session.target(&job.kernel) {
            Ok(kernel) => {
                let mut request = BuildRequest::new(job.package.clone(), kernel);
                request.force = force || job.anew;
                request.missing_depends = job.missing_depends;
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
    if !requests.is_empty() {
        for word in &session.framework.unsupported_compression {
            let text = format!("{word} is not supported by this dkms and is ignored");
            let hint = "grep -rn compress_ /etc/dkms/framework.conf /etc/dkms/framework.conf.d/";
            session.screen.warning(&text, Some(hint.to_owned()));
        }
    }
    let mut options = BuildOptions::new(jiff::Timestamp::now());
    options.jobs = session.framework.jobs();
    options.together = true;
    options.run_state = Arc::clone(&session.run_state);
    let outcomes = build_all(&session.tree, lock, &requests, &options, &WithoutFailures(session));
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

/// Passes on all events except failures, which [`explain`] reports in detail.
struct WithoutFailures<'a>(&'a Session);

impl Sink for WithoutFailures<'_> {
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
            session.screen.failure(failure);
            Exit::from(&failure.error)
        }
    }
}
