//! Building: from a source and a kernel to checked and signed modules in the tree.
//!
//! Plain packages of one authority are compiled together, by one make. Each of the others takes these steps:
//! copy → patch → PRE_BUILD → make → strip → check → sign → compress → POST_BUILD → store. Every build has a directory of its own, and the
//! last good build stays until the new one replaces it in one step. Builds run in parallel, each with a share of the make jobs. A failure
//! is a value: one broken package never stops the others.

mod check;
mod diagnose;
mod error;
mod job;
mod jobs;
mod key;
mod make;
mod once;
mod one;
mod place;
mod plain;
mod product;
mod queue;
mod retarget;
mod sign;
mod strip;
mod together;
mod workspace;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

pub use crate::diagnosis::Diagnosis;
pub use check::{CheckProblem, check_module};
pub use diagnose::{Surroundings, diagnose};
pub use error::{BuildError, BuildFailure};
pub use key::Stale;
pub(crate) use key::{Freshness, freshness};
pub use once::RunState;
pub(crate) use one::forget_failure;
pub use queue::BuildQueue;
pub use sign::{KeyPair, NewKeys, SignError, Signer, certificate_path, ensure_key_pair};
pub(crate) use sign::{enrolment, warn_of_shared_key};

use self::job::Shared;
use self::jobs::Jobs;
use self::plain::Plain;
use self::queue::{Alone, Company, Request, Work};
use crate::conf::{Directive, Exclusion};
use crate::event::{Event, Sink};
use crate::framework::processors;
use crate::kernel::KernelTarget;
use crate::package::{DkmsId, KernelId};
use crate::tree::{RecordedModule, Tree, TreeLock};

/// What a build does where a package that BUILD_DEPENDS names is not installed for its kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingDepends {
    /// It fails.
    Refuse,
    /// It goes on with a warning.
    Warn,
    /// It goes on: the caller has put the builds in order.
    Ignore,
}

/// One package version to build for one kernel.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// What, added to the tree already.
    pub package: DkmsId,
    /// The kernel.
    pub kernel: Arc<KernelTarget>,
    /// Build even if there is an up-to-date build.
    pub force: bool,
    /// What to do where a package of BUILD_DEPENDS is not installed.
    pub missing_depends: MissingDepends,
    /// The conf to use instead of the source's.
    pub conf_file: Option<PathBuf>,
    /// `--directive`, in order.
    pub directives: Vec<Directive>,
}

impl BuildRequest {
    /// A plain request.
    pub fn new(package: DkmsId, kernel: Arc<KernelTarget>) -> BuildRequest {
        BuildRequest {
            package,
            kernel,
            force: false,
            missing_depends: MissingDepends::Ignore,
            conf_file: None,
            directives: Vec::new(),
        }
    }

    /// The kernel's name.
    pub fn kernel_id(&self) -> KernelId {
        KernelId::from(&*self.kernel)
    }
}

/// How to build.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// The number of parallel jobs, over all builds together.
    pub jobs: usize,
    /// How long one `make` may take.
    pub time_limit: Duration,
    /// Sign where the kernel knows signatures, making a key if there is none.
    pub sign: bool,
    /// Run PRE_BUILD and POST_BUILD.
    pub run_scripts: bool,
    /// Compile plain packages of one authority by one make.
    pub together: bool,
    /// The time that goes into logs and records.
    pub now: Timestamp,
    /// Values and warnings that all builds of a run share; so do clones.
    pub run_state: Arc<RunState>,
}

impl BuildOptions {
    /// All processors, an hour for each make, signatures and scripts as the package has them, each package by itself.
    pub fn new(now: Timestamp) -> BuildOptions {
        BuildOptions {
            jobs: processors(),
            time_limit: Duration::from_secs(3600),
            sign: true,
            run_scripts: true,
            together: false,
            now,
            run_state: Arc::default(),
        }
    }
}

/// A build in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The package.
    pub package: DkmsId,
    /// The kernel.
    pub kernel: KernelId,
    /// Its modules, in the order of dkms.conf.
    pub modules: Vec<RecordedModule>,
    /// `V/K/A` in the tree: `module/` and `log/make.log`.
    pub dir: PathBuf,
}

/// How one request ended.
#[derive(Debug)]
pub enum BuildOutcome {
    /// There is a new build.
    Built(Built),
    /// There was a build from the same source, kernel and compiler already.
    Current(Built),
    /// The package says that it is not meant for this kernel.
    Excluded {
        /// The package.
        package: DkmsId,
        /// The kernel.
        kernel: KernelId,
        /// The condition that excludes the kernel.
        why: Exclusion,
    },
    /// It could not be built; what was there stays.
    Failed(BuildFailure),
}

impl BuildOutcome {
    /// The build that is there now, new or not.
    pub fn built(&self) -> Option<&Built> {
        match self {
            BuildOutcome::Built(built) | BuildOutcome::Current(built) => Some(built),
            _ => None,
        }
    }
}

/// Carries out all requests in parallel and returns the outcomes in the order of the requests.
///
/// The requests must not depend on each other: BUILD_DEPENDS is for the caller to order. The lock must be held until this returns.
pub fn build_all(
    tree: &Tree,
    lock: &TreeLock,
    requests: &[BuildRequest],
    options: &BuildOptions,
    sink: &dyn Sink,
) -> Vec<BuildOutcome> {
    let outcomes: Mutex<Vec<(usize, BuildOutcome)>> = Mutex::new(Vec::with_capacity(requests.len()));
    build_each(tree, lock, requests, options, sink, &|index, outcome| {
        outcomes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((index, outcome));
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|(index, _)| *index);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

/// Like [`build_all`], but passes each outcome to `ended` as soon as it is known, with the index of its request. `ended` is called by
/// the thread that built.
pub fn build_each(
    tree: &Tree,
    lock: &TreeLock,
    requests: &[BuildRequest],
    options: &BuildOptions,
    sink: &dyn Sink,
    ended: &(dyn Fn(usize, BuildOutcome) + Sync),
) {
    build_queued(
        tree,
        lock,
        &BuildQueue::of(requests),
        requests.len(),
        options,
        sink,
        ended,
    );
}

/// Like [`build_each`], for requests that are added to `queue` while others are carried out; returns when the queue is closed and
/// empty. At most `at_once` builds run side by side.
pub fn build_queued(
    tree: &Tree,
    lock: &TreeLock,
    queue: &BuildQueue,
    at_once: usize,
    options: &BuildOptions,
    sink: &dyn Sink,
    ended: &(dyn Fn(usize, BuildOutcome) + Sync),
) {
    let workers = options.jobs.max(1).min(at_once);
    let jobs = Jobs::new(options.jobs.max(1), workers);
    let signers = sign::Signers::new(tree, lock, options.sign, sink);
    std::thread::scope(|scope| {
        for worker in 0..workers {
            let (jobs, signers) = (&jobs, &signers);
            scope.spawn(move || {
                let tell = |number: usize, request: &BuildRequest, outcome: BuildOutcome| {
                    report(request, &outcome, sink);
                    ended(number, outcome);
                };
                let company = |request: &BuildRequest| options.together.then(|| company(tree, request))?;
                while let Some(work) = queue.next(|| jobs.rest(worker), company) {
                    let jobserver = match jobs.begin(worker) {
                        Ok(jobserver) => jobserver,
                        Err(error) => {
                            match work {
                                Work::One(Request { number, request, .. }) => {
                                    tell(number, &request, one::failed_to_start(&request, error));
                                }
                                Work::Together(requests, work) => work.give_back(one_by_one(requests)),
                            }
                            continue;
                        }
                    };
                    let shared = Shared {
                        tree,
                        lock,
                        options,
                        signers,
                        jobserver: &jobserver,
                        sink,
                    };
                    match work {
                        Work::One(Request {
                            number, request, alone, ..
                        }) => {
                            let outcome = one::build(&shared, &request, alone.unwrap_or_default());
                            jobs.end(worker);
                            tell(number, &request, outcome);
                        }
                        Work::Together(requests, work) => {
                            let left = together::build(&shared, requests, &tell);
                            jobs.end(worker);
                            work.give_back(left);
                        }
                    }
                }
                jobs.rest(worker);
            });
        }
    });
}

/// Requests that no longer may be compiled together.
fn one_by_one(mut requests: Vec<Request>) -> Vec<Request> {
    requests
        .iter_mut()
        .for_each(|request| request.alone = Some(Alone::default()));
    requests
}

/// What decides with which others a request may be compiled; None where it is compiled by itself.
fn company(tree: &Tree, request: &BuildRequest) -> Option<Company> {
    let plain = Plain::of(tree, request, &one::context(tree, request)).ok()?;
    Some(Company {
        authority: tree.authority(&request.package)?,
        modules: plain
            .makefile
            .modules
            .iter()
            .map(|name| name.replace('-', "_"))
            .collect(),
    })
}

fn report(request: &BuildRequest, outcome: &BuildOutcome, sink: &dyn Sink) {
    let subject = request.package.subject(Some(&request.kernel_id()));
    match outcome {
        BuildOutcome::Built(_) => sink.emit(Event::Finished {
            subject,
            step: crate::event::Step::Store,
        }),
        BuildOutcome::Failed(failure) => sink.emit(Event::Failed {
            subject,
            reason: failure.to_string(),
            log: failure.log.clone(),
        }),
        BuildOutcome::Current(_) | BuildOutcome::Excluded { .. } => {}
    }
}
