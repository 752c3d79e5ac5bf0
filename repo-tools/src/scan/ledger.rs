//! What is known so far of the packages in work.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dkms_engine::conf::DkmsConf;

use super::error::ScanError;
use super::facts::{Learnt, Results, Trial};

/// One page for each package in work. A package whose last trial is entered is handed over at once.
pub(super) struct Ledger<'a> {
    learnt: &'a Learnt<'a>,
    pages: Mutex<BTreeMap<usize, Page>>,
    failure: Mutex<Option<ScanError>>,
}

struct Page {
    /// Trials that are still to come.
    left: usize,
    results: Results,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(learnt: &'a Learnt<'a>) -> Self {
        Self {
            learnt,
            pages: Mutex::default(),
            failure: Mutex::default(),
        }
    }

    /// Begins with a package of which `left` trials are expected.
    pub(super) fn open(&self, package: usize, left: usize, confs: Vec<DkmsConf>) {
        let results = Results {
            confs,
            ..Results::default()
        };
        lock(&self.pages).insert(package, Page { left, results });
    }

    /// Enters a trial, with the log of a failed build.
    pub(super) fn enter(&self, package: usize, kernel: usize, trial: Trial, log: Option<Vec<u8>>) {
        let mut pages = lock(&self.pages);
        let Some(page) = pages.get_mut(&package) else { return };
        page.results.logs.extend(log.map(|log| (kernel, log)));
        page.results.trials.push((kernel, trial));
        page.left = page.left.saturating_sub(1);
        if page.left > 0 {
            return;
        }
        let done = pages.remove(&package).map(|page| page.results).unwrap_or_default();
        drop(pages);
        if let Err(error) = (self.learnt)(package, done) {
            lock(&self.failure).get_or_insert(error);
        }
    }

    /// The first failure to hand something over, if there was one.
    pub(super) fn settle(&self) -> Result<(), ScanError> {
        lock(&self.failure).take().map_or(Ok(()), Err)
    }
}

/// The content of a mutex, also when a thread that held it panicked.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
