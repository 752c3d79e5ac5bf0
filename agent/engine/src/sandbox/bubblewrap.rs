//! The call of bubblewrap: a root directory made for one run, and namespaces for all that a kernel shares.
//!
//! Started by root, bubblewrap mounts with root's rights, so that no directory has to be open to the user of the build; inside, `setpriv`
//! then changes to that user. Started by another user, it makes a user namespace and the user does not change.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use command_fds::{CommandFdExt, FdMapping};
use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::seccomp;
use super::system::{DEVICES, ETC, HIDDEN, TOPS};
use super::view::{Access, Bind, View};

/// Descriptors of bubblewrap: numbers far above those that programs open.
const SECCOMP_FD: i32 = 200;
const INFO_FD: i32 = 201;
/// The first of those that bubblewrap copies files from. The jobserver has some below.
const FILES_FD: i32 = 210;

/// The largest file, in bytes, that is copied into a sandbox rather than mounted: ld.so.cache has some 200 KiB on a desktop.
const MAX_COPY_LEN: u64 = 1 << 20;

/// Bytes of the private /tmp: it takes memory.
const TMP_BYTES: u64 = 1 << 30;

/// A command that runs in a mount namespace of its own.
#[derive(Debug)]
pub(crate) struct Wrapped {
    /// The call. The caller sets its environment, outputs and process group.
    pub(crate) command: Command,
    /// Where bubblewrap says which process is the first one in its PID namespace.
    info: OwnedFd,
}

/// Wraps `program` with `args`, to run in `dir`; all three are names of the sandbox. It gets the descriptors `fds`.
///
/// # Errors
/// When a pipe or a file in memory cannot be made.
pub(crate) fn wrap(
    view: &View,
    program: &OsStr,
    args: &[OsString],
    dir: &Path,
    mut fds: Vec<FdMapping>,
) -> io::Result<Wrapped> {
    let mut words = view.limits.prlimit(view.user());
    words.push("bwrap".into());
    let arguments = arguments(view, dir);
    words.extend(arguments.words);
    fds.extend(arguments.files);
    if let Some(bytes) = seccomp::filter_bytes() {
        words.extend(["--seccomp".into(), SECCOMP_FD.to_string().into()]);
        fds.push(FdMapping {
            parent_fd: in_memory(&bytes)?,
            child_fd: SECCOMP_FD,
        });
    }
    let (info, writer) = io::pipe()?;
    let (info, writer) = (OwnedFd::from(info), OwnedFd::from(writer));
    words.extend(["--info-fd".into(), INFO_FD.to_string().into()]);
    fds.push(FdMapping {
        parent_fd: writer,
        child_fd: INFO_FD,
    });
    words.push("--".into());
    if let Some(user) = view.user() {
        words.extend(drop_to(user));
    }
    words.push(program.to_owned());
    words.extend(args.iter().cloned());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command.fd_mappings(fds).map_err(io::Error::other)?;
    Ok(Wrapped { command, info })
}

impl Wrapped {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn spawn(mut self) -> io::Result<(Child, Info)> {
        let child = self.command.spawn()?;
        // Our copy of the pipe's other end is closed with the command; bubblewrap closes its own when it has written.
        Ok((child, Info(self.info)))
    }
}

/// The pipe in which bubblewrap says which process is the first one of its PID namespace.
#[derive(Debug)]
pub(crate) struct Info(OwnedFd);

impl Info {
    /// A descriptor that becomes readable when the last process of the namespace has ended (pidfd_open(2) of its first one).
    pub(crate) fn namespace(self) -> Option<OwnedFd> {
        let mut text = String::new();
        File::from(self.0).take(4096).read_to_string(&mut text).ok()?;
        let first = Pid::from_raw(child_pid(&text)?)?;
        pidfd_open(first, PidfdFlags::empty()).ok()
    }
}

/// The number after `"child-pid":` (bwrap(1), `--info-fd`).
fn child_pid(json: &str) -> Option<i32> {
    let value: serde_json::Value = serde_json::from_str(json).ok()?;
    value.get("child-pid")?.as_i64()?.try_into().ok()
}

fn in_memory(bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = memfd_create("seccomp", MemfdFlags::CLOEXEC)?;
    File::from(fd.try_clone()?).write_all(bytes)?;
    seek(&fd, SeekFrom::Start(0))?;
    Ok(fd)
}

/// `setpriv` from util-linux, which is part of every distribution's base: no capability is left, nor a way to one.
fn drop_to(user: u32) -> Vec<OsString> {
    let user = user.to_string();
    [
        "setpriv",
        "--reuid",
        &user,
        "--regid",
        &user,
        "--clear-groups",
        "--inh-caps",
        "-all",
        "--bounding-set",
        "-all",
        "--no-new-privs",
        "--",
    ]
    .map(OsString::from)
    .to_vec()
}

/// The arguments that make the sandbox.
fn arguments(view: &View, dir: &Path) -> Arguments {
    let mut args = Arguments::default();
    for flag in [
        "--unshare-pid",
        "--unshare-net",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-cgroup-try",
    ] {
        args.add([flag]);
    }
    args.add(["--die-with-parent"]);
    args.add(["--new-session"]);
    args.add(["--hostname", "build"]);
    if view.user().is_some() {
        args.add(["--cap-drop", "ALL"]);
        for cap in ["CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"] {
            args.add(["--cap-add", cap]);
        }
    } else {
        args.add(["--unshare-user"]);
    }
    let layout = Layout::of(view);
    layout.add_system(&mut args);
    layout.add_binds(&mut args);
    layout.add_links(&mut args);
    layout.close(&mut args);
    args.add([OsStr::new("--chdir"), dir.as_os_str()]);
    args
}

/// A view with what the file system says about it, looked up once for one call of bubblewrap.
struct Layout<'a> {
    view: &'a View,
    /// What is added to the system.
    mounts: Vec<&'a Bind>,
    /// The directories of the system, as names of the sandbox, that are covered by empty ones.
    hidden: Vec<PathBuf>,
}

impl Layout<'_> {
    fn of(view: &View) -> Layout<'_> {
        Layout {
            view,
            mounts: view.mounts(),
            hidden: hidden(&view.system),
        }
    }

    /// The toolchain, a few files of /etc, fresh /proc, /dev and /tmp.
    fn add_system(&self, args: &mut Arguments) {
        let of = |name: &str| self.view.system.join(name);
        args.add([OsStr::new("--ro-bind"), of("usr").as_os_str(), OsStr::new("/usr")]);
        for name in TOPS {
            let (source, dest) = (of(name), format!("/{name}"));
            match fs::read_link(&source) {
                Ok(_) if name == "lib" && !source.join("modules").exists() => lib_with_modules(&source, args),
                Ok(target) => args.add([OsStr::new("--symlink"), target.as_os_str(), OsStr::new(&dest)]),
                Err(_) if source.is_dir() => {
                    args.add([OsStr::new("--ro-bind"), source.as_os_str(), OsStr::new(&dest)]);
                }
                Err(_) => {}
            }
        }
        args.add(["--perms", "0755", "--dir", "/etc"]);
        for name in ETC {
            let (source, dest) = (of("etc").join(name), format!("/etc/{name}"));
            // Each mount takes time: a link takes none, and a copy of a small file little.
            if let Some(target) = self.link_into_usr(&source) {
                args.add([OsStr::new("--symlink"), target.as_os_str(), OsStr::new(&dest)]);
            } else if let Some(file) = small_public_file(&source) {
                args.add_copy(file, &dest);
            } else if source.exists() {
                args.add([OsStr::new("--ro-bind"), source.as_os_str(), OsStr::new(&dest)]);
            }
        }
        for dir in &self.hidden {
            args.add([OsStr::new("--tmpfs"), dir.as_os_str()]);
        }
        args.add(["--proc", "/proc"]);
        self.add_devices(args);
        args.add(["--perms", "1777", "--size", &TMP_BYTES.to_string(), "--tmpfs", "/tmp"]);
    }

    /// The devices that programs expect, and the names of their open files. No terminal: bubblewrap's own `--dev` has them, and each mount
    /// takes time.
    fn add_devices(&self, args: &mut Arguments) {
        args.add(["--perms", "0755", "--tmpfs", "/dev"]);
        for name in DEVICES {
            let dev = format!("/dev/{name}");
            args.add(["--dev-bind-try", &dev, &dev]);
        }
        let open = [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")];
        for (name, fd) in open {
            args.add(["--symlink", &format!("/proc/self/fd{fd}"), &format!("/dev/{name}")]);
        }
    }

    /// Where the link `path` leads, if that is below /usr, which the sandbox has.
    fn link_into_usr(&self, path: &Path) -> Option<PathBuf> {
        let target = fs::read_link(path).ok()?;
        let usr = fs::canonicalize(self.view.system.join("usr")).ok()?;
        let is_inside = fs::canonicalize(path).ok()?.starts_with(usr);
        is_inside.then_some(target)
    }

    fn add_binds(&self, args: &mut Arguments) {
        for bind in &self.mounts {
            if bind.access == Access::Read && !self.has_place(bind) {
                continue;
            }
            self.add_parents(&bind.dest, args);
            let kind = match bind.access {
                Access::Write => "--bind",
                Access::Read => "--ro-bind",
            };
            args.add([OsStr::new(kind), bind.source.as_os_str(), bind.dest.as_os_str()]);
        }
    }

    fn add_links(&self, args: &mut Arguments) {
        for (target, path) in &self.view.links {
            let is_free = !self
                .mounts
                .iter()
                .any(|bind| usual(&bind.dest).starts_with(usual(path)));
            if is_free && usual(target) != usual(path) && self.is_writable_place(path) {
                self.add_parents(path, args);
                args.add([OsStr::new("--symlink"), target.as_os_str(), path.as_os_str()]);
            }
        }
    }

    /// Makes the directories that bubblewrap made read-only. They belong to the user of the build where that is our own, and take memory.
    fn close(&self, args: &mut Arguments) {
        let is_mounted = |dir: &Path| self.mounts.iter().any(|bind| bind.dest == dir);
        for dir in self.hidden.iter().filter(|dir| !is_mounted(dir)) {
            args.add([OsStr::new("--remount-ro"), dir.as_os_str()]);
        }
        args.add(["--remount-ro", "/dev"]);
        args.add(["--remount-ro", "/"]);
    }

    /// The directories above `path` that do not exist yet. Those that bubblewrap makes by itself may be closed to the user of the build.
    fn add_parents(&self, path: &Path, args: &mut Arguments) {
        let is_mounted = |dir: &Path| self.mounts.iter().any(|bind| dir.starts_with(&bind.dest));
        let mut missing: Vec<&Path> = path
            .ancestors()
            .skip(1)
            .take_while(|dir| self.is_writable_place(dir) && !is_mounted(dir))
            .filter(|dir| *dir != Path::new("/") && !args.words.iter().any(|word| word == dir.as_os_str()))
            .collect();
        missing.reverse();
        for dir in missing {
            args.add([
                OsStr::new("--perms"),
                OsStr::new("0755"),
                OsStr::new("--dir"),
                dir.as_os_str(),
            ]);
        }
    }

    /// Whether the place of the bind exists or can be made.
    fn has_place(&self, bind: &Bind) -> bool {
        let below = bind.dest.strip_prefix("/").unwrap_or(&bind.dest);
        self.is_writable_place(&bind.dest) || self.view.system.join(below).exists()
    }

    /// Whether bubblewrap can make entries at `path`: the system is read-only except for the hidden directories.
    fn is_writable_place(&self, path: &Path) -> bool {
        let is_of_system =
            path.starts_with("/usr") || TOPS.iter().any(|top| path.starts_with(Path::new("/").join(top)));
        let is_of_modules = path.starts_with("/lib/modules") || path.starts_with("/usr/lib/modules");
        !is_of_system || is_of_modules || self.hidden.iter().any(|dir| path.starts_with(dir))
    }
}

/// The part of a path below /lib or /usr/lib, which are one directory on merged systems.
fn usual(path: &Path) -> &Path {
    match path.strip_prefix("/usr/lib").or_else(|_| path.strip_prefix("/lib")) {
        Ok(rest) => rest,
        Err(_) => path,
    }
}

#[derive(Default)]
struct Arguments {
    words: Vec<OsString>,
    /// What is copied into the sandbox, by descriptors from [`FILES_FD`] on.
    files: Vec<FdMapping>,
}

impl Arguments {
    fn add<const N: usize>(&mut self, words: [impl AsRef<OsStr>; N]) {
        self.words.extend(words.iter().map(|word| word.as_ref().to_owned()));
    }

    /// Puts a copy of `file` at `dest`, which everybody can read.
    fn add_copy(&mut self, file: File, dest: &str) {
        let child_fd = self.files.last().map_or(FILES_FD, |last| last.child_fd + 1);
        self.add(["--perms", "0644", "--file", &child_fd.to_string(), dest]);
        self.files.push(FdMapping {
            parent_fd: file.into(),
            child_fd,
        });
    }
}

/// The file at `path`, if it may be copied for the user of a build: a regular one that everybody can read.
fn small_public_file(path: &Path) -> Option<File> {
    let is_fit = |meta: &fs::Metadata| meta.is_file() && meta.len() <= MAX_COPY_LEN && meta.mode() & 0o004 != 0;
    fs::metadata(path).ok().filter(is_fit)?;
    let file = File::open(path).ok()?;
    file.metadata().is_ok_and(|meta| is_fit(&meta)).then_some(file)
}

/// A /lib in which `modules` can be made, where the system has none and /lib is a link into the read-only /usr: links to all its entries.
fn lib_with_modules(lib: &Path, args: &mut Arguments) {
    args.add(["--perms", "0755", "--dir", "/lib"]);
    for entry in fs::read_dir(lib).into_iter().flatten().filter_map(Result::ok) {
        let name = entry.file_name();
        let (target, dest) = (Path::new("/usr/lib").join(&name), Path::new("/lib").join(&name));
        args.add([OsStr::new("--symlink"), target.as_os_str(), dest.as_os_str()]);
    }
}

/// The directories of a system, as names of the sandbox, that are covered by empty ones.
fn hidden(system: &Path) -> Vec<PathBuf> {
    let below_usr = HIDDEN.iter().map(|name| Path::new("usr").join(name));
    // Where /lib is a directory of its own, it has the modules.
    below_usr
        .chain([PathBuf::from("lib/modules")])
        .filter(|dir| system.join(dir).is_dir() && !is_through_link(system, dir))
        .map(|dir| Path::new("/").join(dir))
        .collect()
}

fn is_through_link(system: &Path, dir: &Path) -> bool {
    dir.ancestors()
        .filter(|part| !part.as_os_str().is_empty())
        .any(|part| fs::symlink_metadata(system.join(part)).is_ok_and(|meta| meta.is_symlink()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::{Account, Limits};

    #[test]
    fn what_bubblewrap_is_told() {
        let view = View::new(Path::new("/"), Account::reserve(), Limits::evaluation())
            .write_as("/tmp", "/work")
            .link("/work", "/lib/modules/6.1/build");
        let words: Vec<String> = arguments(&view, Path::new("/work"))
            .words
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let text = words.join(" ");
        for part in [
            "--unshare-net",
            "--ro-bind /usr /usr",
            "--bind /tmp /work",
            "--symlink /work /lib/modules/6.1/build",
            "--chdir /work",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        for absent in [" /home", " /root", " /var", " /sys "] {
            assert!(!text.contains(absent), "{absent} in {text}");
        }
        let is_root = rustix::process::geteuid().is_root();
        assert_eq!(text.contains("--cap-drop ALL"), is_root, "{text}");
        assert_eq!(text.contains("--unshare-user"), !is_root, "{text}");
        assert_eq!(child_pid(r#"{ "child-pid": 42, "net-namespace": 1 }"#), Some(42));
        assert_eq!(child_pid(""), None);
    }
}
