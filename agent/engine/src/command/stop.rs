//! Stopping: ends all running commands of this process, and starts no further ones.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};

static RUNNING: Mutex<Running> = Mutex::new(Running {
    stopped: false,
    groups: Vec::new(),
});

struct Running {
    /// Whether nothing may be started any more.
    stopped: bool,
    /// The process groups of what runs and may be ended.
    groups: Vec<Pid>,
}

fn running() -> MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends every command that runs, with its children, and lets no other one start, except those that [`super::Confined::finishes`].
pub fn stop_all() {
    let mut running = running();
    running.stopped = true;
    running.groups.drain(..).for_each(kill);
}

/// True after [`stop_all`]: a command that failed may have been ended by it.
pub fn is_stopped() -> bool {
    running().stopped
}

/// Starts a command, unless the order to stop was given; `finishes` is for one that is then started and left to end all the same.
pub(super) fn start<T>(finishes: bool, spawn: impl FnOnce() -> io::Result<(T, Option<Pid>)>) -> io::Result<T> {
    let mut running = running();
    if running.stopped && !finishes {
        return Err(io::Error::new(io::ErrorKind::Interrupted, "this run was told to stop"));
    }
    let (started, group) = spawn()?;
    if !finishes {
        running.groups.extend(group);
    }
    Ok(started)
}

/// Kills the group. One that does not exist any more is no error.
pub(super) fn kill(group: Pid) {
    let _ = kill_process_group(group, Signal::KILL);
}

/// It has ended.
pub(super) fn forget(group: Option<Pid>) {
    running().groups.retain(|other| Some(*other) != group);
}
