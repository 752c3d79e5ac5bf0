//! The one place where programs are started: an explicit environment, an explicit user, limits, no stdin.
//!
//! Everything that runs code of a package goes through [`Confined`], so that a stronger sandbox has one place to be put.

mod access;
mod processes;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

pub use access::{closed_to_others, readable_by_all};
use processes::spawn_in_pid_namespace;
pub(crate) use processes::threads_of;

/// The search path of every program we start.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/dkms";

/// The user that owns nothing.
pub const NOBODY: u32 = 65534;

/// No core files; seconds on a processor; file size and memory in KiB. Limits that cannot be set are lower already.
const SHELL_LIMITS: &str = "{ ulimit -c 0; ulimit -t 30; ulimit -f 8192; ulimit -v 2097152; } 2>/dev/null\n";

/// As whom a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// As we do.
    Same,
    /// As nobody where we are root, else as we do.
    Unprivileged,
}

/// What runs now. Signals meet the whole process, and so does this.
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

/// Ends every command that runs, with its children, and lets no other one start, except those that [`Confined::finishes`].
pub fn stop_all() {
    let mut running = running();
    running.stopped = true;
    running.groups.drain(..).for_each(kill);
}

/// True after [`stop_all`]: a command that failed may have been ended by it.
pub fn is_stopped() -> bool {
    running().stopped
}

/// A group that is gone already is what we want.
fn kill(group: Pid) {
    let _ = kill_process_group(group, Signal::KILL);
}

/// A command in preparation.
#[derive(Debug, Clone)]
pub struct Confined {
    program: OsString,
    args: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    dir: PathBuf,
    user: User,
    time_limit: Option<Duration>,
    chroot: Option<PathBuf>,
    jobserver: Option<jobserver::Client>,
    stdin: Vec<u8>,
    finishes: bool,
    pid_namespace: bool,
    inherits_environment: bool,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// True when it ran longer than allowed and was killed.
    pub timed_out: bool,
}

/// What a command wrote and how it ended.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub ended: Ended,
    /// Its standard output, up to the limit given.
    pub stdout: Vec<u8>,
    /// Its standard error, up to the limit given.
    pub stderr: Vec<u8>,
}

impl Confined {
    /// Prepares `program` (a path, or a name found on [`PATH`]) to run in `/` as we run, in the C locale.
    pub fn new(program: impl AsRef<OsStr>) -> Confined {
        let env = [
            ("PATH", PATH),
            ("LC_ALL", "C"),
            ("HOME", "/nonexistent"),
            ("SHELL", "/bin/bash"),
        ];
        Confined {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: env
                .iter()
                .map(|(k, v)| (OsString::from(k), OsString::from(v)))
                .collect(),
            dir: PathBuf::from("/"),
            user: User::Same,
            time_limit: None,
            chroot: None,
            jobserver: None,
            stdin: Vec::new(),
            finishes: false,
            pid_namespace: false,
            inherits_environment: false,
        }
    }

    /// Prepares a bash that runs `script` and calls itself `name`: without anybody's start-up files, and with limits of its own, far above
    /// what any such script has needed.
    pub fn bash(script: &str, name: &str) -> Confined {
        let script = format!("{SHELL_LIMITS}{script}");
        Confined::new("/bin/bash").args(["--noprofile", "--norc", "-c", &script, name])
    }

    /// Adds our own environment to its: for programs of the system whose libraries are configured there. What is set here wins.
    #[must_use]
    pub fn inherits_environment(mut self) -> Confined {
        self.inherits_environment = true;
        self
    }

    /// Ends everything that it started when it ends, also what left its process group: it gets a PID namespace where we may make one.
    /// There it is process 1, whom no signal of its own kills.
    #[must_use]
    pub fn pid_namespace(mut self) -> Confined {
        self.pid_namespace = true;
        self
    }

    /// Lets it come to its end when the program is told to stop: what it does must not stay half done.
    #[must_use]
    pub fn finishes(mut self) -> Confined {
        self.finishes = true;
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Confined {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Confined {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable of its environment, which holds nothing that was not set here.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Confined {
        self.env.insert(name.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Sets the directory it runs in (inside the chroot, if there is one).
    #[must_use]
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Confined {
        dir.as_ref().clone_into(&mut self.dir);
        self
    }

    /// Sets as whom it runs.
    #[must_use]
    pub fn user(mut self, user: User) -> Confined {
        self.user = user;
        self
    }

    /// Kills it and its children after `limit`.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Confined {
        self.time_limit = Some(limit);
        self
    }

    /// Runs it in a chroot of `dir`; its program and directory are then paths in there.
    #[must_use]
    pub fn chroot(mut self, dir: Option<&Path>) -> Confined {
        self.chroot = dir.map(Path::to_owned);
        self
    }

    /// Gives other names to its program and directory, such as those that they have in a chroot.
    #[must_use]
    pub fn renamed(mut self, name: impl Fn(&Path) -> PathBuf) -> Confined {
        self.program = name(Path::new(&self.program)).into();
        self.dir = name(&self.dir);
        self
    }

    /// Lets a `make` in it take its jobs from `client`.
    #[must_use]
    pub fn jobserver(mut self, client: &jobserver::Client) -> Confined {
        self.jobserver = Some(client.clone());
        self
    }

    /// Gives it `bytes` to read.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Confined {
        self.stdin = bytes.into();
        self
    }

    /// Runs it with both outputs going to `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run_logged(&self, log: &File) -> io::Result<Ended> {
        self.run(log.try_clone()?, log.try_clone()?)
    }

    /// Runs it and hands back its output, at most `limit_len` bytes of each output.
    ///
    /// The outputs are unnamed files, so that a child which outlives its parent cannot hold us up.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn output(&self, limit_len: u64) -> io::Result<Output> {
        let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let ended = self.run(stdout.try_clone()?, stderr.try_clone()?)?;
        let mut output = Output {
            ended,
            stdout: Vec::new(),
            stderr: Vec::new(),
        };
        for (file, bytes) in [(&mut stdout, &mut output.stdout), (&mut stderr, &mut output.stderr)] {
            file.rewind()?;
            file.take(limit_len).read_to_end(bytes)?;
        }
        Ok(output)
    }

    fn run(&self, stdout: File, stderr: File) -> io::Result<Ended> {
        let mut command = self.command();
        command.stdin(self.stdin_file()?).stdout(stdout).stderr(stderr);
        let (mut child, group) = self.start(command.process_group(0))?;
        let (done, wait) = mpsc::channel::<()>();
        let (status, timed_out) = std::thread::scope(|scope| {
            let watchdog = self.time_limit.map(|limit| {
                scope.spawn(move || {
                    let timed_out = wait.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
                    if timed_out {
                        group.into_iter().for_each(kill);
                    }
                    timed_out
                })
            });
            let status = child.wait();
            drop(done);
            (
                status,
                watchdog.is_some_and(|watchdog| watchdog.join().unwrap_or(false)),
            )
        });
        running().groups.retain(|other| Some(*other) != group);
        if self.time_limit.is_some() {
            group.into_iter().for_each(kill);
        }
        Ok(Ended {
            status: status?,
            timed_out,
        })
    }

    /// Starts it in a process group of its own, which [`stop_all`] knows of.
    fn start(&self, command: &mut Command) -> io::Result<(Child, Option<Pid>)> {
        // Nothing can start between the order to stop and the look at it.
        let mut running = running();
        if running.stopped && !self.finishes {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "this run was told to stop"));
        }
        let child = if self.pid_namespace {
            spawn_in_pid_namespace(command)?
        } else {
            command.spawn()?
        };
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        if !self.finishes {
            running.groups.extend(group);
        }
        Ok((child, group))
    }

    /// A file rather than a pipe: a program that does not read all of it cannot hold us up.
    fn stdin_file(&self) -> io::Result<Stdio> {
        if self.stdin.is_empty() {
            return Ok(Stdio::null());
        }
        let mut file = tempfile::tempfile()?;
        file.write_all(&self.stdin)?;
        file.rewind()?;
        Ok(file.into())
    }

    fn drops_to_nobody(&self) -> bool {
        self.user == User::Unprivileged && is_root()
    }

    fn command(&self) -> Command {
        let mut command = match &self.chroot {
            None => Command::new(&self.program),
            Some(root) => {
                let mut command = Command::new("chroot");
                if self.drops_to_nobody() {
                    // As numbers, because the root may know no users.
                    command
                        .arg(format!("--userspec={NOBODY}:{NOBODY}"))
                        .arg(format!("--groups={NOBODY}"));
                }
                command
                    .arg(root)
                    .args(["/usr/bin/env", "-C"])
                    .arg(&self.dir)
                    .arg(&self.program);
                command
            }
        };
        command.args(&self.args);
        if !self.inherits_environment {
            command.env_clear();
        }
        command.envs(&self.env);
        if self.chroot.is_none() {
            command.current_dir(&self.dir);
        }
        if self.drops_to_nobody() && self.chroot.is_none() {
            command.uid(NOBODY).gid(NOBODY);
        }
        if let Some(client) = &self.jobserver {
            client.configure_make(&mut command);
        }
        command
    }
}

/// True when we run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The place of a program on [`PATH`] inside `root`.
pub fn find_program(root: &crate::root::Root, name: &str) -> Option<PathBuf> {
    use rustix::fs::{Access, access};
    PATH.split(':')
        .map(|dir| root.join(Path::new(dir).join(name)))
        .find(|path| path.is_file() && access(path, Access::EXEC_OK).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_ours_and_time_is_limited() {
        let output = Confined::new("env").env("A", "1").output(4096).expect("runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.ended.status.success());
        assert!(text.contains("A=1\n") && text.contains("LC_ALL=C\n"), "{text}");
        assert!(!text.contains("CARGO"), "{text}");

        let started = std::time::Instant::now();
        let sleeper = Confined::new("bash").args(["-c", "setsid sleep 30 & sleep 30"]);
        let output = sleeper.time_limit(Duration::from_millis(100)).output(10).expect("runs");
        assert!(output.ended.timed_out);
        assert!(started.elapsed() < Duration::from_secs(5), "children do not hold us up");
    }

    #[test]
    fn unprivileged_is_nobody_for_root() {
        let output = Confined::new("id")
            .arg("-u")
            .user(User::Unprivileged)
            .output(64)
            .expect("runs");
        let uid = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(uid != "0", "ran as {uid}");
    }

    #[test]
    fn what_left_its_process_group_ends_too() {
        // Its number as this test sees it, whatever namespace it is in.
        let daemon = "setsid bash -c 'read -r pid rest </proc/self/stat; echo $pid; exec sleep 1000 >&-'";
        let script = format!("exec 3< <({daemon}); read -r pid <&3; echo $pid");
        let output = Confined::bash(&script, "test")
            .pid_namespace()
            .output(64)
            .expect("runs");
        let pid: i32 = String::from_utf8_lossy(&output.stdout)
            .trim()
            .parse()
            .expect("a number");
        let is_left = Path::new("/proc").join(pid.to_string()).exists();
        if is_left {
            let _ = rustix::process::kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL);
        }
        let mut namespace = Command::new("unshare");
        let allowed = namespace
            .args(["--pid", "--fork", "true"])
            .stderr(Stdio::null())
            .status();
        assert_eq!(is_left, !allowed.is_ok_and(|status| status.success()), "process {pid}");
    }
}
