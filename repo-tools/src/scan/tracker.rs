//! Which trials of a package are still outstanding, and what the finished ones showed.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dkms_engine::conf::DkmsConf;

use super::error::ScanError;
use super::facts::{OnResults, Results, Trial};

/// The trials of each package that is being built. The results of a package are handed over as soon as its last trial is recorded.
pub(super) struct Tracker<'a> {
    on_results: &'a OnResults<'a>,
    pending: Mutex<BTreeMap<usize, Pending>>,
    failure: Mutex<Option<ScanError>>,
}

struct Pending {
    /// Trials that are still to come.
    left: usize,
    results: Results,
}

impl<'a> Tracker<'a> {
    pub(super) fn new(on_results: &'a OnResults<'a>) -> Self {
        Self {
            on_results,
            pending: Mutex::default(),
            failure: Mutex::default(),
        }
    }

    /// Expects `left` trials of a package.
    pub(super) fn expect(&self, package: usize, left: usize, confs: Vec<DkmsConf>) {
        let results = Results {
            confs,
            ..Results::default()
        };
        lock(&self.pending).insert(package, Pending { left, results });
    }

    /// Records the outcome of a trial, with the log of a failed build.
    pub(super) fn record(&self, package: usize, kernel: usize, trial: Trial, log: Option<Vec<u8>>) {
        let mut pending = lock(&self.pending);
        let Some(entry) = pending.get_mut(&package) else { return };
        entry.results.logs.extend(log.map(|log| (kernel, log)));
        entry.results.trials.push((kernel, trial));
        entry.left = entry.left.saturating_sub(1);
        if entry.left > 0 {
            return;
        }
        let done = pending.remove(&package).map(|entry| entry.results).unwrap_or_default();
        drop(pending);
        if let Err(error) = (self.on_results)(package, done) {
            lock(&self.failure).get_or_insert(error);
        }
    }

    /// The first error in handing results over, if there was one.
    pub(super) fn first_error(&self) -> Result<(), ScanError> {
        lock(&self.failure).take().map_or(Ok(()), Err)
    }
}

/// The content of a mutex, also when a thread that held it panicked.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
