//! Our records of builds, beside their logs. Other implementations ignore these files, and we work without them.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Tree, TreeLock};
use crate::diagnosis::Diagnosis;
use crate::fsutil::write_atomic;
use crate::package::{DkmsId, KernelId};

/// A build that succeeded: `V/K/A/log/build.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRecord {
    /// The modules it made, in the order of dkms.conf.
    pub modules: Vec<RecordedModule>,
    /// What it was made from.
    pub key: BuildKey,
    /// AUTOINSTALL.
    pub autoinstall: bool,
    /// BUILD_DEPENDS.
    pub build_depends: Vec<String>,
    /// BUILD_DEPENDS_REBUILD.
    pub build_depends_rebuild: bool,
    /// NO_WEAK_MODULES.
    pub no_weak_modules: bool,
}

/// What a build was made from. For files there are two marks: a digest of the contents, which decides, and a stamp of what `stat` says,
/// which saves reading them while it stays the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildKey {
    /// The source.
    pub source: Mark,
    /// The kernel's headers: configuration, exported symbols, version, build variables.
    pub kernel: Mark,
    /// The override files, directives and the conf that was named instead of the source's.
    pub settings: String,
    /// The first line of the compiler's version.
    pub compiler: String,
    /// A stamp of the compiler's program.
    pub compiler_stamp: String,
    /// What the packages it depends on export.
    pub depends: String,
}

/// Contents by digest, and a stamp that stands for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Of the contents.
    pub digest: String,
    /// Of names, sizes and times.
    pub stamp: String,
}

/// One module of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedModule {
    /// The installed name, without `.ko`.
    pub name: String,
    /// The file in `module/`.
    pub file: String,
    /// The places below `/lib/modules/K` where it may be installed, the right one first.
    pub locations: Vec<String>,
}

/// A build that failed: `V/.failed/K/A/failure.json`, beside its make.log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureRecord {
    /// Why, in one sentence.
    pub reason: String,
    /// The cause as a value, if one was found.
    pub diagnosis: Option<Diagnosis>,
    /// When, in seconds since 1970.
    pub at: i64,
    /// What was tried, so that the same is not tried again without need.
    pub key: Option<BuildKey>,
}

impl BuildRecord {
    /// The record in the directory of a build; None where there is none that we understand.
    pub fn read(built_dir: &Path) -> Option<BuildRecord> {
        serde_json::from_slice(&fs::read(built_dir.join("log/build.json")).ok()?).ok()
    }

    /// Stores `key` as that of this build, unless another build replaced it. The key only saves reading contents again, so a failure is
    /// ignored.
    pub(crate) fn renew(&self, tree: &Tree, _lock: &TreeLock, package: &DkmsId, kernel: &KernelId, key: BuildKey) {
        if tree.record(package, kernel).as_ref() == Some(self) {
            let renewed = BuildRecord { key, ..self.clone() };
            let _ = renewed.write(&tree.built_dir(package, kernel));
        }
    }

    pub(crate) fn write(&self, built_dir: &Path) -> io::Result<()> {
        write_atomic(&built_dir.join("log/build.json"), &serde_json::to_vec(self)?, 0o644)
    }
}

impl FailureRecord {
    /// The record in a directory of [`super::Tree::failed_dir`].
    pub fn read(failed_dir: &Path) -> Option<FailureRecord> {
        serde_json::from_slice(&fs::read(failed_dir.join("failure.json")).ok()?).ok()
    }

    pub(crate) fn write(&self, failed_dir: &Path) -> io::Result<()> {
        write_atomic(&failed_dir.join("failure.json"), &serde_json::to_vec(self)?, 0o644)
    }
}
