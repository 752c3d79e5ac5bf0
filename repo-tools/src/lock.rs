//! One writer per repository. Readers need no lock and never wait.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::files::{self, FileError};
use crate::stage;

/// The right to change a repository. It ends with the value, or with the process.
///
/// The file holds the number of the process while it writes. A number in a file that nobody has locked is that of one that
/// was killed, and what it left behind is cleaned up before anything else happens.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Waits until nobody else changes the repository at `dir`, and tells people so.
    pub fn take(dir: &Path) -> Result<Self, FileError> {
        let path = dir.join(".lock");
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(FileError::on("open", &path))?;
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
        let lock = Self { file };
        if !before.is_empty() {
            files::sweep(dir)?;
            stage::settle(dir)?;
        }
        lock.mark(std::process::id()).map_err(FileError::on("write", &path))?;
        Ok(lock)
    }

    fn mark(&self, process: u32) -> io::Result<()> {
        self.file.set_len(0)?;
        rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Start(0))?;
        (&self.file).write_all(process.to_string().as_bytes())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Where this fails the next one only looks for leftovers in vain.
        let _ = self.file.set_len(0);
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
    fn what_a_killed_writer_left_is_swept_and_what_people_left_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let leftover = dir.path().join("public/targets/.new-abc");
        let file = dir.path().join("public/new-abc");
        fs::create_dir_all(leftover.parent().unwrap()).unwrap();
        for path in [&leftover, &file] {
            fs::write(path, "x").unwrap();
        }
        drop(Lock::take(dir.path()).unwrap());
        assert!(leftover.exists(), "nobody was killed");
        fs::write(dir.path().join(".lock"), "12345").unwrap();
        drop(Lock::take(dir.path()).unwrap());
        assert!(!leftover.exists() && file.exists());
        assert_eq!(fs::read_to_string(dir.path().join(".lock")).unwrap(), "");
    }
}
