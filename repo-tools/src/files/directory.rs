//! A directory whose files are asked for by its descriptor: where there are thousands, a quarter less work than by their whole paths.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Statx, StatxFlags, openat, statx};
use rustix::io::Errno;

use super::{FileError, Stamp};

/// An open directory; one that is not there has nothing in it.
#[derive(Debug)]
pub struct Directory {
    descriptor: Option<OwnedFd>,
    path: PathBuf,
}

impl Directory {
    /// The directory at `path`.
    ///
    /// # Errors
    /// When it cannot be opened though it is there.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = match openat(CWD, path, flags, Mode::empty()) {
            Ok(descriptor) => Some(descriptor),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(FileError::on("open", path)(error.into())),
        };
        Ok(Self {
            descriptor,
            path: path.to_owned(),
        })
    }

    /// As it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The stamp of a regular file below it; none where there is no such file.
    ///
    /// # Errors
    /// When the file system does not say it.
    pub fn stamp(&self, file: &str) -> Result<Option<Stamp>, FileError> {
        self.stamp_if_is(FileType::RegularFile, file)
    }

    /// The stamp of a directory below it, which changes with the names in it; none where there is no such directory.
    ///
    /// # Errors
    /// As [`Directory::stamp`].
    pub fn stamp_of_dir(&self, directory: &str) -> Result<Option<Stamp>, FileError> {
        self.stamp_if_is(FileType::Directory, directory)
    }

    /// The length of a file below it, links followed; none where there is no such file, or where it cannot be reached.
    pub fn length(&self, file: &str) -> Option<u64> {
        Some(self.look(file, AtFlags::empty()).ok()??.stx_size)
    }

    fn stamp_if_is(&self, kind: FileType, file: &str) -> Result<Option<Stamp>, FileError> {
        let found = self
            .look(file, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| FileError::on("read", &self.path.join(file))(error))?;
        let of_kind = found.filter(|found| FileType::from_raw_mode(found.stx_mode.into()) == kind);
        Ok(of_kind.map(|found| Stamp::of(&found)))
    }

    fn look(&self, file: &str, flags: AtFlags) -> io::Result<Option<Statx>> {
        let Some(descriptor) = &self.descriptor else {
            return Ok(None);
        };
        match statx(descriptor, file, flags, StatxFlags::BASIC_STATS) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_change_gives_another_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let directory = Directory::open(dir.path()).unwrap();
        let stamp = || directory.stamp("x").unwrap();
        assert_eq!(stamp(), None);
        fs::write(&path, "1").unwrap();
        let first = stamp();
        assert!(first.is_some() && stamp() == first);
        fs::write(&path, "22").unwrap();
        assert_ne!(stamp(), first, "its length");
        let second = stamp();
        // Its time is put back, as a copy program does.
        let times = fs::metadata(&path).unwrap().modified().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(&path, "33").unwrap();
        fs::File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_modified(times)
            .unwrap();
        assert_ne!(stamp(), second, "when it was changed");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(stamp(), None);
        let of_dir = || directory.stamp_of_dir("x").unwrap();
        let empty = of_dir();
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::create_dir(path.join("y")).unwrap();
        assert!(empty.is_some() && of_dir() != empty);
    }

    #[test]
    fn what_is_not_there_and_what_is_no_file_is_told_apart_from_what_fails() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "12345").unwrap();
        std::os::unix::fs::symlink("file", dir.path().join("link")).unwrap();
        let directory = Directory::open(dir.path()).unwrap();
        assert_eq!((directory.length("file"), directory.length("link")), (Some(5), Some(5)));
        assert_eq!(directory.length("none"), None);
        assert_eq!(directory.stamp("link").unwrap(), None, "a link has no stamp");
        assert!(directory.stamp("file/x").is_err(), "a file is no directory");
        let absent = Directory::open(&dir.path().join("none")).unwrap();
        assert_eq!((absent.stamp("x").unwrap(), absent.length("x")), (None, None));
        assert!(Directory::open(&dir.path().join("file")).is_err());
    }
}
