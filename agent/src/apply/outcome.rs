//! The outcomes of installing and removing packages.

use std::path::PathBuf;
use std::sync::Arc;

use dkms_engine::package::DkmsId;

use crate::candidate::Offer;
use crate::plan::Removal;

/// What was done for one kernel.
#[derive(Debug, Clone, Default)]
pub struct Done {
    /// The packages that were to be removed.
    pub removals: Vec<AttemptedRemoval>,
    /// The packages that were to be installed.
    pub attempts: Vec<Attempt>,
}

/// A package that was to be installed, and how that ended.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The package.
    pub offer: Arc<Offer>,
    /// Its name in the DKMS tree.
    pub tree_name: String,
    /// The devices it was for.
    pub serves: Vec<usize>,
    /// How it ended.
    pub end: End,
}

impl Attempt {
    /// Whether it is installed.
    pub fn is_installed(&self) -> bool {
        matches!(self.end, End::Installed { .. })
    }

    /// What the DKMS tree calls it; none where its name cannot be used there.
    pub(super) fn tree_id(&self) -> Option<DkmsId> {
        DkmsId::new(&self.tree_name, self.offer.record.dkms_version())
    }
}

/// How the work on one package ended.
#[derive(Debug, Clone)]
pub enum End {
    /// It is installed.
    Installed {
        /// The files.
        files: Vec<PathBuf>,
        /// Whether the running kernel has loaded it.
        loaded: bool,
        /// What it waits for, if it does.
        pending: Option<PendingStep>,
    },
    /// It is not installed, and nothing of it is left.
    Failed(Failure),
}

/// What a person or a reboot must do before an installed package works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingStep {
    /// What is in the way, in one sentence.
    pub reason: String,
    /// What to do.
    pub hint: Option<String>,
}

/// A package that was to be removed.
#[derive(Debug, Clone)]
pub struct AttemptedRemoval {
    /// Which, and why.
    pub removal: Removal,
    /// How that ended.
    pub end: RemovalOutcome,
}

/// How the removal of a package ended.
#[derive(Debug, Clone)]
pub enum RemovalOutcome {
    /// It is removed.
    Removed,
    /// It is removed from the disk; the running kernel uses it until the next boot.
    AtReboot,
    /// It is still installed.
    Failed(Failure),
}

/// Why a package was not installed, and what follows from that.
#[derive(Debug, Clone)]
pub struct Failure {
    /// As one sentence.
    pub reason: String,
    /// The place in a file that it is about, as lines to show.
    pub excerpt: Option<String>,
    /// Suggested fix.
    pub hint: Option<String>,
    /// The log of the build.
    pub log: Option<PathBuf>,
    /// Where the cause of it lies.
    pub cause: Cause,
}

impl Failure {
    /// Without a suggested fix or a log.
    pub(super) fn of(cause: Cause, reason: String) -> Self {
        Self {
            reason,
            excerpt: None,
            hint: None,
            log: None,
            cause,
        }
    }
}

/// Where the cause of a failure lies. It decides what is tried next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The package's: this version is not tried again on this machine for this kernel, the next one is.
    Package,
    /// The package says itself that it is not for this kernel: the next one is tried.
    Unfit,
    /// This machine's: a missing compiler, a broken tree. The package is not put in quarantine.
    Machine,
    /// The disk is full. The package is not put in quarantine, and is tried again when there is room.
    NoSpace,
    /// The package says or claims here what its signed manifest does not: this version is not tried again on this machine for this
    /// kernel, the next one is.
    Refused,
    /// A file failed verification. No other version is tried: that would let a mirror choose an old one.
    Trust,
    /// No mirror served it. No other version is tried either.
    Network,
}
