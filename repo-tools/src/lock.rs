//! One writer per repository. Readers need no lock and never wait.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, SeekFrom, flock};

use crate::files::FileError;

/// The right to change a repository. It ends with the value, or with the process.
///
/// The file holds the process id of the writer while it works. A process id in a file that nobody has locked is that of
/// a writer that was killed: then [`Lock::was_interrupted`] is true, and the id stays until [`Lock::recovered`].
#[derive(Debug)]
pub struct Lock {
    file: File,
    interrupted: bool,
}

/// The file in a repository's directory.
pub(crate) const LOCK_FILE: &str = ".lock";

/// Whoever can open the file can lock it, and so stop every writer for ever.
const MODE: u32 = 0o600;

/// Sets the mode of a lock file that an older version made.
fn close_to_others(file: &File) -> io::Result<()> {
    let meta = file.metadata()?;
    if meta.mode() & 0o777 != MODE && meta.uid() == rustix::process::geteuid().as_raw() {
        file.set_permissions(fs::Permissions::from_mode(MODE))?;
    }
    Ok(())
}

impl Lock {
    /// Waits until no other process changes the repository at `dir`, and reports on stderr that it waits.
    pub fn take(dir: &Path) -> Result<Self, FileError> {
        let path = dir.join(LOCK_FILE);
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(MODE)
            .open(&path)
            .map_err(FileError::on("open", &path))?;
        close_to_others(&file).map_err(FileError::on("change the mode of", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let other = fs::read_to_string(&path).unwrap_or_default();
                anstream::eprintln!(
                    "waiting for another dkms-repo (process {}) that changes {}",
                    other.trim(),
                    dir.display()
                );
                flock(&file, FlockOperation::LockExclusive)
                    .map_err(io::Error::from)
                    .map_err(FileError::on("lock", &path))?;
            }
            Err(error) => return Err(FileError::on("lock", &path)(error.into())),
        }
        let mut before = String::new();
        file.read_to_string(&mut before).map_err(FileError::on("read", &path))?;
        let lock = Self {
            file,
            interrupted: !before.is_empty(),
        };
        lock.mark(std::process::id()).map_err(FileError::on("write", &path))?;
        Ok(lock)
    }

    /// Whether the last writer was killed, so that its work has to be finished or removed before anything else.
    pub fn was_interrupted(&self) -> bool {
        self.interrupted
    }

    /// Says that the work of the killed writer was finished or removed.
    pub fn recovered(&mut self) {
        self.interrupted = false;
    }

    /// Writes the process id. The file is never empty in between: if this writer is killed here, the next one still
    /// sees that a writer was interrupted.
    fn mark(&self, process: u32) -> io::Result<()> {
        let text = process.to_string();
        rustix::fs::seek(&self.file, SeekFrom::Start(0))?;
        (&self.file).write_all(text.as_bytes())?;
        self.file.set_len(text.len() as u64)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if !self.interrupted {
            // Where this fails, the next writer looks for leftovers and finds none.
            let _ = self.file.set_len(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_second_writer_waits_for_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path()).unwrap();
        let (ready, done) = mpsc::channel();
        let path = dir.path().to_owned();
        let second = std::thread::spawn(move || {
            let lock = Lock::take(&path).unwrap();
            ready.send(()).unwrap();
            drop(lock);
        });
        assert!(done.recv_timeout(Duration::from_millis(200)).is_err(), "it waits");
        drop(first);
        done.recv().unwrap();
        second.join().unwrap();
    }

    #[test]
    fn others_cannot_open_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".lock");
        let mode = || fs::metadata(&path).unwrap().mode() & 0o777;
        drop(Lock::take(dir.path()).unwrap());
        assert_eq!(mode(), 0o600);
        // As older versions made it.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        drop(Lock::take(dir.path()).unwrap());
        assert_eq!(mode(), 0o600);
    }
}
