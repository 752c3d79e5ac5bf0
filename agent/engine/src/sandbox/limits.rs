//! Limits: those that the kernel enforces for each process (getrlimit(2)), and those that we measure for all processes together.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use super::account;

/// Limits of one command. A sum is over all its processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Seconds on the clock.
    pub time: Duration,
    /// Seconds on a processor, for each process.
    pub cpu_s: u64,
    /// Bytes of address space, for each process.
    pub memory_bytes: u64,
    /// Bytes of memory in use, in sum.
    pub memory_sum_bytes: u64,
    /// Processes and threads at once.
    pub processes: u64,
    /// Bytes of the largest file.
    pub file_bytes: u64,
    /// Open files, for each process.
    pub open_files: u64,
    /// Bytes in the directories that it may write, in sum.
    pub written_bytes: u64,
    /// Files and directories in there.
    pub written_files: u64,
    /// Bytes of its output that are kept; the rest is counted and dropped.
    pub output_bytes: u64,
}

const MIB: u64 = 1 << 20;

impl Limits {
    /// For the evaluation of a dkms.conf: real ones take milliseconds and a few MiB.
    pub fn evaluation() -> Limits {
        Limits {
            time: Duration::from_secs(20),
            cpu_s: 30,
            memory_bytes: 2048 * MIB,
            memory_sum_bytes: 2048 * MIB,
            processes: 256,
            file_bytes: 8 * MIB,
            open_files: 256,
            written_bytes: 64 * MIB,
            written_files: 10_000,
            output_bytes: 4 * MIB,
        }
    }

    /// For what runs in a build directory, with `jobs` compilers at once. The largest packages of Debian (openafs, lttng-modules,
    /// nvidia) use less than a tenth of each.
    pub fn build(time: Duration, jobs: usize) -> Limits {
        let jobs = jobs.clamp(1, 1024) as u64;
        Limits {
            time,
            cpu_s: time.as_secs().max(1),
            memory_bytes: 16 * 1024 * MIB,
            memory_sum_bytes: most_of_the_memory(),
            processes: 512 + 16 * jobs,
            file_bytes: 4 * 1024 * MIB,
            open_files: 4096,
            written_bytes: 16 * 1024 * MIB,
            written_files: 500_000,
            output_bytes: 64 * MIB,
        }
    }

    /// The call of prlimit(1) that sets the limits which the kernel counts, to be followed by a command of `user`; None for our own.
    pub(super) fn prlimit(&self, user: Option<u32>) -> Vec<OsString> {
        // The kernel counts all processes of a user, not those of one command.
        let others = match user {
            Some(user) if account::is_private(user) => 0,
            Some(user) => threads_of(user),
            None => threads_of(rustix::process::getuid().as_raw()),
        };
        [
            "prlimit".to_owned(),
            "--core=0".to_owned(),
            format!("--cpu={}", self.cpu_s),
            format!("--as={}", self.memory_bytes),
            format!("--fsize={}", self.file_bytes),
            format!("--nofile={}", self.open_files),
            format!("--nproc={}", self.processes.saturating_add(others)),
        ]
        .map(OsString::from)
        .to_vec()
    }
}

/// How many threads of `user` there are on this machine, as far as /proc tells.
fn threads_of(user: u32) -> u64 {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    entries
        .filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit))
        .filter(|entry| entry.metadata().is_ok_and(|meta| meta.uid() == user))
        // Two links more than threads: the directory's own and its parent's.
        .filter_map(|entry| Some(entry.path().join("task").metadata().ok()?.nlink().saturating_sub(2)))
        .sum()
}

/// Three quarters of the machine's memory, in bytes.
fn most_of_the_memory() -> u64 {
    let total = rustix::system::sysinfo();
    (total.totalram as u64).saturating_mul(u64::from(total.mem_unit)) / 4 * 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_words_of_prlimit() {
        let words = Limits::evaluation().prlimit(Some(60_578));
        let text: Vec<String> = words.iter().map(|w| w.to_string_lossy().into_owned()).collect();
        assert_eq!(text[0], "prlimit");
        assert!(
            text.contains(&"--nproc=256".to_owned()) && text.contains(&"--fsize=8388608".to_owned()),
            "{text:?}"
        );
        assert_eq!(threads_of(u32::MAX - 7), 0);
        assert!(threads_of(rustix::process::getuid().as_raw()) > 0);
        assert!(most_of_the_memory() > 64 * MIB);
    }
}
