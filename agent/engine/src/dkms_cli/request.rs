//! What a command line asks for, as one value.

use std::path::PathBuf;

/// A parsed command line without contradictions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub action: Action,
    /// The options that apply to any action.
    pub settings: Settings,
    /// Warnings about words and options that are accepted but have no effect.
    pub notices: Vec<String>,
}

/// What to do, with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Print how to call the program.
    Help(String),
    /// Print the version.
    Version,
    /// Register a source.
    Add(Subject),
    /// Compile.
    Build(Subject, Kernels),
    /// Delete what was compiled.
    Unbuild(Package, Kernels),
    /// Install into the kernel's module directory.
    Install(Subject, Kernels),
    /// Remove from the kernel's module directory.
    Uninstall(Package, Kernels),
    /// Uninstall, unbuild, and forget when no kernel is left.
    Remove(Package, Kernels),
    /// Build and install all packages with AUTOINSTALL.
    Autoinstall(Kernels),
    /// Install on `kernels` what is installed on `template`.
    Match {
        /// The kernel that is the model.
        template: String,
        /// Where to install.
        kernels: Kernels,
        /// Only this module.
        module: Option<String>,
    },
    /// Pack into a tarball.
    Mktarball(Package, Kernels, TarballForm),
    /// Unpack a tarball.
    Ldtarball(PathBuf),
    /// Show the state.
    Status(Filter),
    /// Make the signing key.
    GenerateMok,
    /// What a kernel package's scripts ask for.
    KernelHook(Hook, Kernels),
}

/// A module and its version, both fit to be one component of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// The module (the package's name).
    pub module: String,
    /// Its version.
    pub version: String,
}

/// What `add`, `build` and `install` are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A module and version, already added or in the source tree.
    Package(Package),
    /// A directory with a dkms.conf.
    Directory(PathBuf),
    /// A tarball.
    Archive(PathBuf),
}

/// The kernels to work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// None was named: the running kernel.
    Running {
        /// `-a` without `-k`.
        arch: Option<String>,
    },
    /// These.
    Named(Vec<KernelName>),
    /// `--kernel all`: every kernel whose headers are here.
    EveryKernel,
    /// `--all`: every kernel the module is built for.
    EveryBuilt,
}

/// A kernel release, and the architecture if it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelName {
    /// As by `uname -r`.
    pub release: String,
    /// As by `uname -m`.
    pub arch: Option<String>,
}

/// Which lines `status` shows; empty shows all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this module.
    pub module: Option<String>,
    /// Only this version.
    pub version: Option<String>,
    /// Only these kernels; empty: any.
    pub kernels: Vec<KernelName>,
    /// Only this architecture, when no kernel is named.
    pub arch: Option<String>,
}

/// What goes into a tarball.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TarballForm {
    /// Source and built modules.
    Full,
    /// `--source-only`.
    SourceOnly,
    /// `--binaries-only`.
    BinariesOnly,
}

/// The maintainer script of a kernel package that calls `dkms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Before its files are replaced.
    Preinst,
    /// After its files are in place.
    Postinst,
    /// Before its files are removed.
    Prerm,
}

/// The options that are not about one action.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `--force`.
    pub force: bool,
    /// `--force-version-override`.
    pub force_version_override: bool,
    /// `--rpm_safe_upgrade`.
    pub rpm_safe_upgrade: bool,
    /// `--no-depmod`.
    pub no_depmod: bool,
    /// `--modprobe-on-install`.
    pub modprobe_on_install: bool,
    /// `--symlink-modules`.
    pub symlink_modules: bool,
    /// `--json`.
    pub json: bool,
    /// `--verbose`.
    pub verbose: bool,
    /// `-q`.
    pub quiet: bool,
    /// `-j`, absent or 0: one for each processor.
    pub jobs: Option<usize>,
    /// `-c`: a dkms.conf instead of the source's.
    pub conf: Option<PathBuf>,
    /// `--config`: the kernel's .config.
    pub kernel_config: Option<PathBuf>,
    /// `--kernelsourcedir`.
    pub kernel_source_dir: Option<PathBuf>,
    /// `--directive NAME=VALUE`, in order.
    pub directives: Vec<(String, String)>,
    /// `--archive`.
    pub archive: Option<PathBuf>,
    /// `--dkmstree`.
    pub dkms_tree: Option<PathBuf>,
    /// `--sourcetree`.
    pub source_tree: Option<PathBuf>,
    /// `--installtree`.
    pub install_tree: Option<PathBuf>,
    /// `--root`.
    pub root: Option<PathBuf>,
}
