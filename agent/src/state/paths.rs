//! Where things are kept.

use std::path::PathBuf;

use dkms_engine::root::Root;

use crate::config::Name;

/// The agent's own places on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    lib: PathBuf,
    cache: PathBuf,
}

impl Paths {
    /// The places below `root`: `/var/lib/dkms-fetch` and `/var/cache/dkms-fetch`.
    pub fn of(root: &Root) -> Self {
        Self {
            lib: root.join("/var/lib/dkms-fetch"),
            cache: root.join("/var/cache/dkms-fetch"),
        }
    }

    /// History, holds, quarantine, installed packages.
    pub fn records(&self) -> PathBuf {
        self.lib.join("state.db")
    }

    /// The newest verified metadata of a repository, byte for byte as it was served.
    pub fn trust(&self, repository: &Name) -> PathBuf {
        self.lib.join("trust").join(repository.as_str())
    }

    /// The index of a repository, ready for look-ups.
    pub fn index(&self, repository: &Name) -> PathBuf {
        self.cache.join("index").join(format!("{repository}.db"))
    }

    /// The segments that [`Paths::index`] was made from, as they were served.
    pub fn segments(&self, repository: &Name) -> PathBuf {
        self.cache.join("segments").join(repository.as_str())
    }

    /// What servers call the newest metadata of a repository (`ETag`).
    pub(crate) fn etags(&self, repository: &Name) -> PathBuf {
        self.cache.join("etags").join(format!("{repository}.json"))
    }

    /// The content-addressed store of source bundles.
    pub fn bundles(&self) -> PathBuf {
        self.cache.join("bundles/sha256")
    }
}
