//! Writes results of trial builds to the staging area, package by package.

use std::sync::Mutex;

use super::error::ScanError;
use super::facts::{self, KernelFacts, Results, Trial};
use super::tracker::lock;
use super::trial::log_file;
use crate::files;
use crate::package::Vendors;
use crate::recovery;
use crate::stage::{Stage, StageError, StagedPackage};

/// One package after the scan.
#[derive(Debug)]
pub struct Scanned {
    /// As it is staged now.
    pub package: StagedPackage,
    /// What was tried now; the rest was known.
    pub trials: Vec<(usize, Trial)>,
    /// Why its results could not be saved.
    pub lost: Option<String>,
}

/// Saves results as they come, from any thread.
#[derive(Debug)]
pub struct ResultWriter<'a> {
    stage: &'a Stage,
    staged: &'a [StagedPackage],
    kernels: &'a [KernelFacts],
    date: &'a str,
    vendors: &'a Vendors,
    done: Mutex<Vec<Scanned>>,
}

impl<'a> ResultWriter<'a> {
    /// For results about `staged` packages and `kernels`, both by index, learnt on `date` (`YYYY-MM-DD`).
    pub fn new(
        stage: &'a Stage,
        staged: &'a [StagedPackage],
        kernels: &'a [KernelFacts],
        date: &'a str,
        vendors: &'a Vendors,
    ) -> Self {
        Self {
            stage,
            staged,
            kernels,
            date,
            vendors,
            done: Mutex::default(),
        }
    }

    /// Adds results to what is staged by now: others may have changed it while this one was being built. Results of
    /// another source, or that machines would refuse, are dropped and reported.
    ///
    /// # Errors
    /// When the staging area cannot be read or written.
    pub fn save(&self, index: usize, results: Results) -> Result<(), ScanError> {
        // Threads of this process take turns here, so that the lock's message is only printed for other processes.
        let mut done = lock(&self.done);
        let known = &self.staged[index];
        let (package, lost) = match self.learn(known, &results) {
            Ok(package) => (package, None),
            Err(ScanError::Stage(error @ (StageError::Invalid { .. } | StageError::NotStaged { .. }))) => {
                (known.clone(), Some(error.to_string()))
            }
            Err(ScanError::Replaced) => (known.clone(), Some(ScanError::Replaced.to_string())),
            Err(error) => return Err(error),
        };
        done.push(Scanned {
            package,
            trials: results.trials,
            lost,
        });
        Ok(())
    }

    fn learn(&self, known: &StagedPackage, results: &Results) -> Result<StagedPackage, ScanError> {
        let _lock = recovery::lock(self.stage.repository_dir())?;
        let now = self.stage.get(&known.manifest.name, &known.manifest.version)?;
        if now.manifest.bundle != known.manifest.bundle {
            return Err(ScanError::Replaced);
        }
        for (kernel, trial) in &results.trials {
            let path = log_file(self.stage, &now, &self.kernels[*kernel]);
            match results.logs.iter().find(|(of, _)| of == kernel) {
                Some((_, log)) => files::write_atomic(&path, log)?,
                None if matches!(trial, Trial::Built(_)) => files::remove(&path)?,
                None => {}
            }
        }
        let learnt = facts::learn(&now, self.kernels, results, self.date, self.vendors);
        if learnt != now {
            self.stage.put(&learnt)?;
        }
        Ok(learnt)
    }

    /// All packages that were saved.
    pub fn finish(self) -> Vec<Scanned> {
        self.done
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
