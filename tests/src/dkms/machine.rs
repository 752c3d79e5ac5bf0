//! A machine in a temporary directory.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Program, Snapshot};
use crate::inputs;

/// Mounts the machine's directories over the system's and runs the rest of its arguments. `$1` is the machine.
const ENTER: &str = r#"
set -eu
machine=$1; shift
# A system without kernels or dkms has no such directories; here, and only here, it gets them.
point() {
    [ -d "$1" ] && return
    parent=${1%/*}
    mkdir -p "$machine/points$1"
    mount -t overlay overlay -o "lowerdir=$machine/points$parent:$parent" "$parent"
}
# Programs that this machine has and the system has not: `over/usr/bin/kmodsign`.
for dir in /usr/sbin /usr/bin; do
    if [ -d "$machine/over$dir" ]; then mount -t overlay overlay -o "lowerdir=$machine/over$dir:$dir" "$dir"; fi
done
for dir in /usr/lib/modules /usr/lib/dkms /var/lib/dkms /etc/dkms; do point "$dir"; done
if [ -d "$machine/shim-signed" ]; then point /var/lib/shim-signed; fi
mount --bind "$machine/src" /usr/src
mount --bind "$machine/modules" /usr/lib/modules
mount --bind "$machine/dkms" /var/lib/dkms
mount --bind "$machine/etc" /etc/dkms
mount --bind "$machine/boot" /boot
# First on the PATH of both programs, whatever theirs is: our depmod, which counts.
mount --bind "$machine/bin" /usr/local/sbin
if [ -d "$machine/hooks" ]; then mount --bind "$machine/hooks" /usr/lib/dkms; fi
if [ -d "$machine/devices" ]; then mount --bind "$machine/devices" /sys/devices; fi
if [ -d "$machine/shim-signed" ]; then mount --bind "$machine/shim-signed" /var/lib/shim-signed; fi
if [ -f "$machine/os-release" ]; then mount --bind "$machine/os-release" /etc/os-release; fi
cd "$machine"
exec "$@"
"#;

/// The file with the option of compilers that renames the build directory.
const PATH_MAP: &str = "path-map";

/// Counts the calls of depmod, then does what was asked.
const COUNT_DEPMOD: &str = r#"#!/bin/sh
echo "$*" >> /usr/local/sbin/depmod.log
exec /usr/sbin/depmod "$@"
"#;

/// The directories of one machine, and the program that manages them.
pub struct Machine {
    dir: tempfile::TempDir,
    program: Program,
}

/// What one call did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The exit code.
    pub code: i32,
    /// What it printed for programs.
    pub stdout: String,
    /// What it printed for people.
    pub stderr: String,
}

impl Machine {
    /// A machine with `program` and without kernels or sources.
    ///
    /// # Panics
    /// When the temporary directory cannot be filled.
    #[must_use]
    pub fn new(program: Program) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("dkms-machine-")
            .tempdir()
            .unwrap_or_else(|e| panic!("temp dir: {e}"));
        for part in ["dkms", "src", "modules", "etc", "boot", "bin", "tmp"] {
            create_dir(&dir.path().join(part));
        }
        let machine = Self { dir, program };
        program.link_into(&machine.path("bin"));
        machine.write_program("bin/depmod", COUNT_DEPMOD);
        machine
    }

    /// A machine with `program` and the kernels of the inputs.
    ///
    /// # Panics
    /// As [`Machine::new`] and [`Machine::add_kernel`].
    #[must_use]
    pub fn with_kernels(program: Program) -> Self {
        let machine = Self::new(program);
        inputs::kernels().iter().for_each(|release| machine.add_kernel(release));
        machine
    }

    /// A file of the machine: `dkms/…`, `src/…`, `modules/…`, `etc/…`.
    #[must_use]
    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    /// Gives the machine a kernel of the inputs: its headers, no modules.
    ///
    /// # Panics
    /// When the directory cannot be made.
    pub fn add_kernel(&self, release: &str) {
        let dir = self.path("modules").join(release);
        create_dir(&dir);
        let headers = inputs::headers(release);
        symlink(&headers, dir.join("build")).unwrap_or_else(|e| panic!("link to {}: {e}", headers.display()));
    }

    /// Writes a file and the directories above it.
    ///
    /// # Panics
    /// When that fails.
    pub fn write(&self, relative: &str, text: impl AsRef<[u8]>) {
        let path = self.path(relative);
        create_dir(path.parent().unwrap_or(&path));
        std::fs::write(&path, text).unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
    }

    /// Writes a program: `bin/NAME` comes first on the PATH of every run, `over/usr/sbin/NAME` is /usr/sbin/NAME.
    pub fn write_program(&self, relative: &str, text: &str) {
        self.write(relative, text);
        self.make_executable(relative);
    }

    /// Sets the mode bits of a program.
    ///
    /// # Panics
    /// When the file is not there.
    pub fn make_executable(&self, relative: &str) {
        let path = self.path(relative);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
            .unwrap_or_else(|e| panic!("chmod {}: {e}", path.display()));
    }

    /// Has modules of the package compared byte by byte: compilers name the build directory by the name that ours gives it.
    ///
    /// # Panics
    /// When that cannot be noted.
    pub fn compare_bytes(&self, name: &str, version: &str) {
        let map = format!("-ffile-prefix-map=/var/lib/dkms/{name}/{version}/build=/usr/src/{name}-{version}");
        self.write(PATH_MAP, map);
    }

    /// Runs `dkms` with these words.
    #[must_use]
    pub fn dkms(&self, args: &[&str]) -> Outcome {
        let mut words = vec!["dkms"];
        words.extend(args);
        self.run(&words)
    }

    /// Runs any program on the machine.
    ///
    /// # Panics
    /// When the namespace cannot be entered.
    #[must_use]
    pub fn run(&self, words: &[&str]) -> Outcome {
        let done = self
            .command(words)
            .output()
            .unwrap_or_else(|e| panic!("unshare: {e}\nhint: apt-get install util-linux"));
        Outcome {
            code: done.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
        }
    }

    /// The command that runs a program on the machine, to be spawned by the caller.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        if !is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command
            .args(["--mount", "sh", "-c", ENTER, "enter"])
            .arg(self.dir.path())
            .args(words);
        command.env_clear();
        command.env(
            "PATH",
            format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.path("bin").display()),
        );
        if let Ok(map) = std::fs::read_to_string(self.path(PATH_MAP)) {
            command.env("KCFLAGS", &map).env("KAFLAGS", &map);
        }
        command
            .env("TMPDIR", self.path("tmp"))
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", "/");
        command
    }

    /// How often depmod has run since the machine was made.
    #[must_use]
    pub fn depmod_runs(&self) -> usize {
        std::fs::read_to_string(self.path("bin/depmod.log")).map_or(0, |log| log.lines().count())
    }

    /// Everything that matters on its disk.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(self.dir.path(), self.path(PATH_MAP).exists())
    }

    /// Whose `dkms` it runs.
    #[must_use]
    pub fn program(&self) -> Program {
        self.program
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

fn create_dir(path: &Path) {
    std::fs::create_dir_all(path).unwrap_or_else(|e| panic!("create {}: {e}", path.display()));
}
