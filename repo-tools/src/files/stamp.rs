//! What the file system says of a file: while it says the same, the content is the same.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::FileError;

/// A time of the file system, in seconds and nanoseconds.
pub type FileTime = (i64, i64);

/// What is noted of a file: which it is, its length, and when its content and it itself changed last. Nobody but root can set the last of
/// these to an earlier time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp(u64, u64, FileTime, FileTime);

/// A clock of the kernel ticks every 10 ms at the slowest; where whole seconds are noted, some file systems note every other one.
const TICK_NS: i64 = 100_000_000;
const COARSE_S: i64 = 2;

impl Stamp {
    /// That of a regular file; none where there is no such file.
    ///
    /// # Errors
    /// When the file system does not say it.
    pub fn of(path: &Path) -> Result<Option<Self>, FileError> {
        Self::if_is(fs::FileType::is_file, path)
    }

    /// That of a directory, which changes with the names in it; none where there is no such directory.
    ///
    /// # Errors
    /// As [`Stamp::of`].
    pub fn of_dir(path: &Path) -> Result<Option<Self>, FileError> {
        Self::if_is(fs::FileType::is_dir, path)
    }

    fn if_is(kind: fn(&fs::FileType) -> bool, path: &Path) -> Result<Option<Self>, FileError> {
        match fs::symlink_metadata(path) {
            Ok(meta) if kind(&meta.file_type()) => Ok(Some(Self(
                meta.ino(),
                meta.len(),
                (meta.mtime(), meta.mtime_nsec()),
                (meta.ctime(), meta.ctime_nsec()),
            ))),
            Ok(_) => Ok(None),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(FileError::on("read", path)(e)),
        }
    }

    /// Whether the file changed so long before `now`, a time of the same file system, that a later change gives another stamp.
    pub fn is_settled(&self, now: FileTime) -> bool {
        let newest = self.2.max(self.3);
        let settled = match (self.2.1, self.3.1) {
            (0, 0) => (newest.0 + COARSE_S, newest.1),
            _ => {
                let ns = newest.1 + TICK_NS;
                (newest.0 + ns / 1_000_000_000, ns % 1_000_000_000)
            }
        };
        settled < now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_gives_another_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let stamp = || Stamp::of(&path).unwrap();
        assert_eq!(stamp(), None);
        fs::write(&path, "1").unwrap();
        let first = stamp();
        assert_eq!(stamp(), first);
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
        let directory = || Stamp::of_dir(&path).unwrap();
        let empty = directory();
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::create_dir(path.join("y")).unwrap();
        assert!(empty.is_some() && directory() != empty);
    }

    #[test]
    fn what_just_changed_is_not_settled() {
        let check = |changed: FileTime, now: FileTime, expected: bool| {
            assert_eq!(
                Stamp(1, 1, (5, changed.1), changed).is_settled(now),
                expected,
                "{changed:?} {now:?}"
            );
        };
        check((10, 1), (10, 1), false);
        check((10, 1), (10, 100_000_001), false);
        check((10, 1), (10, 100_000_002), true);
        check((10, 950_000_000), (11, 40_000_000), false);
        check((10, 950_000_000), (11, 60_000_000), true);
        check((10, 0), (11, 900_000_000), false);
        check((10, 0), (12, 1), true);
        check((12, 1), (10, 0), false);
    }
}
