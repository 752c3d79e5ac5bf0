//! The make jobs of a run, divided among the builds that run side by side.
//!
//! Each build has a jobserver of its own with its share of the jobs. With one jobserver for all, a package could take every token and
//! keep it. What a build did with its tokens is forgotten when it ends: the next build of the same worker begins with the whole share.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::command::{Jobserver, JobserverHandle};

/// The shares of the workers of a run.
pub(super) struct Jobs {
    workers: Mutex<Vec<Worker>>,
}

/// A thread that carries out one build after the other.
struct Worker {
    /// Its share; 0 once it has no more work.
    share: usize,
    /// Adds tokens to the build that runs now.
    running: Option<JobserverHandle>,
}

impl Jobs {
    /// Divides `jobs` among `workers`, of which there are not more.
    pub(super) fn new(jobs: usize, workers: usize) -> Jobs {
        let share = |worker| jobs / workers + usize::from(worker < jobs % workers);
        let worker = |worker| Worker {
            share: share(worker),
            running: None,
        };
        Jobs {
            workers: Mutex::new((0..workers).map(worker).collect()),
        }
    }

    fn workers(&self) -> MutexGuard<'_, Vec<Worker>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The jobserver of the next build of `worker`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn begin(&self, worker: usize) -> io::Result<Jobserver> {
        let mut workers = self.workers();
        let jobserver = Jobserver::new(workers[worker].share)?;
        workers[worker].running = Some(jobserver.handle());
        Ok(jobserver)
    }

    /// The build of `worker` has ended.
    pub(super) fn end(&self, worker: usize) {
        self.workers()[worker].running = None;
    }

    /// `worker` has no more work: the others get its share, those with the smallest shares first.
    pub(super) fn leave(&self, worker: usize) {
        let mut workers = self.workers();
        let share = std::mem::take(&mut workers[worker].share);
        let mut added = vec![0; workers.len()];
        for _ in 0..share {
            let at_work = workers.iter_mut().enumerate().filter(|(_, other)| other.share > 0);
            let Some((index, least)) = at_work.min_by_key(|(_, other)| other.share) else {
                return;
            };
            least.share += 1;
            added[index] += 1;
        }
        let running: Vec<_> = workers.iter().map(|other| other.running.clone()).collect();
        // Not under the lock: a write may wait for a package that fills its pipe at this moment.
        drop(workers);
        for (handle, tokens) in running.into_iter().zip(added) {
            // A build that has just ended needs none.
            let _ = handle.map(|handle| handle.add(tokens));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_jobs() {
        let shares = |jobs: &Jobs| jobs.workers().iter().map(|worker| worker.share).collect::<Vec<_>>();
        let jobs = Jobs::new(8, 3);
        assert_eq!(shares(&jobs), [3, 3, 2]);
        jobs.leave(0);
        assert_eq!(shares(&jobs), [0, 4, 4]);
        jobs.leave(2);
        assert_eq!(shares(&jobs), [0, 8, 0]);
        jobs.leave(1);
        assert_eq!(shares(&jobs), [0, 0, 0]);
        assert_eq!(shares(&Jobs::new(1, 1)), [1]);
    }
}
