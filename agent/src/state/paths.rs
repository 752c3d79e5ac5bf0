//! The paths of the agent's own files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dkms_engine::root::Root;

use crate::config::Name;
use crate::files;

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

    /// The same places below `dir`, with a copy of all that a sync reads: for a run that must write nothing here.
    ///
    /// # Errors
    /// When the copy cannot be made.
    pub fn scratch(&self, dir: &Path) -> io::Result<Self> {
        let copy = Self {
            lib: dir.join("lib"),
            cache: dir.join("cache"),
        };
        for (from, to) in [(&self.lib, &copy.lib), (&self.cache, &copy.cache)] {
            for part in ["trust", "etags", "segments", "index"] {
                copy_tree(&from.join(part), &to.join(part))?;
            }
        }
        Ok(copy)
    }

    /// Copies what a sync below `from` kept of one repository. The verified metadata goes first: an index without it would be fetched again.
    ///
    /// # Errors
    /// When the copy cannot be made.
    pub fn take_over(&self, from: &Self, name: &Name) -> io::Result<()> {
        for place in [Self::trust, Self::segments] {
            let (from, to) = (place(from, name), place(self, name));
            let entries = match fs::read_dir(&from) {
                Ok(entries) => entries,
                // An empty index has no segments.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            for entry in entries {
                let entry = entry?;
                if entry.file_type()?.is_file() {
                    files::copy_atomically(&entry.path(), &to.join(entry.file_name()))?;
                }
            }
        }
        for place in [Self::etags, Self::index] {
            let from = place(from, name);
            // A server need not give an ETag.
            if from.is_file() {
                files::copy_atomically(&from, &place(self, name))?;
            }
        }
        Ok(())
    }

    /// Removes temporary files of a run that was killed. Needs the run's lock.
    pub fn sweep(&self) {
        // A file that stays needs only space, and the next run tries again.
        let _ = dkms_engine::sandbox::take::remove_tree(&self.unpacked());
        let below = |dir: PathBuf| {
            fs::read_dir(dir)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
        };
        let ours = [self.cache.join("index"), self.cache.join("etags")];
        let by_name = [self.cache.join("segments"), self.lib.join("trust")]
            .into_iter()
            .flat_map(below);
        for path in ours.into_iter().chain(by_name).flat_map(below) {
            if path
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(files::TEMPORARY.as_bytes()))
            {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Where sources are unpacked before they go to the source tree.
    pub fn unpacked(&self) -> PathBuf {
        self.cache.join("unpacked")
    }

    /// History, holds, quarantine, installed packages.
    pub fn records(&self) -> PathBuf {
        self.lib.join("state.db")
    }

    /// The note that the firmware was asked to accept the key for modules.
    pub fn mok_request(&self) -> PathBuf {
        self.lib.join("mok-request.json")
    }

    /// The note of what was installed for builds by the distribution's package manager.
    pub fn toolchain(&self) -> PathBuf {
        self.lib.join("toolchain.json")
    }

    /// The newest verified metadata of a repository, byte for byte as it was served.
    pub fn trust(&self, repository: &Name) -> PathBuf {
        self.lib.join("trust").join(repository.as_str())
    }

    /// The index of a repository, ready for look-ups.
    pub fn index(&self, repository: &Name) -> PathBuf {
        self.cache.join("index").join(format!("{repository}.db"))
    }

    /// The segments that [`Paths::index`] was made from, for deltas.
    pub fn segments(&self, repository: &Name) -> PathBuf {
        self.cache.join("segments").join(repository.as_str())
    }

    /// The `ETag` that a server gave to the newest metadata of a repository.
    pub(crate) fn etags(&self, repository: &Name) -> PathBuf {
        self.cache.join("etags").join(format!("{repository}.json"))
    }

    /// The content-addressed store of source bundles.
    pub fn bundles(&self) -> PathBuf {
        self.cache.join("bundles/sha256")
    }
}

/// Copies regular files and directories; nothing where there is nothing.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(from) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    fs::create_dir_all(to)?;
    for entry in entries {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&from, &to)?;
        } else if kind.is_file() {
            fs::copy(from, to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_copy_has_what_a_sync_reads() {
        let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let paths = Paths::of(&Root::at(dir.path()));
        let name = Name::try_from("acme".to_owned()).unwrap();
        fs::create_dir_all(paths.trust(&name)).unwrap();
        fs::write(paths.trust(&name).join("timestamp.json"), "{}").unwrap();
        fs::write(paths.records(), "stays").unwrap();
        let copy = paths.scratch(scratch.path()).unwrap();
        assert_eq!(
            fs::read_to_string(copy.trust(&name).join("timestamp.json")).unwrap(),
            "{}"
        );
        assert!(!copy.records().exists());
        fs::write(copy.trust(&name).join("timestamp.json"), "new").unwrap();
        assert_eq!(
            fs::read_to_string(paths.trust(&name).join("timestamp.json")).unwrap(),
            "{}"
        );
    }
}
