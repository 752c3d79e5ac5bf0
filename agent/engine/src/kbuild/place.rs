//! The system, the user and the sandbox of one build.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::job::Job;
use super::key::depends_symvers;
use super::workspace::Workspace;
use crate::command::{Confined, closed_to_others, find_program, is_root};
use crate::conf::DkmsConf;
use crate::kernel::KernelTarget;
use crate::root::Root;
use crate::sandbox::{Account, Confinement, Layers, Limits, View};
use crate::script;
use crate::tree::Tree;

/// The linker of kernels with CONFIG_LD_IS_LLD.
const LLD: &str = "ld.lld";

/// The system and the user of a build: this system, or an image that has its own toolchain.
pub(super) struct Place {
    chroot: Option<PathBuf>,
    account: Account,
    /// The path that no other user can read, where root therefore builds as root.
    pub(super) closed: Option<PathBuf>,
}

impl Place {
    /// Root builds as another user where that user can read the headers, and as root elsewhere.
    pub(super) fn of(tree: &Tree, kernel: &KernelTarget, work: &Workspace) -> Place {
        // A tree outside of an image is not seen in a chroot of it. In a view of another system that was named it is.
        let chroot = kernel
            .chroot()
            .filter(|root| kernel.system.is_some() || tree.path().starts_with(root))
            .map(Path::to_owned);
        let closed = if Layers::here().confinement == Confinement::MountNamespace {
            // The sandbox shows the headers themselves: directories above them do not count.
            closed_to_others(&kernel.headers, &kernel.headers)
        } else {
            let top = chroot.as_deref().unwrap_or(Path::new("/"));
            [&work.build, &kernel.headers]
                .into_iter()
                .find_map(|path| closed_to_others(path, top))
        };
        let closed = closed.filter(|_| is_root());
        Place {
            chroot,
            account: if closed.is_none() {
                Account::reserve()
            } else {
                Account::ours()
            },
            closed,
        }
    }

    /// This system, for a compiler and a user of its own.
    pub(super) fn of_compiler() -> Place {
        Place {
            chroot: None,
            account: Account::reserve(),
            closed: None,
        }
    }

    /// The user of the build; None for our own.
    pub(super) fn user(&self) -> Option<u32> {
        self.account.id()
    }

    /// Converts a path on the running system to a path in the system of the build.
    pub(super) fn path(&self, path: &Path) -> PathBuf {
        match &self.chroot {
            Some(root) => path
                .strip_prefix(root)
                .map_or_else(|_| path.to_owned(), |rest| Path::new("/").join(rest)),
            None => path.to_owned(),
        }
    }

    /// Converts all such paths in the text of a command.
    pub(super) fn text(&self, text: &str) -> String {
        match &self.chroot {
            Some(root) => text.replace(&root.display().to_string(), ""),
            None => text.to_owned(),
        }
    }
}

/// The sandbox of all programs of one build.
pub(super) struct BuildSandbox<'a> {
    job: &'a Job<'a>,
    place: Place,
    view: View,
    variables: Vec<(OsString, OsString)>,
}

impl<'a> BuildSandbox<'a> {
    /// The sandbox of `job` at `place`. The symbols of BUILD_DEPENDS are looked up now.
    pub(super) fn of(job: &'a Job<'a>, place: Place, conf: &DkmsConf, work: &Workspace) -> BuildSandbox<'a> {
        let symvers = depends_symvers(job.tree, &job.kernel, &conf.build_depends);
        BuildSandbox {
            job,
            view: view(job, &place, work, &symvers),
            variables: variables(job, &place, work, &symvers),
            place,
        }
    }

    /// The system and the user.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Makes `dir` writable for the programs.
    pub(super) fn add_writable(&mut self, dir: &Path) {
        self.view = self.view.clone().write(dir);
    }

    /// Confines `command`, whose paths are those of the running system.
    pub(super) fn confine(&self, command: Confined) -> Confined {
        let job = self.job;
        let command = script::with_variables(command, job.tree, &job.request.package, Some(&job.kernel))
            .renamed(|path| self.place.path(path))
            .sandbox(self.view.clone())
            .jobserver(job.jobserver);
        let variables = self.variables.iter();
        variables.fold(command, |command, (name, value)| command.env(name, value))
    }
}

/// The environment of the programs of a build, beside the variables that all scripts of a package get.
fn variables(job: &Job<'_>, place: &Place, work: &Workspace, symvers: &[PathBuf]) -> Vec<(OsString, OsString)> {
    let mut variables: Vec<(OsString, OsString)> = Vec::new();
    let mut set = |name: &str, value: OsString| variables.push((name.into(), value));
    set("dkms_tree", place.path(&work.tree).into());
    if !symvers.is_empty() {
        let paths: Vec<String> = symvers
            .iter()
            .map(|path| place.path(path).display().to_string())
            .collect();
        set("KBUILD_EXTRA_SYMBOLS", paths.join(" ").into());
    }
    if Layers::here().confinement != Confinement::MountNamespace {
        set("TMPDIR", place.path(&work.tmp).into());
    }
    let prefix_map = job.prefix_map(&place.path(&work.build));
    variables.extend(compiler_variables(job, place, &prefix_map));
    variables
}

impl Job<'_> {
    /// The option by which compilers name the build directory `build` as the source's.
    pub(super) fn prefix_map(&self, build: &Path) -> String {
        let package = self.request.package.dashed();
        format!("-ffile-prefix-map={}=/usr/src/{package}", build.display())
    }
}

/// The environment of kbuild and compilers, with the administrator's part of it last.
fn compiler_variables(job: &Job<'_>, place: &Place, prefix_maps: &str) -> Vec<(OsString, OsString)> {
    let target = &job.request.kernel;
    let mut variables: Vec<(OsString, OsString)> = Vec::new();
    let mut set = |name: &str, value: OsString| variables.push((name.into(), value));
    set("KCFLAGS", prefix_maps.into());
    set("KAFLAGS", prefix_maps.into());
    // With it kbuild asks pahole for type information in an order that does not depend on threads (scripts/Makefile.btf).
    set("KBUILD_BUILD_TIMESTAMP", "1970-01-01".into());
    set("kernel_source_dir", place.path(&target.headers).into());
    set("parallel_jobs", job.options.jobs.to_string().into());
    let toolchain = target.toolchain();
    if toolchain.wanted.is_some() || target.headers.join(".kernelvariables").exists() {
        set("CC", toolchain.cc.clone().into());
    }
    // What ./configure of a package looks at: ZFS takes them over the compiler that it finds itself.
    if toolchain.wanted.is_some() && toolchain.present.is_some() {
        set("KERNEL_CC", toolchain.cc.clone().into());
    }
    let system = place.chroot.as_deref().map_or_else(Root::host, Root::at);
    if toolchain.is_lld && find_program(&system, LLD).is_some() {
        set("LD", LLD.into());
        set("KERNEL_LD", LLD.into());
    }
    for (name, value) in job.options.run_state.environment(job.tree, job.sink) {
        set(name, value.into());
    }
    variables
}

/// Confines a make over several packages, whose directories lie in `top`. It sees kbuild, the compiler and these directories.
pub(super) fn confine_together(
    job: &Job<'_>,
    place: &Place,
    top: &Path,
    prefix_maps: &str,
    command: Confined,
) -> Confined {
    let target = &job.request.kernel;
    let limits = Limits::build(job.options.time_limit, job.options.jobs);
    let source = target.modules_dir.join("source").canonicalize().ok();
    let config = target.config_file.canonicalize();
    let view = View::new(Path::new("/"), place.account.clone(), limits)
        .kernel(&target.release, &target.headers, source.as_deref())
        .read(config.unwrap_or_else(|_| target.config_file.clone()))
        .write(top);
    let command = command.sandbox(view).jobserver(job.jobserver);
    compiler_variables(job, place, prefix_maps)
        .into_iter()
        .fold(command, |command, (name, value)| command.env(name, value))
}

/// What the programs of a build see: the toolchain, the headers, what the package depends on, and the build directory, also under the
/// names that confs and Makefiles use for it.
fn view(job: &Job<'_>, place: &Place, work: &Workspace, symvers: &[PathBuf]) -> View {
    let (target, package) = (&job.request.kernel, &job.request.package);
    let system = place.chroot.as_deref().unwrap_or(Path::new("/"));
    let limits = Limits::build(job.options.time_limit, job.options.jobs);
    let source = target.modules_dir.join("source").canonicalize().ok();
    let config = target.config_file.canonicalize();
    let view = View::new(system, place.account.clone(), limits)
        .kernel(&target.release, &target.headers, source.as_deref())
        .read(config.unwrap_or_else(|_| target.config_file.clone()))
        .read(&work.tree)
        .read(job.tree.root().join(Path::new("/etc/dkms").join(&package.module)))
        .write(&work.build)
        .write(&work.tmp);
    let names = [
        job.tree.version_dir(package).join("build"),
        job.tree.source_dir(package),
    ];
    let view = names.iter().fold(view, |view, name| {
        let view = view.write_as(&work.build, place.path(name));
        // Makefiles that name it know the path that it has in the image.
        match job.tree.root().inside(name) {
            Some(inside) => view.write_as(&work.build, inside),
            None => view,
        }
    });
    symvers.iter().fold(view, |view, path| view.read(path))
}
