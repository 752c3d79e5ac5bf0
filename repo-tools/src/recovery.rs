//! What happens after a writer was killed: the next one finishes or removes its work before it begins its own.

use std::path::Path;

use crate::files::{self, FileError};
use crate::lock::Lock;
use crate::stage;

/// Takes the lock of the repository at `dir`, removes the temporary files of a writer that was killed, and finishes what
/// it had decided in the staging area. Every change of a repository begins here.
///
/// # Errors
/// When the lock cannot be taken, or a file cannot be read, written or removed. Then the next writer tries again.
pub fn lock(dir: &Path) -> Result<Lock, FileError> {
    let mut lock = Lock::take(dir)?;
    if lock.was_interrupted() {
        files::sweep(dir)?;
        stage::finish_writes(dir)?;
        lock.recovered();
    }
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_a_killed_writer_left_is_removed_and_what_people_left_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let leftover = dir.path().join("public/targets/.new-abc");
        let file = dir.path().join("public/new-abc");
        fs::create_dir_all(leftover.parent().unwrap()).unwrap();
        for path in [&leftover, &file] {
            fs::write(path, "x").unwrap();
        }
        drop(lock(dir.path()).unwrap());
        assert!(leftover.exists(), "no writer was killed");
        fs::write(dir.path().join(".lock"), "12345").unwrap();
        drop(lock(dir.path()).unwrap());
        assert!(!leftover.exists() && file.exists());
        assert_eq!(fs::read_to_string(dir.path().join(".lock")).unwrap(), "");
    }

    #[test]
    fn a_recovery_that_failed_is_tried_again_by_the_next_writer() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".lock"), "12345").unwrap();
        // A staging area that is no directory cannot be recovered.
        fs::write(dir.path().join("staging"), "").unwrap();
        assert!(lock(dir.path()).is_err());
        assert_ne!(fs::read_to_string(dir.path().join(".lock")).unwrap(), "");
        fs::remove_file(dir.path().join("staging")).unwrap();
        drop(lock(dir.path()).unwrap());
        assert_eq!(fs::read_to_string(dir.path().join(".lock")).unwrap(), "");
    }
}
