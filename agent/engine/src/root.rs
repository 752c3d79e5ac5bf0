//! The directory below which everything is read and written: the running system, or an image being made.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// Links followed in one path before it is taken for a loop, as in the kernel (MAXSYMLINKS).
const MAX_LINKS: usize = 40;

/// A root directory. Paths are resolved inside it: an absolute link in an image points into the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    path: PathBuf,
}

impl Root {
    /// The running system.
    pub fn host() -> Root {
        Root {
            path: PathBuf::from("/"),
        }
    }

    /// The system below `path`. A path that leads to `/` is the host.
    pub fn at(path: impl AsRef<Path>) -> Root {
        let path = path.as_ref();
        Root {
            path: std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
        }
    }

    /// Where it is on the running system.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True for the running system itself.
    pub fn is_host(&self) -> bool {
        self.path == Path::new("/")
    }

    /// The place of `path` (absolute or relative, both meaning "below this root") on the running system.
    ///
    /// Every link in it is followed inside the root, `..` stops at the root, parts that do not exist are kept as they are.
    /// On a loop of links the path is joined as it was written.
    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.resolve(path.as_ref(), true)
    }

    /// Like [`Root::join`], but a link in the last place is not followed: for reading or replacing the link itself.
    pub fn join_link(&self, path: impl AsRef<Path>) -> PathBuf {
        self.resolve(path.as_ref(), false)
    }

    /// What `path` on the running system is called inside this root; None if it is not below it.
    pub fn inside(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(&self.path).ok().map(|rest| Path::new("/").join(rest))
    }

    fn resolve(&self, path: &Path, follow_last: bool) -> PathBuf {
        if self.is_host() {
            return Path::new("/").join(path);
        }
        self.walk(path, follow_last)
            .unwrap_or_else(|| self.path.join(path.strip_prefix("/").unwrap_or(path)))
    }

    fn walk(&self, path: &Path, follow_last: bool) -> Option<PathBuf> {
        // A stack of parts still to walk, the next one last.
        let mut todo: Vec<OsString> = parts(path);
        let mut here = PathBuf::new();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == ".." {
                here.pop();
                continue;
            }
            here.push(&part);
            if todo.is_empty() && !follow_last {
                break;
            }
            if let Ok(target) = std::fs::read_link(self.path.join(&here)) {
                links += 1;
                if links > MAX_LINKS {
                    return None;
                }
                here.pop();
                if target.is_absolute() {
                    here = PathBuf::new();
                }
                todo.extend(parts(&target));
            }
        }
        Some(self.path.join(here))
    }
}

/// The parts of a path in reverse, without the root and `.`; `..` is kept.
fn parts(path: &Path) -> Vec<OsString> {
    let mut parts: Vec<OsString> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect();
    parts.reverse();
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn paths_stay_inside() {
        let dir = tempfile::tempdir().expect("temp dir");
        let root = Root::at(dir.path());
        std::fs::create_dir_all(root.path().join("usr/src/headers")).expect("dirs");
        std::fs::create_dir_all(root.path().join("lib/modules/6.1")).expect("dirs");
        symlink("/usr/src/headers", root.path().join("lib/modules/6.1/build")).expect("link");
        symlink("../../../../../../etc", root.path().join("usr/src/out")).expect("link");
        symlink("loop", root.path().join("loop")).expect("link");
        let check = |path: &str, expected: &str| assert_eq!(root.join(path), root.path().join(expected), "{path}");
        check("/lib/modules/6.1/build/.config", "usr/src/headers/.config");
        check("lib/modules/6.1/build", "usr/src/headers");
        check("/usr/src/out/passwd", "etc/passwd");
        check("../../x", "x");
        check("/none/at/all", "none/at/all");
        check("/loop/x", "loop/x");
        check("/", "");
        assert_eq!(
            root.join_link("/lib/modules/6.1/build"),
            root.path().join("lib/modules/6.1/build")
        );
    }

    #[test]
    fn the_host_is_plain() {
        assert_eq!(Root::host().join("etc/passwd"), Path::new("/etc/passwd"));
        assert!(Root::at("/").is_host());
        assert_eq!(Root::at("/usr").inside(Path::new("/usr/src/x")), Some("/src/x".into()));
        assert_eq!(Root::at("/usr").inside(Path::new("/var")), None);
    }
}
