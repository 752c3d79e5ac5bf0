//! Why a build failed.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::check::CheckProblem;
use crate::conf::ConfError;
use crate::diagnosis::Diagnosis;
use crate::fsutil::existing_part;
use crate::package::{DkmsId, KernelId};
use crate::sandbox::Exceeded;
use crate::script::ScriptError;
use crate::tree::TreeError;

/// Why a build failed, by step.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The package is not in the tree, or without its source.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Its dkms.conf is not usable for this kernel.
    #[error(transparent)]
    Conf(#[from] ConfError),
    /// BUILD_DEPENDS names packages that are not installed for this kernel.
    #[error("BUILD_DEPENDS names packages that are not installed for kernel {release}: {}", .missing.join(", "))]
    DependsMissing {
        /// Their names.
        missing: Vec<String>,
        /// The kernel.
        release: String,
    },
    /// There is only a dkms.conf: binaries were loaded without source.
    #[error("there is no source to build: {} holds only a dkms.conf", .0.display())]
    NoSource(PathBuf),
    /// A patch is not there.
    #[error("the patch {patch} is neither in {} nor in {}", .source_dir.display(), .local_dir.display())]
    PatchMissing {
        /// Its name.
        patch: String,
        /// Where the package has its patches.
        source_dir: PathBuf,
        /// Where the machine has its own.
        local_dir: PathBuf,
    },
    /// A patch does not fit.
    #[error("the patch {patch} does not apply to this source")]
    PatchFailed {
        /// Its name.
        patch: String,
    },
    /// PRE_BUILD or POST_BUILD failed.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// Scripts are needed but not allowed.
    #[error("{0} was not run: scripts of packages are not allowed here")]
    ScriptsForbidden(&'static str),
    /// make failed.
    #[error("{diagnosis}")]
    Make {
        /// The cause, found in its log.
        diagnosis: Diagnosis,
        /// Suggested fix for the diagnosis.
        hint: Option<String>,
    },
    /// make used more of something than a build may.
    #[error("make was ended: {0}")]
    Exceeded(Exceeded),
    /// make succeeded but a module is missing.
    #[error("{module}.ko is missing: make succeeded but did not make {}", .expected.display())]
    ModuleMissing {
        /// Its name.
        module: String,
        /// Where it should be, below the source.
        expected: PathBuf,
    },
    /// A module does not fit the kernel. All problems at once.
    #[error("the built modules cannot be used: {}", list(.0))]
    Unfit(Vec<CheckProblem>),
    /// A program of the toolchain could not be run.
    #[error("{program} cannot be run")]
    Program {
        /// Its name.
        program: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file could not be read or written.
    #[error("cannot {what} {}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// No jobserver could be made.
    #[error("the jobserver for make cannot be created")]
    Jobserver(#[source] io::Error),
}

fn list(problems: &[CheckProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl BuildError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            BuildError::Tree(error) => error.hint(),
            BuildError::Conf(error) => error.hint(),
            BuildError::Make { hint, .. } => hint.clone(),
            BuildError::Exceeded(_) => Some("report it to the author of the package: no driver needs that much".into()),
            BuildError::DependsMissing { missing, release } => {
                let first = missing.first()?;
                Some(format!(
                    "dkms status -m {first}, then dkms install {first}/VERSION -k {release}; --force builds without it"
                ))
            }
            BuildError::NoSource(dir) => Some(format!("ls {}", dir.display())),
            BuildError::PatchMissing { source_dir, .. } => Some(format!("ls {}", source_dir.display())),
            BuildError::Io { source, path, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some(format!("df {}", existing_part(path).display()))
            }
            _ => None,
        }
    }

    /// The cause of a failed make, where one was found.
    pub fn diagnosis(&self) -> Option<&Diagnosis> {
        match self {
            BuildError::Make { diagnosis, .. } => Some(diagnosis),
            _ => None,
        }
    }
}

/// A failed build as a value.
#[derive(Debug)]
pub struct BuildFailure {
    /// The package.
    pub package: DkmsId,
    /// The kernel.
    pub kernel: KernelId,
    /// Why.
    pub error: BuildError,
    /// The log, where the build came far enough to have one.
    pub log: Option<PathBuf>,
    /// The last lines of the log.
    pub tail: Vec<String>,
}

impl BuildFailure {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        self.error
            .hint()
            .or_else(|| self.log.as_ref().map(|log| format!("less {}", log.display())))
    }
}

/// The reason in one sentence, with its causes.
impl fmt::Display for BuildFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&dkms_support::chain(&self.error))
    }
}

impl std::error::Error for BuildFailure {}
