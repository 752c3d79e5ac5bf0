//! What a program in the sandbox may see and write, as a value. Nothing that is not named here is there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::account::Account;
use super::limits::Limits;
use super::system;

/// A file or directory that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bind {
    /// Where it is on the running system.
    pub(super) source: PathBuf,
    /// What it is called in the sandbox.
    pub(super) dest: PathBuf,
    /// Whether it may be written.
    pub(super) writable: bool,
    /// Whether it may be missing.
    pub(super) optional: bool,
}

/// The world of one program: the toolchain of a system, read-only, and what its caller adds.
#[derive(Debug, Clone)]
pub struct View {
    /// The system whose `/usr` it is: `/`, or an image with a toolchain of its own.
    pub(super) system: PathBuf,
    pub(super) binds: Vec<Bind>,
    /// Links: where they lead, and their place.
    pub(super) links: Vec<(PathBuf, PathBuf)>,
    pub(super) limits: Limits,
    user: Option<u32>,
    /// Keeps the user from being lent to another build.
    account: Option<Arc<Account>>,
}

impl View {
    /// The toolchain of `system` (`/`, or the directory of an image) and nothing else, for a program of `user` (a number; None for our
    /// own) within `limits`.
    pub fn new(system: &Path, user: Option<u32>, limits: Limits) -> View {
        View {
            system: system.to_owned(),
            binds: Vec::new(),
            links: Vec::new(),
            limits,
            user,
            account: None,
        }
    }

    /// As [`View::new`], for the user of `account`, which it keeps.
    pub fn lent(system: &Path, account: Arc<Account>, limits: Limits) -> View {
        View {
            account: Some(account),
            ..View::new(system, None, limits)
        }
    }

    /// Adds `path`, to be read under the same name. What is not there is left out.
    #[must_use]
    pub fn read(self, path: impl AsRef<Path>) -> View {
        let path = path.as_ref().to_owned();
        let name = self.inside(&path);
        self.read_as(path, name)
    }

    /// Adds `source`, to be read under the name `dest` of the sandbox. What is not there is left out.
    #[must_use]
    pub fn read_as(mut self, source: impl Into<PathBuf>, dest: impl Into<PathBuf>) -> View {
        self.binds.push(Bind {
            source: source.into(),
            dest: dest.into(),
            writable: false,
            optional: true,
        });
        self
    }

    /// Adds the directory `path`, to be written under the same name. It has to be there.
    #[must_use]
    pub fn write(self, path: impl AsRef<Path>) -> View {
        let path = path.as_ref().to_owned();
        let name = self.inside(&path);
        self.write_as(path, name)
    }

    /// Adds the directory `source`, to be written under the name `dest` of the sandbox. It has to be there.
    #[must_use]
    pub fn write_as(mut self, source: impl Into<PathBuf>, dest: impl Into<PathBuf>) -> View {
        self.binds.push(Bind {
            source: source.into(),
            dest: dest.into(),
            writable: true,
            optional: false,
        });
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

    /// Adds a directory of kernel headers, and what belongs to it: Debian's lead to others beside them, and to kbuild's programs.
    #[must_use]
    pub fn headers(self, headers: &Path) -> View {
        system::with_headers(self, headers)
    }

    /// Adds the headers of kernel `release`, a directory without links in its path, and leads there whatever says `/lib/modules/…/build`:
    /// for that kernel, and for the running one, which some Makefiles ask for whatever they are told. `source` is where
    /// `/lib/modules/…/source` leads, if that is another directory.
    #[must_use]
    pub fn kernel(self, release: &str, headers: &Path, source: Option<&Path>) -> View {
        let running = rustix::system::uname().release().to_string_lossy().into_owned();
        let place = self.inside(headers);
        let source = source.map_or_else(|| place.clone(), |source| self.inside(source));
        let modules = Path::new("/lib/modules");
        let releases = [release, &running];
        releases.iter().fold(self.headers(headers), |view, release| {
            let dir = modules.join(release);
            view.link(&place, dir.join("build")).link(&source, dir.join("source"))
        })
    }

    /// What `path` of the running system is called in the sandbox.
    pub fn inside(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.system)
            .map_or_else(|_| path.to_owned(), |rest| Path::new("/").join(rest))
    }

    /// The directories that may be written, on the running system.
    pub(crate) fn written(&self) -> impl Iterator<Item = &Path> {
        self.binds
            .iter()
            .filter(|bind| bind.writable)
            .map(|bind| bind.source.as_path())
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

    /// The user of its programs.
    pub(crate) fn user(&self) -> Option<u32> {
        self.account.as_ref().map_or(self.user, |account| account.id())
    }

    /// What is added to the system, in the order in which it can be mounted: a directory before what is in it, and of two with one name
    /// the one that was added last.
    pub(super) fn mounts(&self) -> Vec<&Bind> {
        let mut found: Vec<&Bind> = Vec::new();
        for bind in &self.binds {
            found.retain(|other| other.dest != bind.dest);
            if !bind.optional || bind.source.exists() {
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
        let view = View::new(Path::new("/"), None, Limits::evaluation())
            .write("/usr/bin")
            .read("/usr")
            .read("/nonexistent")
            .read_as("/usr/lib", "/usr/bin");
        let mounts: Vec<_> = view
            .mounts()
            .iter()
            .map(|m| (m.source.clone(), m.dest.clone(), m.writable))
            .collect();
        assert_eq!(
            mounts,
            [
                ("/usr".into(), "/usr".into(), false),
                ("/usr/lib".into(), "/usr/bin".into(), false),
            ]
        );
    }

    #[test]
    fn names_in_an_image() {
        let view = View::new(Path::new("/srv/image"), None, Limits::evaluation());
        assert_eq!(view.inside(Path::new("/srv/image/usr/src/x")), Path::new("/usr/src/x"));
        assert_eq!(view.inside(Path::new("/srv/other")), Path::new("/srv/other"));
    }
}
