//! The requests of a run: more can be added while builds run.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::BuildRequest;
use crate::tree::Authority;

/// How long a worker without a request keeps its make jobs: the next request may be on its way.
const KEEP_JOBS: Duration = Duration::from_millis(200);

/// The most packages that one make compiles: the first of them is ready only when the last one is.
const MAX_TOGETHER: usize = 32;

/// Requests for [`super::build_queued`], which carries them out in the order in which they were added.
#[derive(Debug, Default)]
pub struct BuildQueue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Request>,
    added: usize,
    is_closed: bool,
    /// How many workers build several requests together, some of which may come back.
    together: usize,
}

/// Why a package is built by itself, in words where it was tried with others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Alone(pub(super) Option<String>);

/// A request in the queue.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) number: usize,
    pub(super) request: BuildRequest,
    /// Set where it has to be built by itself.
    pub(super) alone: Option<Alone>,
    /// What it may be built with, once that was looked up.
    company: Option<Company>,
}

/// What decides which requests for one kernel may be built together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Company {
    /// Who answers for the source.
    pub(super) authority: Authority,
    /// The names of its modules, as the kernel has them: no two of one make may have the same.
    pub(super) modules: BTreeSet<String>,
}

/// What a worker does next.
#[derive(Debug)]
pub(super) enum Work<'q> {
    /// It builds one request.
    One(Request),
    /// It builds several by one make, then gives back those that have to be built by themselves.
    Together(Vec<Request>, Together<'q>),
}

/// Stands for the requests of [`Work::Together`]: until it is dropped, some of them may come back.
#[derive(Debug)]
pub(super) struct Together<'q>(&'q BuildQueue);

impl Together<'_> {
    /// Gives back the requests that have to be built by themselves.
    pub(super) fn give_back(&self, requests: Vec<Request>) {
        let mut state = self.0.state();
        requests
            .into_iter()
            .rev()
            .for_each(|request| state.waiting.push_front(request));
    }
}

impl Drop for Together<'_> {
    fn drop(&mut self) {
        self.0.state().together -= 1;
        self.0.changed.notify_all();
    }
}

impl BuildQueue {
    /// A closed queue with these requests.
    pub(super) fn of(requests: &[BuildRequest]) -> BuildQueue {
        let queue = BuildQueue::default();
        for request in requests {
            queue.add(request.clone());
        }
        queue.close();
        queue
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a request and returns its number: the first one has 0.
    pub fn add(&self, request: BuildRequest) -> usize {
        let mut state = self.state();
        let number = state.added;
        state.added += 1;
        state.waiting.push_back(Request {
            number,
            request,
            alone: None,
            company: None,
        });
        drop(state);
        self.changed.notify_one();
        number
    }

    /// No more requests come: [`super::build_queued`] returns when all are carried out.
    pub fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }

    /// What is to be done next; none when the queue is closed and empty. `idle` is called once while it is waited for. `company` says
    /// whether a request may be built together with others; it is asked at most once for each.
    pub(super) fn next(
        &self,
        idle: impl FnOnce(),
        company: impl Fn(&BuildRequest) -> Option<Company>,
    ) -> Option<Work<'_>> {
        let has_nothing = |state: &mut State| state.waiting.is_empty() && !(state.is_closed && state.together == 0);
        let mut state = self.state();
        if !state.is_closed {
            let waited = self.changed.wait_timeout_while(state, KEEP_JOBS, has_nothing);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if has_nothing(&mut state) {
            drop(state);
            idle();
            state = self
                .changed
                .wait_while(self.state(), has_nothing)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let first = state.waiting.pop_front()?;
        let others = take_company(&first, &mut state.waiting, company);
        if others.is_empty() {
            return Some(Work::One(first));
        }
        state.together += 1;
        drop(state);
        Some(Work::Together([vec![first], others].concat(), Together(self)))
    }
}

/// Takes from `waiting` what may be built together with `first`.
fn take_company(
    first: &Request,
    waiting: &mut VecDeque<Request>,
    company: impl Fn(&BuildRequest) -> Option<Company>,
) -> Vec<Request> {
    let kernel = &first.request.kernel;
    let may_join = |other: &Request| other.alone.is_none() && std::sync::Arc::ptr_eq(kernel, &other.request.kernel);
    if first.alone.is_some() || !waiting.iter().any(may_join) {
        return Vec::new();
    }
    let Some(Company { authority, mut modules }) = first.company.clone().or_else(|| company(&first.request)) else {
        return Vec::new();
    };
    let mut taken = Vec::new();
    for mut request in std::mem::take(waiting) {
        if may_join(&request) && taken.len() + 1 < MAX_TOGETHER {
            request.company = request.company.take().or_else(|| company(&request.request));
            match &request.company {
                None => request.alone = Some(Alone::default()),
                Some(other) if other.authority == authority && modules.is_disjoint(&other.modules) => {
                    modules.extend(other.modules.iter().cloned());
                    taken.push(request);
                    continue;
                }
                Some(_) => {}
            }
        }
        waiting.push_back(request);
    }
    taken
}
