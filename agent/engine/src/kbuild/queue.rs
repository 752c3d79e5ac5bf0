//! The requests of a run: more can be added while builds run.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::BuildRequest;

/// How long a worker without a request keeps its make jobs: the next request may be on its way.
const KEEP_JOBS: Duration = Duration::from_millis(200);

/// Requests for [`super::build_queued`], which carries them out in the order in which they were added.
#[derive(Debug, Default)]
pub struct BuildQueue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(usize, BuildRequest)>,
    added: usize,
    is_closed: bool,
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
        state.waiting.push_back((number, request));
        drop(state);
        self.changed.notify_one();
        number
    }

    /// No more requests come: [`super::build_queued`] returns when all are carried out.
    pub fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }

    /// The next request; none when the queue is closed and empty. `idle` is called once while it is waited for.
    pub(super) fn next(&self, idle: impl FnOnce()) -> Option<(usize, BuildRequest)> {
        let has_nothing = |state: &mut State| state.waiting.is_empty() && !state.is_closed;
        let (mut state, waited) = self
            .changed
            .wait_timeout_while(self.state(), KEEP_JOBS, has_nothing)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            drop(state);
            idle();
            state = self
                .changed
                .wait_while(self.state(), has_nothing)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting.pop_front()
    }
}
