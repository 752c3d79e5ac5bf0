//! A running command: started, watched, its output read, and ended with all processes that it started.

use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::stop::{self, kill};
use super::{Confined, Ended};
use crate::sandbox::{Confinement, Exceeded, Info, Layers, View, Watch, forget, start_restricted, wrap};

/// How long to wait for the remaining processes of a sandbox after they were killed.
const SANDBOX_EXIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where an output stream goes, and how many bytes of it are kept. The rest is dropped.
pub(super) struct OutputTarget<'a> {
    pub(super) to: &'a mut (dyn Write + Send),
    pub(super) limit_len: u64,
    /// Whether the command is killed when it writes more than [`FLOOD_FACTOR`] times `limit_len`.
    pub(super) kill_on_flood: bool,
}

/// See [`OutputTarget::kill_on_flood`].
const FLOOD_FACTOR: u64 = 16;

/// A started command, and what tells that all its processes have ended.
struct Started {
    child: Child,
    /// The process group of the first process.
    group: Option<Pid>,
    /// Readable when the last process of its PID namespace has ended.
    all: Option<OwnedFd>,
}

/// Runs the command. `targets` are for its standard output and its standard error, or one for both.
pub(super) fn run(confined: &Confined, targets: Vec<OutputTarget<'_>>) -> io::Result<Ended> {
    let (readers, outputs) = pipes(targets.len())?;
    let stdin = confined.stdin_file()?;
    let mut started = start(confined, stdin, outputs)?;
    let (is_over, flooded) = (AtomicBool::new(false), AtomicBool::new(false));
    let limit_len = targets.first().map_or(0, |target| target.limit_len);
    let mut watch = confined.sandbox.as_ref().map(Watch::new);
    let (status, exceeded) = std::thread::scope(|scope| {
        for (reader, target) in readers.into_iter().zip(targets) {
            let (is_over, flooded, group) = (&is_over, &flooded, started.group);
            scope.spawn(move || {
                if copy_output(reader, target, is_over) {
                    flooded.store(true, Ordering::Release);
                    group.into_iter().for_each(kill);
                }
            });
        }
        let (done, wait) = mpsc::channel::<()>();
        let group = started.group;
        let watch = &mut watch;
        let watchdog = scope.spawn(move || enforce_limits(confined, watch.as_mut(), group, &wait));
        let status = wait_for(&mut started, confined);
        drop(done);
        let exceeded = watchdog.join().unwrap_or(None);
        is_over.store(true, Ordering::Release);
        (status, exceeded)
    });
    stop::forget(started.group);
    let flood = flooded
        .load(Ordering::Acquire)
        .then_some(Exceeded::Output(limit_len.saturating_mul(FLOOD_FACTOR)));
    let exceeded = exceeded.or(flood);
    let late = watch.filter(|_| exceeded.is_none()).and_then(|watch| watch.written());
    Ok(Ended {
        status: status?,
        timed_out: matches!(exceeded, Some(Exceeded::Time(_))),
        exceeded: exceeded.or(late),
    })
}

/// Pipes for one output or two; with one, both outputs go there.
fn pipes(count: usize) -> io::Result<(Vec<PipeReader>, [Stdio; 2])> {
    let (first, out) = io::pipe()?;
    if count < 2 {
        return Ok((vec![first], [out.try_clone()?.into(), out.into()]));
    }
    let (second, err) = io::pipe()?;
    Ok((vec![first, second], [out.into(), err.into()]))
}

/// Copies an output until its end, or until the command has ended and the pipe is empty: a process that outlived the command and kept the
/// pipe open cannot block us. Output over the limit is read and dropped. True when the command is to be killed for too much output.
fn copy_output(mut reader: PipeReader, target: OutputTarget<'_>, is_over: &AtomicBool) -> bool {
    let (mut left, mut total) = (target.limit_len, 0_u64);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let over = is_over.load(Ordering::Acquire);
        let patience = if over {
            Duration::ZERO
        } else {
            Duration::from_millis(100)
        };
        if !is_ready(&reader, patience) {
            if over {
                return false;
            }
            continue;
        }
        let len = match reader.read(&mut buffer) {
            Ok(len @ 1..) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            _ => return false,
        };
        let kept = len.min(usize::try_from(left).unwrap_or(usize::MAX));
        left -= kept as u64;
        // A log that cannot be written does not stop the command.
        let _ = target.to.write_all(&buffer[..kept]);
        total = total.saturating_add(len as u64);
        if target.kill_on_flood && total > target.limit_len.saturating_mul(FLOOD_FACTOR) {
            return true;
        }
        if kept < len && kept > 0 && !target.kill_on_flood {
            let _ = target.to.write_all(b"\n[more output was dropped]\n");
        }
    }
}

fn is_ready(fd: impl AsFd, timeout: Duration) -> bool {
    poll_one(fd, PollFlags::IN, timeout)
}

/// Whether a write of a few bytes would not wait, or fail at once.
pub(super) fn is_writable(fd: impl AsFd, timeout: Duration) -> bool {
    poll_one(fd, PollFlags::OUT, timeout)
}

fn poll_one(fd: impl AsFd, flags: PollFlags, timeout: Duration) -> bool {
    let timeout = Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    };
    let mut fds = [PollFd::new(&fd, flags)];
    retry_on_intr(|| poll(&mut fds, Some(&timeout))).is_ok_and(|ready| ready > 0)
}

/// Kills the command when it exceeds a limit.
fn enforce_limits(
    confined: &Confined,
    mut watch: Option<&mut Watch>,
    group: Option<Pid>,
    wait: &mpsc::Receiver<()>,
) -> Option<Exceeded> {
    loop {
        let pause = match (&watch, confined.time_limit) {
            (Some(watch), _) => watch.pause(),
            (None, Some(limit)) => limit,
            (None, None) => Duration::MAX,
        };
        let waited = if pause == Duration::MAX {
            wait.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected)
        } else {
            wait.recv_timeout(pause)
        };
        if waited != Err(mpsc::RecvTimeoutError::Timeout) {
            return None;
        }
        let exceeded = match &mut watch {
            Some(watch) => watch.look(),
            None => Some(Exceeded::Time(confined.time_limit.unwrap_or_default().as_secs())),
        };
        if exceeded.is_some() {
            group.into_iter().for_each(kill);
            return exceeded;
        }
    }
}

/// Waits until the command ends. In a sandbox or with a time limit, the processes that it started are killed then.
fn wait_for(started: &mut Started, confined: &Confined) -> io::Result<ExitStatus> {
    let ends_together = confined.sandbox.is_some() || confined.time_limit.is_some();
    if let Some(pid) = started.group.filter(|_| ends_together) {
        // The group is killed before the child is reaped: until then its process ID, which is also the group's, is not reused.
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        kill(pid);
    }
    let status = started.child.wait();
    if let Some(all) = &started.all {
        is_ready(all, SANDBOX_EXIT_TIMEOUT);
    }
    let restricted = confined.sandbox.as_ref().filter(|_| started.all.is_none());
    if let Some(user) = restricted.and_then(View::user) {
        kill_all_of(user);
    }
    status
}

/// Kills every process of the user reserved for this command (kill(2), pid -1). Without a PID namespace, processes that left the
/// process group would stay.
fn kill_all_of(user: u32) {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "kill -KILL -1"]).env_clear().uid(user).gid(user);
    let _ = command.stdin(Stdio::null()).stderr(Stdio::null()).status();
}

fn add_descriptors(command: &mut Command, descriptors: Vec<FdMapping>) -> io::Result<()> {
    if !descriptors.is_empty() {
        command.fd_mappings(descriptors).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Starts it in a process group of its own, which [`stop::stop_all`] kills.
fn start(confined: &Confined, stdin: Stdio, [stdout, stderr]: [Stdio; 2]) -> io::Result<Started> {
    let prepare = |command: &mut Command| {
        confined.prepare(command);
        command.stdin(stdin).stdout(stdout).stderr(stderr).process_group(0);
    };
    // `stop::start` holds a lock, so that no command starts after `stop_all`.
    let (child, group, info) = stop::start(confined.uninterruptible, || {
        let (child, info) = match &confined.sandbox {
            None => {
                let mut command = confined.plain();
                add_descriptors(&mut command, confined.descriptors()?)?;
                prepare(&mut command);
                (command.spawn()?, None)
            }
            Some(view) if Layers::here().confinement == Confinement::MountNamespace => {
                let mut wrapped = wrap(
                    view,
                    &confined.program,
                    &confined.args,
                    &confined.dir,
                    confined.descriptors()?,
                )?;
                prepare(&mut wrapped.command);
                let (child, info) = wrapped.spawn()?;
                (child, Some(info))
            }
            Some(view) => {
                let mut command = confined.restricted(view);
                add_descriptors(&mut command, confined.descriptors()?)?;
                prepare(&mut command);
                let with_landlock = Layers::here().confinement == Confinement::Landlock;
                (start_restricted(view, with_landlock, &mut command)?, None)
            }
        };
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok(((child, group, info), group))
    })?;
    let is_wrapped = info.is_some();
    let all = info.and_then(Info::namespace);
    if is_wrapped && all.is_none() {
        forget();
    }
    Ok(Started { child, group, all })
}
