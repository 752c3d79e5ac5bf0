//! How long a run may wait for metadata, in all: only the time in which it waits counts, and once however many files it waits for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Budget {
    total: Duration,
    spent: Mutex<Spent>,
}

#[derive(Debug)]
struct Spent {
    /// By waits that have ended.
    before: Duration,
    /// How many files are waited for now.
    waiting: usize,
    /// When the first of them began.
    since: Instant,
}

/// A file that is waited for, until it is dropped.
#[derive(Debug)]
pub(super) struct Waiting<'a>(&'a Budget);

impl Budget {
    pub(super) fn new(total: Duration) -> Self {
        Self {
            total,
            spent: Mutex::new(Spent {
                before: Duration::ZERO,
                waiting: 0,
                since: Instant::now(),
            }),
        }
    }

    /// Waits for one more file.
    pub(super) fn wait(&self) -> Waiting<'_> {
        let mut spent = self.spent();
        if spent.waiting == 0 {
            spent.since = Instant::now();
        }
        spent.waiting += 1;
        Waiting(self)
    }

    fn spent(&self) -> MutexGuard<'_, Spent> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting<'_> {
    /// When the budget is spent.
    pub(super) fn deadline(&self) -> Instant {
        let spent = self.0.spent();
        spent.since + self.0.total.saturating_sub(spent.before)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut spent = self.0.spent();
        spent.waiting -= 1;
        if spent.waiting == 0 {
            let waited = spent.since.elapsed();
            spent.before += waited;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_waits_count_and_those_at_the_same_time_once() {
        let budget = Budget::new(Duration::from_secs(90));
        let (first, second) = (budget.wait(), budget.wait());
        assert_eq!(first.deadline(), second.deadline());
        std::thread::sleep(Duration::from_millis(20));
        drop(first);
        assert_eq!(budget.spent().before, Duration::ZERO, "the second still waits");
        drop(second);
        let spent = budget.spent().before;
        assert!(spent >= Duration::from_millis(20), "{spent:?}");
        // A build between two files.
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(budget.spent().before, spent);
        let third = budget.wait();
        assert_eq!(
            third.deadline(),
            budget.spent().since + (Duration::from_secs(90) - spent)
        );
    }

    #[test]
    fn a_spent_budget_is_over_at_once() {
        let budget = Budget::new(Duration::from_millis(1));
        let first = budget.wait();
        std::thread::sleep(Duration::from_millis(5));
        drop(first);
        assert!(budget.wait().deadline() <= Instant::now());
    }
}
