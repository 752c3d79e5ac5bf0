//! `--rpm_safe_upgrade`: an rpm transaction that installs a version and then removes the old one, which is the same version.
//!
//! `add` leaves a note of which package came in by which rpm process; `remove` in the same process finds it and does nothing.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::package::DkmsId;

const PREFIX: &str = "dkms_rpm_safe_upgrade_lock";

/// The rpm process: the parent of the scriptlet's shell that called us. The start time tells it from a later process of the
/// same number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transaction {
    pid: u32,
    start_ticks: u64,
}

impl Transaction {
    /// The transaction we are called in; None without /proc.
    pub(super) fn current() -> Option<Transaction> {
        let shell = std::os::unix::process::parent_id();
        let (pid, _) = stat(shell)?;
        let (_, start_ticks) = stat(pid)?;
        Some(Transaction { pid, start_ticks })
    }

    /// Leaves the note in `dir`.
    pub(super) fn note(&self, dir: &Path, package: &DkmsId) -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}.{}.", self.pid))
            .tempfile_in(dir)?;
        file.write_all(self.text(package).as_bytes())?;
        file.keep()?;
        Ok(())
    }

    /// Takes the note about `package` out of `dir`; true if there was one.
    pub(super) fn take_note(&self, dir: &Path, package: &DkmsId) -> bool {
        let wanted = self.text(package);
        let found = self
            .notes(dir)
            .into_iter()
            .find(|path| fs::read_to_string(path).is_ok_and(|text| text == wanted));
        found.is_some_and(|path| fs::remove_file(path).is_ok())
    }

    /// The notes of this transaction that we wrote ourselves: any user may write into /tmp.
    fn notes(&self, dir: &Path) -> Vec<PathBuf> {
        let prefix = format!("{PREFIX}.{}.", self.pid);
        let own = rustix::process::geteuid().as_raw();
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
            .map(|entry| entry.path())
            .filter(|path| {
                path.symlink_metadata()
                    .is_ok_and(|meta| meta.is_file() && meta.uid() == own && meta.len() < 4096)
            })
            .collect()
    }

    fn text(&self, package: &DkmsId) -> String {
        format!("{}\n{}\n", package.dashed(), self.start_ticks)
    }
}

/// The parent of a process and when it started, in clock ticks since boot: proc(5), /proc/PID/stat, fields 4 and 22.
fn stat(pid: u32) -> Option<(u32, u64)> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<(u32, u64)> {
    // The second field is a name in parentheses, which may hold anything.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.get(1)?.parse().ok()?, fields.get(19)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_found_once_and_only_in_its_transaction() {
        let dir = tempfile::tempdir().expect("temp dir");
        let package = |version: &str| DkmsId {
            module: "m".into(),
            version: version.into(),
        };
        let (here, later) = (
            Transaction { pid: 7, start_ticks: 1 },
            Transaction { pid: 7, start_ticks: 2 },
        );
        here.note(dir.path(), &package("1")).expect("note");
        assert!(!later.take_note(dir.path(), &package("1")));
        assert!(!here.take_note(dir.path(), &package("2")));
        assert!(here.take_note(dir.path(), &package("1")));
        assert!(!here.take_note(dir.path(), &package("1")));
    }

    #[test]
    fn names_of_processes_do_not_confuse() {
        let text = "12 (a) b) S 34 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5678 1 1";
        assert_eq!(parse_stat(text), Some((34, 5678)));
        assert!(Transaction::current().is_some());
    }
}
