//! The make jobs of a run, divided among the builds that run side by side.
//!
//! Each build has a jobserver of its own with its share of the jobs. With one jobserver for all, a package could take every token and
//! keep it. What a build did with its tokens is forgotten when it ends: the next build of the same worker begins with the whole share.
//!
//! A worker without a build lends its share to the builds that run. When it gets a build again, it takes a share back from what the next
//! builds of the others would get. A build keeps the tokens it was lent, so until it ends more than `jobs` processes may run.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::command::{Jobserver, JobserverHandle};

/// The shares of the workers of a run.
pub(super) struct Jobs {
    jobs: usize,
    workers: Mutex<Vec<Worker>>,
}

/// A thread that carries out one build after the other.
struct Worker {
    /// Its share; 0 while it has no work.
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
            jobs,
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
        if workers[worker].share == 0 {
            workers[worker].share = take_back(&mut workers, self.jobs);
        }
        let jobserver = Jobserver::new(workers[worker].share)?;
        workers[worker].running = Some(jobserver.handle());
        Ok(jobserver)
    }

    /// The build of `worker` has ended.
    pub(super) fn end(&self, worker: usize) {
        self.workers()[worker].running = None;
    }

    /// `worker` has no work: the others get its share, those with the smallest shares first.
    pub(super) fn rest(&self, worker: usize) {
        let mut workers = self.workers();
        let share = std::mem::take(&mut workers[worker].share);
        let mut added = vec![0; workers.len()];
        for _ in 0..share {
            let at_work = workers.iter_mut().enumerate().filter(|(_, other)| other.share > 0);
            // Where none is at work, the next one takes it.
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

/// The share of one more worker: what is free, and the rest from the largest shares.
fn take_back(workers: &mut [Worker], jobs: usize) -> usize {
    let at_work = workers.iter().filter(|other| other.share > 0).count();
    let wanted = (jobs / (at_work + 1)).max(1);
    let taken: usize = workers.iter().map(|other| other.share).sum();
    let mut free = jobs.saturating_sub(taken);
    while free < wanted {
        let largest = workers.iter_mut().filter(|other| other.share > 1);
        let Some(largest) = largest.max_by_key(|other| other.share) else {
            break;
        };
        largest.share -= 1;
        free += 1;
    }
    free.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_jobs() {
        let shares = |jobs: &Jobs| jobs.workers().iter().map(|worker| worker.share).collect::<Vec<_>>();
        let jobs = Jobs::new(8, 3);
        assert_eq!(shares(&jobs), [3, 3, 2]);
        jobs.rest(0);
        assert_eq!(shares(&jobs), [0, 4, 4]);
        jobs.rest(2);
        assert_eq!(shares(&jobs), [0, 8, 0]);
        jobs.rest(1);
        assert_eq!(shares(&jobs), [0, 0, 0]);
        jobs.begin(1).expect("a jobserver");
        assert_eq!(shares(&Jobs::new(1, 1)), [1]);

        // One that was without work takes its part again.
        jobs.begin(2).expect("a jobserver");
        assert_eq!(shares(&jobs), [0, 4, 4]);
        jobs.begin(0).expect("a jobserver");
        assert_eq!(shares(&jobs).iter().sum::<usize>(), 8);
        assert_eq!(shares(&jobs)[0], 2);
        for worker in 0..3 {
            jobs.rest(worker);
        }
        assert_eq!(shares(&jobs), [0, 0, 0]);
        jobs.begin(1).expect("a jobserver");
        assert_eq!(shares(&jobs), [0, 8, 0], "the first one takes all");
        let full = Jobs::new(1, 1);
        full.rest(0);
        full.begin(0).expect("a jobserver");
        assert_eq!(shares(&full), [1]);
    }
}
