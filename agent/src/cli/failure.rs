//! All errors that can stop a run, each with its exit code and suggested fix.

mod hint;

use std::path::{Path, PathBuf};

use dkms_engine::kernel::KernelError;
use dkms_engine::package::DkmsId;
use dkms_engine::sandbox::NoSandbox;
use dkms_engine::tree::TreeError;

use crate::apply::{RemoveError, RetireError, Stopped};
use crate::candidate::Rejected;
use crate::config::ConfigError;
use crate::device::DeviceError;
use crate::disk_full::is_disk_full;
use crate::exit::Exit;
use crate::fetch::FetchError;
use crate::intree::InTreeError;
use crate::lock::LockError;
use crate::medium::MediumError;
use crate::mok::MokError;
use crate::runtime::Interrupted;
use crate::state::{Paths, StateError};
use crate::sync::SyncError;
use crate::toolchain::ToolchainError;
use crate::transport::TransportError;

/// Why a run stopped.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Devices of an image are not plugged in.
    #[error("watch is for the machine that it runs on, and its running kernel")]
    WatchesThisMachine,
    /// The kernel does not announce devices to this process.
    #[error("what the kernel says of devices cannot be heard: {0}")]
    Hotplug(#[source] std::io::Error),
    /// No repository is configured.
    #[error("no repository is configured in {}", dir.display())]
    NoRepository {
        /// Where they are configured.
        dir: PathBuf,
    },
    /// What was given is no repository.
    #[error("{given} is not a repository that can be added: {why}")]
    BadRepository {
        /// What was given.
        given: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file that describes a repository cannot be read as one.
    #[error("{}, line {line}: {why}", path.display())]
    BadDescription {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// A repository of the name is configured.
    #[error("a repository named {name} is configured in {}", file.display())]
    RepositoryExists {
        /// The name.
        name: String,
        /// The file.
        file: PathBuf,
    },
    /// No repository of the name is configured.
    #[error("no repository named {name} is configured")]
    UnknownRepository {
        /// What was given.
        name: String,
        /// The names that are configured.
        known: Vec<String>,
    },
    /// The root of a new repository could not be fetched.
    #[error("the root.json of {given} cannot be fetched: {error}")]
    RepositoryUnreachable {
        /// What was given.
        given: String,
        /// The transport's error.
        error: TransportError,
    },
    /// The root is not the one that was expected.
    #[error("the root.json of repository {name} has the fingerprint {found}, and not {expected}")]
    WrongFingerprint {
        /// The name.
        name: String,
        /// The fingerprint that was expected.
        expected: String,
        /// The fingerprint of the root that was served.
        found: String,
    },
    /// There is no terminal on which a person could confirm the root, and no fingerprint was given.
    #[error("a repository is trusted by its fingerprint, and none was given")]
    NoFingerprint {
        /// The fingerprint of the root that was served.
        found: String,
    },
    /// The person did not confirm.
    #[error("the repository was not added")]
    NotConfirmed,
    /// A file could not be written or removed.
    #[error("{} cannot be changed: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The directory of a file that the caller named is not there.
    #[error("{} cannot be written: there is no directory {}", path.display(), dir.display())]
    NoDirectory {
        /// The file.
        path: PathBuf,
        /// Its directory.
        dir: PathBuf,
    },
    /// A file that the caller named could not be written.
    #[error("{} cannot be written: {source}", path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// No index is cached, and none may be fetched.
    #[error("no index is cached for {}", repositories.join(", "))]
    NothingCached {
        /// The repositories.
        repositories: Vec<String>,
    },
    /// Changing a machine takes root.
    #[error("only root may change {}", path.display())]
    NotRoot {
        /// What would be changed.
        path: PathBuf,
    },
    /// The root directory is not there.
    #[error("the root {} is not a directory", path.display())]
    NoRoot {
        /// What was given.
        path: PathBuf,
    },
    /// The root has no kernel at all.
    #[error("no kernel is installed in {}", dir.display())]
    NoKernel {
        /// Where kernels are.
        dir: PathBuf,
    },
    /// A kernel was named that is not there.
    #[error("kernel {release} has neither modules nor headers in {}", dir.display())]
    UnknownKernel {
        /// What was given.
        release: String,
        /// Where kernels are.
        dir: PathBuf,
        /// The releases that are there.
        known: Vec<String>,
    },
    /// A package was named that no repository has.
    #[error("no repository offers package {name}")]
    UnknownPackage {
        /// What was given.
        name: String,
        /// Names that are near it.
        nearest: Vec<String>,
    },
    /// Nothing was found.
    #[error("no package matches {terms}")]
    NothingFound {
        /// What was looked for.
        terms: String,
        /// Names that are near it.
        nearest: Vec<String>,
    },
    /// A package was named that is not installed.
    #[error("package {name} is not installed")]
    NotInstalled {
        /// What was given.
        name: String,
        /// Names of installed packages that are near it.
        nearest: Vec<String>,
    },
    /// A package was to be removed that another one, which stays, was built with.
    #[error("{package} cannot be removed: {} needs it", by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Needed {
        /// The package.
        package: DkmsId,
        /// The installed packages that need it.
        by: Vec<DkmsId>,
    },
    /// An entry of the history was named that cannot be gone back to.
    #[error("entry {entry} of the history cannot be gone back to: there are {first} to {last}")]
    UnknownEntry {
        /// What was given.
        entry: u32,
        /// The oldest.
        first: u32,
        /// The newest.
        last: u32,
    },
    /// What was installed at the time cannot be brought back.
    #[error(
        "{package} {version} for kernel {kernel} cannot be brought back: it is not built any more, and no repository offers it"
    )]
    VersionGone {
        /// The package.
        package: String,
        /// The version in the index.
        version: String,
        /// The kernel's release.
        kernel: String,
    },
    /// A device was named that is not there.
    #[error("no device matches {device}")]
    UnknownDevice {
        /// What was given.
        device: String,
    },
    /// A package that was asked for by name may not be installed.
    #[error("{} may not be installed: {}", .0.package, .0.why)]
    Refused(Box<Rejected>),
    /// The kernel cannot be built for.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A repository could not be synchronised.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// A key could not be enrolled or exported.
    #[error(transparent)]
    Mok(#[from] MokError),
    /// What builds need cannot be had.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// A medium could not be made.
    #[error(transparent)]
    Medium(#[from] MediumError),
    /// A bundle could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The configuration is not usable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The devices could not be read.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The kernel's own modules could not be read.
    #[error(transparent)]
    InTree(#[from] InTreeError),
    /// Stored data could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// Another run holds the lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The DKMS tree could not be used.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A temporary copy of trust and indexes could not be made.
    #[error("a temporary copy of the cached index cannot be made: {0}")]
    Scratch(std::io::Error),
    /// The runtime for downloads could not be started.
    #[error("the network runtime cannot be started: {0}")]
    Runtime(std::io::Error),
    /// A package could not be removed.
    #[error(transparent)]
    Remove(#[from] RemoveError),
    /// depmod failed.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Depmod(Vec<dkms_engine::install::DepmodError>),
    /// A signal interrupted the run.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// Packages cannot be confined here, and the policy does not allow that.
    #[error(transparent)]
    NoSandbox(#[from] NoSandbox),
    /// framework.conf could not be read.
    #[error(transparent)]
    Framework(#[from] dkms_engine::framework::FrameworkError),
}

impl Failure {
    /// Makes an error of writing or removing `path` one that stops the run.
    pub(super) fn writing(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Write { path, source }
    }

    /// The exit code that stands for it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::NoRepository { .. }
            | Self::BadRepository { .. }
            | Self::BadDescription { .. }
            | Self::RepositoryExists { .. }
            | Self::UnknownRepository { .. }
            | Self::NoFingerprint { .. }
            | Self::NotRoot { .. }
            | Self::NoRoot { .. }
            | Self::WatchesThisMachine
            | Self::NoKernel { .. }
            | Self::UnknownKernel { .. }
            | Self::UnknownPackage { .. }
            | Self::NothingFound { .. }
            | Self::NotInstalled { .. }
            | Self::Needed { .. }
            | Self::UnknownDevice { .. }
            | Self::UnknownEntry { .. }
            | Self::NoSandbox(_)
            | Self::Config(_)
            | Self::Device(_) => Exit::Usage,
            Self::NothingCached { .. } => Exit::NoNetwork,
            Self::WrongFingerprint { .. } => Exit::Untrusted,
            Self::RepositoryUnreachable { error, .. } if error.is_misconfigured() => Exit::Usage,
            Self::RepositoryUnreachable { .. } => Exit::NoNetwork,
            Self::NotConfirmed => Exit::Failed,
            Self::Interrupted(Interrupted { signal }) => Exit::Interrupted(*signal),
            Self::Kernel(KernelError::BadRelease(_)) => Exit::Usage,
            Self::Kernel(_) => Exit::BuildsFailed,
            Self::Sync(error) => sync_exit(error),
            Self::Fetch(error) => fetch_exit(error),
            Self::Medium(error) if error.is_usage() => Exit::Usage,
            Self::Mok(error) if error.is_usage() => Exit::Usage,
            Self::Lock(LockError::Busy { .. }) => Exit::TryAgain,
            _ if is_disk_full(self) => Exit::TryAgain,
            _ => Exit::Failed,
        }
    }
}

impl From<RetireError> for Failure {
    fn from(error: RetireError) -> Self {
        match error {
            RetireError::InTree(error) => error.into(),
            RetireError::State(error) => error.into(),
            RetireError::Remove(error) => error.into(),
            RetireError::Depmod(errors) => Self::Depmod(errors),
        }
    }
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::State(error) => Self::State(error),
            Stopped::Interrupted(interrupted) => Self::Interrupted(interrupted),
        }
    }
}

impl Failure {
    /// The file of a damaged index in the cache, if that is the cause of the failure: it can be rebuilt.
    pub fn damaged_index(&self, paths: &Paths) -> Option<PathBuf> {
        let (Self::State(error) | Self::Sync(SyncError::State(error))) = self else {
            return None;
        };
        let (StateError::Damaged { path } | StateError::Value { path, .. }) = error else {
            return None;
        };
        (*path != paths.records()).then(|| path.clone())
    }
}

/// The exit code of a repository that could not be synchronised.
fn sync_exit(error: &SyncError) -> Exit {
    if error.is_stale() || error.is_busy() {
        Exit::TryAgain
    } else if error.is_misconfigured() {
        Exit::Usage
    } else if error.is_trust() {
        Exit::Untrusted
    } else if error.is_transport() {
        Exit::NoNetwork
    } else if is_disk_full(error) {
        Exit::TryAgain
    } else {
        Exit::Failed
    }
}

/// The exit code of a source that could not be fetched.
fn fetch_exit(error: &FetchError) -> Exit {
    match error {
        FetchError::Sync(error) => sync_exit(error),
        error if error.is_trust() => Exit::Untrusted,
        FetchError::Transport { source, .. } if source.is_misconfigured() => Exit::Usage,
        error if error.is_offline() => Exit::NoNetwork,
        error if error.is_disk_full() => Exit::TryAgain,
        _ => Exit::Failed,
    }
}
