//! What every subcommand starts from: the target, its configuration, and the reporter.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use dkms_engine::kernel::{KernelOptions, KernelTarget};
use dkms_engine::root::Root;
use dkms_engine::sandbox;
use dkms_engine::tree::Tree;
use dkms_index::trust::trusted_now;
use dkms_support::chain;
use jiff::Timestamp;

use super::args::Common;
use super::failure::Failure;
use crate::candidate::Rules;
use crate::config::{self, Config};
use crate::device::{self, Device};
use crate::exit::Exit;
use crate::host::{self, Host};
use crate::lock::RunLock;
use crate::report::progress::{ProgressEvent, Reporter};
use crate::state::Paths;
use crate::state::index::Index;
use crate::state::records::Records;
use crate::sync::Network;

/// Stands for all kernels of a root.
const ALL: &str = "all";

/// What every subcommand starts from.
pub(super) struct Context {
    /// The options of the command line.
    pub(super) options: Common,
    /// The machine or image.
    pub(super) host: Host,
    /// The agent's own paths in it.
    pub(super) paths: Paths,
    /// The paths of trust and indexes: the same, or a copy for a run that must not write.
    pub(super) cache: Paths,
    /// Its configuration.
    pub(super) config: Config,
    /// When the run began: the clock's time, or the build date of this program where the clock shows an earlier one.
    pub(super) now: Timestamp,
    /// How long the run takes is counted from here.
    begun: Instant,
    /// Reports progress.
    pub(super) reporter: Reporter,
    /// The file of a cached index that the first attempt of this run found damaged: it is not used again.
    pub(super) damaged_index: Option<PathBuf>,
}

/// The root that is served.
///
/// # Errors
/// When it is no directory.
pub(super) fn root_of(options: &Common) -> Result<Root, Failure> {
    match &options.root {
        Some(path) if !path.is_dir() => Err(Failure::NoRoot { path: path.clone() }),
        Some(path) => Ok(Root::at(path)),
        None => Ok(Root::host()),
    }
}

impl Context {
    /// Reads the facts and the configuration of the target.
    ///
    /// # Errors
    /// When the root is no directory or the configuration is not usable.
    pub(super) fn new(options: &Common, clock: Timestamp) -> Result<Self, Failure> {
        let root = root_of(options)?;
        let config = Config::read(&root)?;
        // A clock that shows a time before this program was built is wrong.
        let now = trusted_now(clock, host::built(), None);
        let context = Self {
            host: Host::read(&root),
            paths: Paths::of(&root),
            cache: Paths::of(&root),
            config,
            now,
            begun: Instant::now(),
            reporter: Reporter::new(options.json, options.verbose),
            options: options.clone(),
            damaged_index: None,
        };
        if now != clock {
            let text = format!("this machine's clock is not set; taking {now} for now");
            context.reporter.report(ProgressEvent::Warning {
                text,
                hint: Some("timedatectl set-ntp true".to_owned()),
            });
        }
        Ok(context)
    }

    /// Lets the run work on a copy of trust and indexes below `dir`: it must write nothing here.
    ///
    /// # Errors
    /// When the copy cannot be made.
    pub(super) fn use_scratch(&mut self, dir: &Path) -> Result<(), Failure> {
        self.cache = self.paths.scratch(dir).map_err(Failure::Scratch)?;
        let damaged = self.damaged_index.as_deref().and_then(Path::file_name);
        if let Some(name) = damaged {
            // It may not have been copied.
            let _ = std::fs::remove_file(dir.join("cache/index").join(name));
        }
        Ok(())
    }

    /// How long the run has taken, in milliseconds.
    pub(super) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How a run that succeeded ends: whether it changed something counts only where that was asked for.
    pub(super) fn exit(&self, changed: bool) -> Exit {
        if changed && self.options.detailed_exitcode {
            Exit::Changed
        } else {
            Exit::Converged
        }
    }

    /// The root directory.
    pub(super) fn root(&self) -> &Root {
        &self.host.root
    }

    /// Whether mirrors may be used.
    pub(super) fn network(&self) -> Network {
        if self.options.offline {
            Network::Offline
        } else {
            Network::Online
        }
    }

    /// The releases of the target kernels, oldest first.
    ///
    /// # Errors
    /// When there is none, or one was named that is not there.
    pub(super) fn kernels(&self) -> Result<Vec<String>, Failure> {
        let dir = self.root().join("/lib/modules");
        let known = &self.host.releases;
        let named = &self.options.kernel;
        // An image boots into any of its kernels; which one runs here says nothing about it.
        if named.iter().any(|name| name == ALL) || (named.is_empty() && self.host.running.is_none()) {
            return if known.is_empty() {
                Err(Failure::NoKernel { dir })
            } else {
                Ok(known.clone())
            };
        }
        if named.is_empty() {
            return Ok(self.host.running.iter().cloned().collect());
        }
        for release in named {
            if !known.contains(release) && KernelTarget::find(self.root(), release, &KernelOptions::default()).is_err()
            {
                return Err(Failure::UnknownKernel {
                    release: release.clone(),
                    dir,
                    known: known.clone(),
                });
            }
        }
        Ok(named.clone())
    }

    /// The devices, and whether they are this machine's own.
    ///
    /// # Errors
    /// When udev does not answer, or the recorded machine is not readable.
    pub(super) fn devices(&self) -> Result<(Vec<Device>, bool), Failure> {
        Ok(match &self.options.devices {
            Some(file) => (device::recorded::read(file)?, false),
            None => (device::scan()?, true),
        })
    }

    /// The cached indexes.
    ///
    /// # Errors
    /// When no repository is configured.
    pub(super) fn index(&self) -> Result<Index, Failure> {
        self.require_repository()?;
        Ok(self.any_index())
    }

    /// The cached indexes, none where no repository is configured.
    pub(super) fn any_index(&self) -> Index {
        let index = Index::open(&self.cache, self.config.repositories.iter().map(|r| &r.name));
        // There is no warning about a damaged one: a sync rebuilds it.
        for error in index.unusable().iter().filter(|error| !error.is_damaged()) {
            self.reporter.report(ProgressEvent::Warning {
                text: format!("{}: it is not used", chain(error)),
                hint: error.hint(),
            });
        }
        index
    }

    /// Checks that a repository is configured.
    ///
    /// # Errors
    /// When no repository is configured.
    pub(super) fn require_repository(&self) -> Result<(), Failure> {
        if self.config.repositories.is_empty() {
            return Err(Failure::NoRepository {
                dir: self.root().join(config::DIR).join("repos.d"),
            });
        }
        Ok(())
    }

    /// The policy, holds, quarantine and revocations.
    ///
    /// # Errors
    /// When the records or the index are damaged.
    pub(super) fn rules(&self, index: &Index, records: &Records) -> Result<Rules, Failure> {
        let revocations = index
            .revocations()?
            .into_iter()
            .map(|(name, list)| (name.to_string(), list))
            .collect();
        Ok(Rules {
            policy: self.config.policy.clone(),
            held: records.holds()?.into_iter().map(|hold| hold.package).collect(),
            quarantine: records.quarantined()?,
            revocations,
            machine_id: self.host.machine_id.clone().unwrap_or_default(),
            set_aside: BTreeMap::new(),
            tree_names: records
                .installed()?
                .into_iter()
                .map(|one| (one.package.clone(), one.key()))
                .collect(),
        })
    }

    /// The identifier of this run in the history.
    pub(super) fn run(&self) -> String {
        format!("{}-{}", self.now.as_second(), std::process::id())
    }

    /// The DKMS tree of the root.
    ///
    /// # Errors
    /// When its settings cannot be read.
    pub(super) fn tree(&self) -> Result<Tree, Failure> {
        Ok(Tree::of(self.root())?)
    }

    /// Checks that packages can be confined here, unless the policy allows to work without that.
    ///
    /// # Errors
    /// When they cannot.
    pub(super) fn require_sandbox(&self) -> Result<(), Failure> {
        let layers = sandbox::require(self.config.policy.sandbox)?;
        if let Some(refusal) = layers.no_sandbox() {
            self.reporter.report(ProgressEvent::Warning {
                text: format!("{refusal}; the policy allows it"),
                hint: refusal.hint(),
            });
        }
        Ok(())
    }

    /// Takes the lock that a change of the root needs.
    ///
    /// # Errors
    /// When not run as root, or another run holds the lock.
    pub(super) fn writer(&self) -> Result<RunLock, Failure> {
        if !rustix::process::geteuid().is_root() {
            return Err(Failure::NotRoot {
                path: self.root().path().to_owned(),
            });
        }
        let lock = RunLock::take(self.root())?;
        self.paths.sweep();
        Ok(lock)
    }
}
