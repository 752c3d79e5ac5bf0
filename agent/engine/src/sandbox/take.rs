//! Reading files from a directory that a package could write: by descriptors, one name at a time, following no link.
//!
//! Nothing here trusts that a path still means what it meant a moment ago. Only regular files are read, without waiting for a writer of a
//! FIFO, and no more of them than the caller allows.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fstat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

/// How deep directories may lie in one another.
const MAX_DEPTH: usize = 128;

/// Opens a directory itself, not what a link of that name leads to.
///
/// # Errors
/// When it is no directory, or cannot be opened.
pub fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    dir_at(CWD, path.as_os_str()).map_err(io::Error::from)
}

fn dir_at(dir: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

/// Reads the regular file `path` below `dir`, if it has at most `max_len` bytes.
///
/// # Errors
/// `NotFound` when it is not there; others when a part of `path` is a link, leads out of `dir`, or the file is not regular or too large.
pub fn read(dir: impl AsFd, path: &Path, max_len: u64) -> io::Result<Vec<u8>> {
    let file = open(dir, path)?;
    let len = file.metadata()?.len();
    if len > max_len {
        return Err(refusal(path, &format!("has {len} bytes, more than {max_len}")));
    }
    let mut bytes = Vec::new();
    file.take(max_len + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_len {
        return Err(refusal(path, &format!("has more than {max_len} bytes")));
    }
    Ok(bytes)
}

/// Opens the regular file `path` below `dir` for reading.
///
/// # Errors
/// As [`read`].
pub fn open(dir: impl AsFd, path: &Path) -> io::Result<File> {
    let mut here: Option<OwnedFd> = None;
    let mut names: Vec<&OsStr> = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            _ => return Err(refusal(path, "is no path below its directory")),
        }
    }
    let Some((last, parents)) = names.split_last() else {
        return Err(refusal(path, "is no path below its directory"));
    };
    for name in parents {
        let next = match &here {
            Some(here) => dir_at(here, name),
            None => dir_at(&dir, name),
        };
        here = Some(next.map_err(|error| link_or(path, error))?);
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = match &here {
        Some(here) => openat(here, *last, flags, Mode::empty()),
        None => openat(&dir, *last, flags, Mode::empty()),
    };
    let file = opened.map_err(|error| link_or(path, error))?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(refusal(path, "is not a regular file"));
    }
    Ok(File::from(file))
}

/// What `open` says of a link is ELOOP, or ENOTDIR where a directory is wanted.
fn link_or(path: &Path, error: Errno) -> io::Error {
    match error {
        Errno::LOOP | Errno::NOTDIR => refusal(path, "is reached by a link, or by a file in the place of a directory"),
        Errno::NXIO => refusal(path, "is not a regular file"),
        error => error.into(),
    }
}

fn refusal(path: &Path, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} {what}", path.display()))
}

/// What is below a directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measure {
    /// Bytes on the disk.
    pub bytes: u64,
    /// Entries of any kind.
    pub files: u64,
}

/// Counts what is below `dir`; None when there are more than `max_files` entries, or directories too deep in one another.
pub fn measure(dir: &Path, max_files: u64) -> Option<Measure> {
    let mut found = Measure::default();
    let mut visit = |_: &Path, stat: &rustix::fs::Stat| {
        found.files += 1;
        found.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        found.files <= max_files
    };
    let whole = walk(&open_dir(dir).ok()?, Path::new(""), 0, &mut visit);
    whole.then_some(found)
}

/// The regular files of that name below `dir`, at most `max` of them, in the order of their paths.
pub fn find(dir: impl AsFd, name: &str, max: usize) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut visit = |path: &Path, stat: &rustix::fs::Stat| {
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if regular && path.file_name() == Some(OsStr::new(name)) && found.len() < max {
            found.push(path.to_owned());
        }
        true
    };
    walk(&dir, Path::new(""), 0, &mut visit);
    found.sort();
    found
}

/// All regular files below `dir`, at most `max` of them, in the order of their paths.
pub fn files(dir: impl AsFd, max: usize) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut visit = |path: &Path, stat: &rustix::fs::Stat| {
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            found.push(path.to_owned());
        }
        found.len() < max
    };
    walk(&dir, Path::new(""), 0, &mut visit);
    found.sort();
    found
}

/// Visits all entries below `dir`; false when `visit` returned false, or a directory lies too deep. Entries that vanish meanwhile are skipped.
fn walk(dir: impl AsFd, path: &Path, depth: usize, visit: &mut dyn FnMut(&Path, &rustix::fs::Stat) -> bool) -> bool {
    if depth > MAX_DEPTH {
        return false;
    }
    let Ok(entries) = Dir::read_from(&dir) else {
        return true;
    };
    for entry in entries.filter_map(Result::ok) {
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let Ok(stat) = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let path = path.join(name);
        if !visit(&path, &stat) {
            return false;
        }
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            && let Ok(inner) = dir_at(&dir, name)
            && !walk(&inner, &path, depth + 1, visit)
        {
            return false;
        }
    }
    true
}

/// Removes the directory `path` and all that is in it, however deep it lies: what lies too deep is first moved up to its top, so that
/// neither the stack nor the number of open files limits it.
///
/// # Errors
/// When something cannot be removed; a missing directory is no error.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let top = match open_dir(path) {
        Ok(top) => top,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut moved = Moved { top: &top, count: 0 };
    empty(&top, 0, &mut moved)?;
    // What was moved up while its new place was read may have been missed.
    while empty(&top, 0, &mut moved)? {}
    fs::remove_dir(path)
}

/// Where directories go that lie too deep.
struct Moved<'a> {
    top: &'a OwnedFd,
    count: u64,
}

impl Moved<'_> {
    fn take(&mut self, dir: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
        loop {
            let new = format!(".removing-{}", self.count);
            self.count += 1;
            if statat(self.top, &new, AtFlags::SYMLINK_NOFOLLOW).is_err() {
                return renameat(dir, name, self.top, &new);
            }
        }
    }
}

/// Removes what is in `dir`; true when there was something.
fn empty(dir: &OwnedFd, depth: usize, moved: &mut Moved<'_>) -> io::Result<bool> {
    let names: Vec<OsString> = Dir::read_from(dir)?
        .filter_map(Result::ok)
        .map(|entry| OsStr::from_bytes(entry.file_name().to_bytes()).to_owned())
        .filter(|name| name != "." && name != "..")
        .collect();
    for name in &names {
        match unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
        if depth >= MAX_DEPTH {
            moved.take(dir, name)?;
            continue;
        }
        empty(&open_to_remove(dir, name)?, depth + 1, moved)?;
        unlinkat(dir, name, AtFlags::REMOVEDIR)?;
    }
    Ok(!names.is_empty())
}

/// Opens a directory that its owner may have closed to itself.
fn open_to_remove(top: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    match dir_at(top, name) {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(top, name, Mode::RWXU, AtFlags::empty())?;
            Ok(dir_at(top, name)?)
        }
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_regular_files_of_a_size_below_the_directory() {
        let temp = tempfile::tempdir().expect("temp dir");
        let top = temp.path();
        fs::create_dir_all(top.join("build/sub")).expect("dirs");
        fs::write(top.join("secret"), "secret").expect("write");
        fs::write(top.join("build/sub/file"), "12345").expect("write");
        symlink("../secret", top.join("build/link")).expect("link");
        symlink("..", top.join("build/up")).expect("link");
        rustix::fs::mknodat(CWD, top.join("build/fifo"), FileType::Fifo, Mode::RWXU, 0).expect("fifo");
        File::create(top.join("build/sparse"))
            .and_then(|file| file.set_len(1 << 40))
            .expect("sparse");
        let dir = open_dir(&top.join("build")).expect("opens");
        assert_eq!(read(&dir, Path::new("sub/file"), 5).expect("reads"), b"12345");
        let check = |path: &str, expected: &str| {
            let error = read(&dir, Path::new(path), 5).expect_err(path).to_string();
            assert!(error.contains(expected), "{path}: {error}");
        };
        check("link", "link");
        check("up/secret", "link");
        check("../secret", "no path below");
        check("/etc/passwd", "no path below");
        check("fifo", "not a regular file");
        check("sub", "not a regular file");
        check("sparse", "more than 5");
        check("none", "No such file");
        symlink("/dev/zero", top.join("build/zero")).expect("link");
        check("zero", "link");
        assert_eq!(find(&dir, "file", 9), [Path::new("sub/file")]);
        assert!(open_dir(&top.join("build/up")).is_err());
    }

    #[test]
    fn deep_trees_are_refused_and_removed() {
        let temp = tempfile::tempdir().expect("temp dir");
        let top = temp.path().join("top");
        fs::create_dir_all(top.join("a/b")).expect("dirs");
        fs::write(top.join("a/b/file"), "x").expect("write");
        symlink("/", top.join("a/root")).expect("link");
        assert_eq!(measure(&top, 10).expect("small").files, 4);
        assert_eq!(measure(&top, 3), None);
        // Deeper than any path can name.
        let mut dir = open_dir(&top).expect("opens");
        for _ in 0..3_000 {
            rustix::fs::mkdirat(&dir, "d", Mode::RWXU).expect("makes");
            dir = dir_at(&dir, OsStr::new("d")).expect("opens");
        }
        drop(dir);
        assert_eq!(measure(&top, 1 << 20), None);
        remove_tree(&top).expect("removes");
        assert!(!top.exists());
        remove_tree(&top).expect("nothing to remove");
    }
}
