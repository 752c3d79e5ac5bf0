//! What a trial showed, kept for the processes after it: a trial costs as much as the start of a sandbox.
//!
//! Only success is kept, with everything that it depends on. An answer that is wrong all the same makes programs of packages fail to
//! start, and is forgotten then: nothing runs outside of the sandbox because of it.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::command::find_program;
use crate::root::Root;

/// The name of the file in the tree.
const NAME: &str = ".sandbox";
/// What temporary files beside it begin with.
const PREFIX: &str = ".sandbox-";

/// What a process needs to enter a sandbox and to be limited by it.
const PROGRAMS: [&str; 3] = ["bwrap", "prlimit", "setpriv"];
/// The lines of /proc/self/status that say what a process may do (proc_pid_status(5)).
const STATUS: [&str; 5] = ["Uid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp"];
/// The namespaces that a sandbox is made in.
const NAMESPACES: [&str; 5] = ["mnt", "user", "pid", "net", "cgroup"];

static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();

/// Keeps the answer in `dir`, which nobody but root may write, for this process and those after it. The first call of a process counts.
pub fn remember_in(dir: &Path) {
    let _ = DIRECTORY.set(dir.to_owned());
}

fn file() -> Option<PathBuf> {
    DIRECTORY.get().map(|dir| dir.join(NAME))
}

/// Whether a trial under the same conditions succeeded.
pub(super) fn works() -> bool {
    let kept = file().and_then(|file| fs::read_to_string(file).ok());
    kept.is_some() && kept == conditions(Path::new("/proc"))
}

/// Keeps that a trial succeeded. Where it cannot be written, the next process makes its own trial.
pub(super) fn keep() {
    if let (Some(file), Some(conditions)) = (file(), conditions(Path::new("/proc"))) {
        let _ = dkms_support::replace_file(&file, conditions.as_bytes(), 0o644, PREFIX);
    }
}

/// The next process makes a trial again: a sandbox did not start.
pub(crate) fn forget() {
    if let Some(file) = file() {
        let _ = fs::remove_file(file);
    }
}

/// What the answer depends on, as text: this start of the machine, the namespaces and the rights of this process, its root directory, and
/// the programs. None where a part of it cannot be known.
fn conditions(proc: &Path) -> Option<String> {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| writeln!(text, "{name} {}", value.trim()).ok();
    line("version", crate::VERSION_TEXT)?;
    let boot = fs::read_to_string(proc.join("sys/kernel/random/boot_id")).ok()?;
    line("boot", &boot)?;
    for name in NAMESPACES {
        let namespace = fs::read_link(proc.join("self/ns").join(name)).ok()?;
        line("namespace", &namespace.to_string_lossy())?;
    }
    let status = fs::read_to_string(proc.join("self/status")).ok()?;
    for name in STATUS {
        let found = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line(name, found?)?;
    }
    // Kernels without such a security module have no such file.
    let label = fs::read_to_string(proc.join("self/attr/current")).unwrap_or_default();
    line("label", label.trim_end_matches('\0'))?;
    for path in PROGRAMS
        .map(|name| find_program(&Root::host(), name))
        .into_iter()
        .chain([Some(PathBuf::from("/"))])
    {
        let path = path?;
        let found = fs::metadata(&path).ok()?;
        let (device, inode, changed) = (found.dev(), found.ino(), (found.ctime(), found.ctime_nsec()));
        // A directory changes with every entry.
        let changed = if found.is_dir() { (0, 0) } else { changed };
        let value = format!("{} {device} {inode} {}.{}", path.display(), changed.0, changed.1);
        line("file", &value)?;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_those_of_this_process_and_this_boot() {
        let here = conditions(Path::new("/proc")).expect("conditions");
        assert_eq!(conditions(Path::new("/proc")).as_deref(), Some(here.as_str()));
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("boot id");
        assert!(here.contains(&format!("boot {}", boot.trim())), "{here}");
        assert!(here.contains("\nCapEff "), "{here}");
        // Without /proc nothing is known, and nothing is kept.
        assert_eq!(conditions(Path::new("/nonexistent")), None);
    }
}
