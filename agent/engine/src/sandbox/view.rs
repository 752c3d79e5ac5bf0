//! What a program in the sandbox may see and write, as a value. Everything else does not exist for it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::account::Account;
use super::limits::Limits;

/// What a program may do with a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Read it. A path that does not exist is left out.
    Read,
    /// Read and write it. It has to exist.
    Write,
}

/// A file or directory that is added to the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bind {
    /// Where it is on the running system.
    pub(super) source: PathBuf,
    /// What it is called in the sandbox.
    pub(super) dest: PathBuf,
    /// What a program may do with it.
    pub(super) access: Access,
}

/// The file system of one program: the toolchain of a system, read-only, and what the caller adds.
#[derive(Debug, Clone)]
pub struct View {
    /// The system whose `/usr` it is: `/`, or an image with a toolchain of its own.
    pub(super) system: PathBuf,
    pub(super) binds: Vec<Bind>,
    /// Links: where they lead, and their place.
    pub(super) links: Vec<(PathBuf, PathBuf)>,
    pub(super) limits: Limits,
    account: Account,
}

impl View {
    /// The toolchain of `system` (`/`, or the directory of an image) and nothing else, for programs of the user `account` within `limits`.
    pub fn new(system: &Path, account: Account, limits: Limits) -> View {
        View {
            system: system.to_owned(),
            binds: Vec::new(),
            links: Vec::new(),
            limits,
            account,
        }
    }

    /// Adds `path`, read-only, under the same name. A path that does not exist is left out.
    #[must_use]
    pub fn read(self, path: impl AsRef<Path>) -> View {
        let name = self.inside(path.as_ref());
        self.read_as(path.as_ref(), name)
    }

    /// Adds `source`, read-only, under the name `dest` of the sandbox. A path that does not exist is left out.
    #[must_use]
    pub fn read_as(self, source: impl Into<PathBuf>, dest: impl Into<PathBuf>) -> View {
        self.bind(source.into(), dest.into(), Access::Read)
    }

    /// Adds the directory `path`, writable, under the same name. It has to exist.
    #[must_use]
    pub fn write(self, path: impl AsRef<Path>) -> View {
        let name = self.inside(path.as_ref());
        self.write_as(path.as_ref(), name)
    }

    /// Adds the directory `source`, writable, under the name `dest` of the sandbox. It has to exist.
    #[must_use]
    pub fn write_as(self, source: impl Into<PathBuf>, dest: impl Into<PathBuf>) -> View {
        self.bind(source.into(), dest.into(), Access::Write)
    }

    fn bind(mut self, source: PathBuf, dest: PathBuf, access: Access) -> View {
        self.binds.push(Bind { source, dest, access });
        self
    }

    /// Adds a link at `path` to `target`, both names of the sandbox. Only a mount namespace has it.
    #[must_use]
    pub fn link(mut self, target: impl Into<PathBuf>, path: impl Into<PathBuf>) -> View {
        let (target, path) = (target.into(), path.into());
        if target != path && !self.links.iter().any(|(_, other)| *other == path) {
            self.links.push((target, path));
        }
        self
    }

    /// What `path` of the running system is called in the sandbox.
    pub fn inside(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.system)
            .map_or_else(|_| path.to_owned(), |rest| Path::new("/").join(rest))
    }

    /// The writable directories, as paths on the running system: each once, whatever names it has in the sandbox, and none that lies in
    /// another one.
    pub(crate) fn written(&self) -> impl Iterator<Item = &Path> {
        let writable = self.binds.iter().filter(|bind| bind.access == Access::Write);
        let dirs: BTreeSet<&Path> = writable.map(|bind| bind.source.as_path()).collect();
        let outer = dirs.clone();
        dirs.into_iter()
            .filter(move |dir| !dir.ancestors().skip(1).any(|above| outer.contains(above)))
    }

    /// Its limits.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The system whose toolchain it has.
    pub(crate) fn system(&self) -> &Path {
        &self.system
    }

    /// The call of prlimit(1) that a command of this view begins with.
    pub(crate) fn prlimit(&self) -> Vec<std::ffi::OsString> {
        self.limits.prlimit(self.user())
    }

    /// The user of its programs; None for the user that we run as.
    pub(crate) fn user(&self) -> Option<u32> {
        self.account.id()
    }

    /// What is added to the system, in the order in which it can be mounted: a directory before what is in it, and of two with one name
    /// the one that was added last.
    pub(super) fn mounts(&self) -> Vec<&Bind> {
        let mut found: Vec<&Bind> = Vec::new();
        for bind in &self.binds {
            found.retain(|other| other.dest != bind.dest);
            if bind.access == Access::Write || bind.source.exists() {
                found.push(bind);
            }
        }
        found.sort_by_key(|bind| bind.dest.components().count());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_before_what_is_in_them() {
        let view = View::new(Path::new("/"), Account::ours(), Limits::evaluation())
            .write("/usr/bin")
            .read("/usr")
            .read("/nonexistent")
            .read_as("/usr/lib", "/usr/bin");
        let mounts: Vec<_> = view
            .mounts()
            .iter()
            .map(|m| (m.source.clone(), m.dest.clone(), m.access))
            .collect();
        assert_eq!(
            mounts,
            [
                ("/usr".into(), "/usr".into(), Access::Read),
                ("/usr/lib".into(), "/usr/bin".into(), Access::Read),
            ]
        );
    }

    #[test]
    fn what_is_written_is_counted_once() {
        let view = View::new(Path::new("/"), Account::ours(), Limits::evaluation())
            .write_as("/work/build", "/usr/src/x")
            .write_as("/work/build", "/var/lib/dkms/x/1/build")
            .write("/work")
            .write("/tmp")
            .read("/usr");
        let written: Vec<&Path> = view.written().collect();
        assert_eq!(written, [Path::new("/tmp"), Path::new("/work")]);
    }

    #[test]
    fn names_in_an_image() {
        let view = View::new(Path::new("/srv/image"), Account::ours(), Limits::evaluation());
        assert_eq!(view.inside(Path::new("/srv/image/usr/src/x")), Path::new("/usr/src/x"));
        assert_eq!(view.inside(Path::new("/srv/other")), Path::new("/srv/other"));
    }
}
