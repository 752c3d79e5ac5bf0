//! One writer per tree.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{Tree, TreeError};
use crate::event::{Event, Sink};
use crate::lock_file::{self, Holder};
use crate::sandbox;

/// The right to write into one tree. Readers need none and never wait.
#[derive(Debug)]
pub struct TreeLock {
    _file: File,
}

impl Tree {
    /// Waits until no other process writes into this tree. A run begins with [`crate::recovery::lock_and_recover`].
    ///
    /// The tree is made if it is not there. The lock ends with the value, or with the process.
    ///
    /// # Errors
    /// When the tree cannot be written.
    pub(crate) fn lock(&self, sink: &dyn Sink) -> Result<TreeLock, TreeError> {
        self.make_readable().map_err(TreeError::io("create", self.path()))?;
        let path = self.path().join(".lock");
        let fail = |what| TreeError::io(what, &path);
        let file = lock_file::open(&path).map_err(fail("open"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                sink.emit(Event::Note(format!(
                    "waiting for another dkms on {}",
                    self.path().display()
                )));
                wait_for(&file, &path, sink).map_err(fail("lock"))?;
            }
            Err(error) => return Err(fail("lock")(error.into())),
        }
        // An image is no place for what is known of this machine.
        if self.root().is_host() {
            sandbox::remember_in(self.path());
        }
        Ok(TreeLock { _file: file })
    }

    /// Makes the tree if it is not there, readable for all whatever the umask: builds run as users of their own, and `dkms status` as any.
    fn make_readable(&self) -> io::Result<()> {
        let missing = self.path().ancestors().take_while(|dir| !dir.exists());
        let missing: Vec<_> = missing.map(Path::to_owned).collect();
        fs::create_dir_all(self.path())?;
        let open = fs::Permissions::from_mode(0o755);
        missing
            .iter()
            .try_for_each(|dir| fs::set_permissions(dir, open.clone()))
    }

    /// The directory of running builds; its content is left over when the lock is free.
    pub(crate) fn work_dir(&self) -> std::path::PathBuf {
        self.path().join(".work")
    }
}

/// How long to wait before the holder of the lock is reported, and the pause between attempts until then.
const PATIENCE: Duration = Duration::from_secs(2);
const INTERVAL: Duration = Duration::from_millis(50);

/// Waits for the lock, and reports who holds it when that takes long.
fn wait_for(file: &File, path: &Path, sink: &dyn Sink) -> io::Result<()> {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(INTERVAL),
            other => return Ok(other?),
        }
    }
    if let Some(Holder { pid, name }) = lock_file::holder(file) {
        let text = format!("process {pid} ({name}) holds the lock {}", path.display());
        sink.emit(Event::Note(text));
    }
    Ok(flock(file, FlockOperation::LockExclusive)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::framework::Framework;
    use crate::root::Root;

    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>);

    impl Sink for Notes {
        fn emit(&self, event: Event) {
            if let Event::Note(text) | Event::Warning { text, .. } = event {
                self.0.lock().expect("notes").push(text);
            }
        }
    }

    #[test]
    fn who_waits_long_is_told_for_whom() {
        let temp = tempfile::tempdir().expect("temp dir");
        let tree = Tree::new(&Root::at(temp.path()), &Framework::default());
        let held = tree.lock(&()).expect("locks");
        let notes = Notes::default();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| tree.lock(&notes).map(drop));
            let told = || notes.0.lock().expect("notes").len() == 2;
            let started = Instant::now();
            while !told() && started.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(20));
            }
            drop(held);
            waiter.join().expect("ends").expect("locks");
        });
        let notes = notes.0.into_inner().expect("notes");
        assert!(notes[0].starts_with("waiting for another dkms on "), "{notes:?}");
        assert!(
            notes[1].starts_with(&format!("process {} (", std::process::id())),
            "{notes:?}"
        );
    }

    #[test]
    fn the_tree_is_readable_and_its_lock_is_not() {
        let temp = tempfile::tempdir().expect("temp dir");
        let tree = Tree::new(&Root::at(temp.path()), &Framework::default());
        let mode = |path: &str| {
            let meta = fs::metadata(temp.path().join(path)).expect(path);
            meta.permissions().mode() & 0o7777
        };
        drop(tree.lock(&()).expect("locks"));
        assert_eq!(mode("var/lib/dkms"), 0o755);
        assert_eq!(mode("var"), 0o755);
        assert_eq!(mode("var/lib/dkms/.lock"), 0o600);
        // A mode that an administrator set is kept.
        fs::set_permissions(tree.path(), fs::Permissions::from_mode(0o700)).expect("mode");
        drop(tree.lock(&()).expect("locks"));
        assert_eq!(mode("var/lib/dkms"), 0o700);
    }
}
