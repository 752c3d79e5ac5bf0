//! The only place where programs are started: with an explicit environment, limits and no terminal as input.
//!
//! What runs code of a package does so in a [`View`] of the sandbox.

mod access;
mod jobserver;
mod run;
mod stop;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use command_fds::FdMapping;

pub use access::{closed_to_others, readable_by_all};
pub use jobserver::{Jobserver, JobserverHandle};
pub use stop::{has_uninterruptible, is_stopped, stop_all};

use crate::sandbox::{Exceeded, View};
use run::OutputTarget;

/// The search path of every program we start.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/dkms";

/// No core files; seconds on a processor; file size and memory in KiB. Limits that cannot be set are lower already.
const SHELL_LIMITS: &str = "{ ulimit -c 0; ulimit -t 30; ulimit -f 8192; ulimit -v 2097152; } 2>/dev/null\n";

/// A command to run: its program, arguments, environment and limits. It is confined only where [`Confined::sandbox`] sets a view.
#[derive(Debug, Clone)]
pub struct Confined {
    program: OsString,
    args: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    dir: PathBuf,
    sandbox: Option<View>,
    time_limit: Option<Duration>,
    chroot: Option<PathBuf>,
    jobserver: Option<Jobserver>,
    stdin: Vec<u8>,
    uninterruptible: bool,
    inherits_environment: bool,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// True when it ran longer than allowed and was killed.
    pub timed_out: bool,
    /// The limit that it exceeded: it was killed for that, or it ended before the limit was checked.
    pub exceeded: Option<Exceeded>,
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
            sandbox: None,
            time_limit: None,
            chroot: None,
            jobserver: None,
            stdin: Vec::new(),
            uninterruptible: false,
            inherits_environment: false,
        }
    }

    /// Prepares a bash that runs `script` as `name` ($0). It reads no start-up files, and has limits far above what any such
    /// script has needed.
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

    /// Is not killed when the run is stopped ([`stop_all`]), for work that must not be interrupted.
    #[must_use]
    pub fn uninterruptible(mut self) -> Confined {
        self.uninterruptible = true;
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

    /// Lets it see and write no more than `view`, as its user and within its limits.
    #[must_use]
    pub fn sandbox(mut self, view: View) -> Confined {
        self.sandbox = Some(view);
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

    /// Lets a `make` that it runs use `jobserver`.
    #[must_use]
    pub fn jobserver(mut self, jobserver: &Jobserver) -> Confined {
        self.jobserver = Some(jobserver.clone());
        self
    }

    /// Sets its standard input to `bytes`.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Confined {
        self.stdin = bytes.into();
        self
    }

    /// Runs it and writes its standard output and standard error to `log`. It gets a pipe: only this process writes the file.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run_logged(&self, log: &File) -> io::Result<Ended> {
        let mut log = log;
        let limit_len = self
            .sandbox
            .as_ref()
            .map_or(u64::MAX, |view| view.limits().output_bytes);
        run::run(
            self,
            vec![OutputTarget {
                to: &mut log,
                limit_len,
                kill_on_flood: false,
            }],
        )
    }

    /// Runs it and returns its output, at most `limit_len` bytes of each stream. The rest is dropped; a command in a sandbox that writes
    /// far more is killed.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn output(&self, limit_len: u64) -> io::Result<Output> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let kill_on_flood = self.sandbox.is_some();
        let targets = vec![
            OutputTarget {
                to: &mut stdout,
                limit_len,
                kill_on_flood,
            },
            OutputTarget {
                to: &mut stderr,
                limit_len,
                kill_on_flood,
            },
        ];
        let ended = run::run(self, targets)?;
        Ok(Output { ended, stdout, stderr })
    }

    /// A file rather than a pipe: a program that does not read all of it cannot block us.
    fn stdin_file(&self) -> io::Result<Stdio> {
        if self.stdin.is_empty() {
            return Ok(Stdio::null());
        }
        let mut file = tempfile::tempfile()?;
        file.write_all(&self.stdin)?;
        file.rewind()?;
        Ok(file.into())
    }

    /// The command without a sandbox.
    fn plain(&self) -> Command {
        let mut command = match &self.chroot {
            None => Command::new(&self.program),
            Some(root) => {
                let mut command = Command::new("chroot");
                command
                    .arg(root)
                    .args(["/usr/bin/env", "-C"])
                    .arg(&self.dir)
                    .arg(&self.program);
                command
            }
        };
        command.args(&self.args);
        if self.chroot.is_none() {
            command.current_dir(&self.dir);
        }
        command
    }

    /// The command for a thread that restricts itself: the file system is that of the system, the limits and the user are the view's.
    fn restricted(&self, view: &View) -> Command {
        let words = view.prlimit();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        let system = view.system();
        if system != Path::new("/") {
            command.arg("chroot");
            if let Some(user) = view.user() {
                // As numbers, because the root may know no users.
                command
                    .arg(format!("--userspec={user}:{user}"))
                    .arg(format!("--groups={user}"));
            }
            command.arg(system).args(["/usr/bin/env", "-C"]).arg(&self.dir);
        } else {
            command.current_dir(&self.dir);
            if let Some(user) = view.user() {
                command.uid(user).gid(user);
            }
        }
        command.arg(&self.program).args(&self.args);
        command
    }

    /// The environment.
    fn prepare(&self, command: &mut Command) {
        if !self.inherits_environment {
            command.env_clear();
        }
        command.envs(&self.env);
        if self.jobserver.is_some() {
            // rustc reads the first.
            for name in ["CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS"] {
                command.env(name, Jobserver::makeflags());
            }
        }
    }

    /// The descriptors that it gets beside its input and outputs.
    fn descriptors(&self) -> io::Result<Vec<FdMapping>> {
        self.jobserver.as_ref().map_or(Ok(Vec::new()), Jobserver::mappings)
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
    use crate::sandbox::{Account, Limits};

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

    fn view() -> View {
        View::new(Path::new("/"), Account::reserve(), Limits::evaluation())
    }

    #[test]
    fn a_sandbox_has_a_user_of_its_own_and_no_rights() {
        let script = "id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status";
        let output = Confined::bash(script, "test")
            .sandbox(view())
            .output(4096)
            .expect("runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.ended.status.success(), "{text}{stderr}");
        assert!(!text.starts_with("0\n"), "{text}");
        for line in ["CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn what_left_its_process_group_ends_too() {
        let marker = tempfile::tempdir().expect("temp dir");
        let open: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(marker.path(), open).expect("mode");
        let beat = format!("while :; do echo >>{}/beat; sleep 0.01; done", marker.path().display());
        let script = format!(
            "setsid bash -c '{beat}' >&- 2>&- & while [ ! -s {}/beat ]; do sleep 0.01; done",
            marker.path().display()
        );
        let output = Confined::bash(&script, "test")
            .sandbox(view().write(marker.path()))
            .output(1024)
            .expect("runs");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.ended.status.success(), "{stderr}");
        let beats = || std::fs::metadata(marker.path().join("beat")).expect("it ran").len();
        let first = beats();
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(beats(), first, "it goes on");
    }

    #[test]
    fn too_much_output_is_dropped_and_too_much_time_ends_it() {
        let output = Confined::bash("head -c 10000000 /dev/zero; echo end >&2", "test")
            .output(100)
            .expect("runs");
        assert!(output.ended.status.success());
        assert!(output.stdout.starts_with(&[0; 100]) && output.stdout.len() < 200);
        assert_eq!(output.stderr, b"end\n");
        let mut limits = Limits::evaluation();
        limits.time = Duration::from_millis(200);
        let view = View::new(Path::new("/"), Account::reserve(), limits);
        let output = Confined::bash("sleep 30", "test")
            .sandbox(view)
            .output(100)
            .expect("runs");
        assert!(output.ended.timed_out);
    }
}
