//! The sum of what a running command uses, measured from time to time: the kernel limits single processes and files only.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::limits::Limits;
use super::take::measure;
use super::view::View;

/// The shortest pause between two measurements. Where a measurement takes long, as of large directories, the pauses are longer.
const PAUSE: Duration = Duration::from_millis(500);

/// The limit that a command exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    /// Seconds on the clock.
    Time(u64),
    /// Bytes of output.
    Output(u64),
    /// Bytes of memory, over all its processes.
    Memory(u64),
    /// Bytes on the disk.
    Written(u64),
    /// Files and directories, or directories within directories.
    Files(u64),
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exceeded::Time(seconds) => write!(f, "it ran for more than {seconds} s"),
            Exceeded::Output(bytes) => write!(f, "it printed more than {} KiB", bytes >> 10),
            Exceeded::Memory(bytes) => write!(f, "it used more than {} MiB of memory", bytes >> 20),
            Exceeded::Written(bytes) => write!(f, "it wrote more than {} MiB", bytes >> 20),
            Exceeded::Files(count) => write!(
                f,
                "it made more than {count} files, or directories too deep in one another"
            ),
        }
    }
}

/// Measures one command.
#[derive(Debug)]
pub(crate) struct Watch {
    limits: Limits,
    dirs: Vec<PathBuf>,
    user: Option<u32>,
    started: Instant,
    next: Instant,
}

impl Watch {
    /// Begins to measure a command in `view` that starts now.
    pub(crate) fn new(view: &View) -> Watch {
        let now = Instant::now();
        Watch {
            limits: *view.limits(),
            dirs: view.written().map(PathBuf::from).collect(),
            user: view.user(),
            started: now,
            next: now + PAUSE,
        }
    }

    /// How long to wait for the command until [`Watch::look`] has something to do.
    pub(crate) fn pause(&self) -> Duration {
        let end = self.started + self.limits.time;
        self.next.min(end).saturating_duration_since(Instant::now())
    }

    /// Measures the command. Returns the limit that it exceeds, if any.
    pub(crate) fn look(&mut self) -> Option<Exceeded> {
        let now = Instant::now();
        if now >= self.started + self.limits.time {
            return Some(Exceeded::Time(self.limits.time.as_secs()));
        }
        if now < self.next {
            return None;
        }
        let found = self.memory().or_else(|| self.written());
        // At most a fiftieth of the time is spent on measuring.
        self.next = Instant::now() + PAUSE.max(now.elapsed() * 50);
        found
    }

    /// Measures what was written. Also called when the command has ended, because it may have ended between two measurements.
    pub(crate) fn written(&self) -> Option<Exceeded> {
        let (mut bytes, mut files) = (0, 0);
        for dir in &self.dirs {
            let Some(one) = measure(dir, self.limits.written_files) else {
                return Some(Exceeded::Files(self.limits.written_files));
            };
            bytes += one.bytes;
            files += one.files;
        }
        if bytes > self.limits.written_bytes {
            return Some(Exceeded::Written(self.limits.written_bytes));
        }
        (files > self.limits.written_files).then_some(Exceeded::Files(self.limits.written_files))
    }

    /// Measures the memory, which is possible only for a user that runs nothing else.
    fn memory(&self) -> Option<Exceeded> {
        let user = self.user?;
        (resident_bytes(user) > self.limits.memory_sum_bytes).then_some(Exceeded::Memory(self.limits.memory_sum_bytes))
    }
}

/// The memory that all processes of `user` have in use (proc(5), statm).
fn resident_bytes(user: u32) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let page = rustix::param::page_size() as u64;
    let entries = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    entries
        .filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit))
        .filter(|entry| entry.metadata().is_ok_and(|meta| meta.uid() == user))
        .filter_map(|entry| {
            let text = std::fs::read_to_string(entry.path().join("statm")).ok()?;
            text.split_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .map(|pages| pages.saturating_mul(page))
        .sum()
}
