//! Lock files: who may open them, and who holds one.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens the lock file at `path`, and makes it if it is not there. Only its owner may open it: whoever can open a file can lock it, and
/// would hold up root for ever.
///
/// # Errors
/// The operating system's answer; a link or anything but a regular file is refused.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    // Older versions made them readable for all.
    if meta.mode() & 0o077 != 0 && meta.uid() == rustix::process::geteuid().as_raw() {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// A process that holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process ID.
    pub pid: u32,
    /// What its program is called, as far as the kernel knows it.
    pub name: String,
}

/// Who holds the flock on `file`, as `/proc/locks` says; None where it says nothing, as of processes outside of a container.
pub fn holder(file: &File) -> Option<Holder> {
    let meta = file.metadata().ok()?;
    let pid = holder_in(&fs::read_to_string("/proc/locks").ok()?, meta.ino())?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    // A program can choose any name for itself.
    let name = name.chars().filter(|c| c.is_ascii_graphic()).collect();
    Some(Holder { pid, name })
}

/// The process that holds a flock on the inode, in the text of `/proc/locks` (fs/locks.c, `lock_get_status`). Devices are not compared:
/// btrfs and overlay file systems have other numbers there than stat(2) says. Where two files match, None.
fn holder_in(locks: &str, inode: u64) -> Option<u32> {
    let pids: Vec<u32> = locks
        .lines()
        .filter_map(|line| {
            // `1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF`; those that wait have `->` after the number.
            let words: Vec<&str> = line.split_whitespace().collect();
            let [_, "FLOCK", _, _, pid, place, ..] = words.as_slice() else {
                return None;
            };
            let found: u64 = place.rsplit(':').next()?.parse().ok()?;
            (found == inode).then(|| pid.parse().ok()).flatten()
        })
        .filter(|pid| *pid != 0)
        .collect();
    match pids.as_slice() {
        [pid] => Some(*pid),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{FlockOperation, flock};

    #[test]
    fn only_the_owner_may_open_it() {
        let temp = tempfile::tempdir().expect("temp dir");
        let path = temp.path().join("lock");
        let mode = || fs::metadata(&path).expect("there").permissions().mode() & 0o7777;
        open(&path).expect("makes");
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("mode");
        open(&path).expect("opens");
        assert_eq!(mode(), 0o600);
        std::os::unix::fs::symlink(&path, temp.path().join("link")).expect("link");
        assert!(open(&temp.path().join("link")).is_err(), "a link is not followed");
        let fifo = temp.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .expect("a FIFO");
        assert!(open(&fifo).is_err(), "a FIFO without a reader is not waited for");
        let reader =
            rustix::fs::open(&fifo, OFlags::RDONLY | OFlags::NONBLOCK, rustix::fs::Mode::empty()).expect("opens");
        let error = open(&fifo).expect_err("a FIFO with a reader").to_string();
        assert_eq!(error, "it is not a regular file");
        drop(reader);
    }

    #[test]
    fn the_holder_is_named() {
        let temp = tempfile::tempdir().expect("temp dir");
        let file = open(&temp.path().join("lock")).expect("makes");
        assert_eq!(holder(&file), None);
        flock(&file, FlockOperation::LockExclusive).expect("locks");
        let found = holder(&file).expect("a holder");
        assert_eq!(found.pid, std::process::id());
        assert!(!found.name.is_empty());
    }

    #[test]
    fn the_kernels_list_is_read() {
        let locks = "1: POSIX  ADVISORY  READ 7 08:01:10 128 128\n2: FLOCK  ADVISORY  WRITE 1234 08:01:10 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 99 08:01:10 0 EOF\n3: FLOCK  ADVISORY  WRITE 5 00:2e:11 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 6 00:2f:11 0 EOF\n5: FLOCK  ADVISORY  WRITE 0 08:01:12 0 EOF\nx\n";
        let check = |inode: u64, expected: Option<u32>| assert_eq!(holder_in(locks, inode), expected, "{inode}");
        check(10, Some(1234));
        check(11, None);
        check(12, None);
        check(13, None);
    }
}
