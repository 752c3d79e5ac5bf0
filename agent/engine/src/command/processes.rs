//! Processes as the kernel counts and keeps them: PID namespaces, and how many a user has.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command};

use rustix::thread::UnshareFlags;

/// Starts it as the first process of a PID namespace, where that is allowed: with it end all others in there.
pub(super) fn spawn_in_pid_namespace(command: &mut Command) -> io::Result<Child> {
    // The namespace is for what a thread starts from then on, so it is a thread of its own.
    let started = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare_pids();
            command.spawn()
        });
        thread.join()
    });
    started.unwrap_or_else(|_| Err(io::Error::other("the thread that starts it ended")))
}

#[expect(
    deprecated,
    reason = "its successor is unsafe because of file descriptors, which stay shared here"
)]
fn unshare_pids() {
    // Only root may, and not in every container: then its process group is what ends together.
    let _ = rustix::thread::unshare(UnshareFlags::NEWPID);
}

/// How many threads of `user` there are on this machine, as far as /proc tells.
pub(crate) fn threads_of(user: u32) -> usize {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    entries
        .filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit))
        .filter(|entry| entry.metadata().is_ok_and(|meta| meta.uid() == user))
        // Two links more than threads: the directory's own and its parent's.
        .filter_map(|entry| Some(entry.path().join("task").metadata().ok()?.nlink().saturating_sub(2)))
        .sum::<u64>()
        .try_into()
        .unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_have_users() {
        assert_eq!(threads_of(u32::MAX - 7), 0);
        assert!(threads_of(rustix::process::getuid().as_raw()) > 0);
    }
}
