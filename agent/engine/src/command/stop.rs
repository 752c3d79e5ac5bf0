//! Stopping: ends all running commands of this process, and starts no further ones.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};

static RUNNING: Mutex<Running> = Mutex::new(Running {
    stopped: false,
    groups: Vec::new(),
    uninterruptible: Vec::new(),
});

struct Running {
    /// Whether no more commands may start.
    stopped: bool,
    /// The process groups of the running commands that may be killed.
    groups: Vec<Pid>,
    /// Those of the others.
    uninterruptible: Vec<Pid>,
}

fn running() -> MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills every running command with its children and lets no other start, except those that are [`super::Confined::uninterruptible`].
pub fn stop_all() {
    let mut running = running();
    running.stopped = true;
    running.groups.drain(..).for_each(kill);
}

/// True after [`stop_all`]: a command that failed may have been ended by it.
pub fn is_stopped() -> bool {
    running().stopped
}

/// Starts a command, unless [`stop_all`] was called. An `uninterruptible` one is started even then, and is never killed by it.
pub(super) fn start<T>(uninterruptible: bool, spawn: impl FnOnce() -> io::Result<(T, Option<Pid>)>) -> io::Result<T> {
    let mut running = running();
    if running.stopped && !uninterruptible {
        return Err(io::Error::new(io::ErrorKind::Interrupted, "this run was told to stop"));
    }
    let (started, group) = spawn()?;
    if uninterruptible {
        running.uninterruptible.extend(group);
    } else {
        running.groups.extend(group);
    }
    Ok(started)
}

/// Whether a command runs that must not be interrupted.
pub fn has_uninterruptible() -> bool {
    !running().uninterruptible.is_empty()
}

/// Kills the group. One that does not exist any more is no error.
pub(super) fn kill(group: Pid) {
    let _ = kill_process_group(group, Signal::KILL);
}

/// Removes the group of a command that has ended.
pub(super) fn forget(group: Option<Pid>) {
    let mut running = running();
    running.groups.retain(|other| Some(*other) != group);
    running.uninterruptible.retain(|other| Some(*other) != group);
}
