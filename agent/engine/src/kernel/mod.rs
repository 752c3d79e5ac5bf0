//! The kernels that modules are built for: where their headers are and what a module must be to fit.

mod config;
mod mark;
mod symvers;
mod toolchain;
mod vermagic;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use config::KernelConfig;
pub use symvers::{Symbols, parse_symvers};
pub use toolchain::{Toolchain, compiler_major, compiler_version};
pub use vermagic::{Vermagic, VermagicMismatch};

use crate::distribution::Distribution;
use crate::fsutil::existing_part;
use crate::root::Root;
use crate::version;

/// Why a kernel cannot be a target.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Not a valid kernel release.
    #[error("{0:?} is not the release of a kernel")]
    BadRelease(String),
    /// There is nothing to compile against.
    #[error("no headers of kernel {release} are installed in {}", .dir.display())]
    HeadersMissing {
        /// The kernel's release.
        release: String,
        /// Where they should be.
        dir: PathBuf,
        /// The command of this distribution that installs them.
        command: String,
    },
    /// The headers are there but were never configured.
    #[error("the configuration {} of kernel {release} cannot be read", .path.display())]
    NotConfigured {
        /// The kernel's release.
        release: String,
        /// The file that is missing or unreadable.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl KernelError {
    /// Suggested fix, a command where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            KernelError::BadRelease(_) => Some("ls /lib/modules".into()),
            KernelError::HeadersMissing { command, .. } => Some(command.clone()),
            KernelError::NotConfigured { path, .. } => {
                let dir = path.ancestors().nth(1).unwrap_or(path);
                Some(if path.file_name().is_some_and(|name| name == ".config") {
                    format!("make -C {} modules_prepare", dir.display())
                } else {
                    // A file that the caller named, or one of /boot.
                    format!("ls -l {}", existing_part(path).display())
                })
            }
        }
    }
}

/// Facts about a kernel that the caller gives, so that they are not looked up.
#[derive(Debug, Clone, Default)]
pub struct KernelOptions {
    /// The architecture, as in `uname -m`.
    pub arch: Option<String>,
    /// The directory of headers or source, a path on the running system.
    pub source_dir: Option<PathBuf>,
    /// A file of options that count in the place of the kernel's own, a path on the running system.
    pub config: Option<PathBuf>,
    /// The directory that holds `RELEASE/` inside the root; `/lib/modules` if not set.
    pub install_tree: Option<PathBuf>,
    /// The directory of another system, on the running one: its programs build, and nothing of it is run outside of the sandbox. The
    /// headers in `source_dir` are part of it.
    pub system: Option<PathBuf>,
}

/// A kernel that modules can be built for. Reading it costs a few files; Module.symvers and the compiler are read when needed.
#[derive(Debug)]
pub struct KernelTarget {
    /// What `uname -r` says on that kernel.
    pub release: String,
    /// The architecture, as in `uname -m`.
    pub arch: String,
    /// The directory that `make -C` gets: a path inside [`KernelTarget::root`] unless borrowed.
    pub source_dir: PathBuf,
    /// The same directory with its links resolved, on the running system.
    pub headers: PathBuf,
    /// The file with the configuration, on the running system.
    pub config_file: PathBuf,
    /// True when the root has no headers and those of the running system are used.
    pub borrowed: bool,
    /// The system it belongs to.
    pub root: Root,
    /// Where its modules are installed, on the running system: `/lib/modules/RELEASE`.
    pub modules_dir: PathBuf,
    /// The distribution of the root.
    pub distribution: Distribution,
    /// The system whose programs build for it, where that is neither the root nor the running one.
    pub(crate) system: Option<PathBuf>,
    config: KernelConfig,
    symbols: OnceLock<Symbols>,
    toolchain: OnceLock<Toolchain>,
    headers_digest: OnceLock<String>,
    headers_stamp: OnceLock<String>,
    compiler_stamp: OnceLock<(String, String)>,
}

impl KernelTarget {
    /// Finds kernel `release` in `root`.
    ///
    /// Headers are taken from `/lib/modules/RELEASE/build` of the root; a root without them borrows those of the running system.
    ///
    /// # Errors
    /// When the release is no name, or there are no usable headers.
    pub fn find(root: &Root, release: &str, options: &KernelOptions) -> Result<KernelTarget, KernelError> {
        if !is_release(release) {
            return Err(KernelError::BadRelease(release.to_owned()));
        }
        let distribution = Distribution::of(root);
        let tree = options
            .install_tree
            .clone()
            .unwrap_or_else(|| PathBuf::from("/lib/modules"));
        let modules_dir = root.join(tree.join(release));
        let build = Path::new("/lib/modules").join(release).join("build");
        let candidates = match &options.source_dir {
            Some(dir) => vec![(dir.clone(), dir.clone(), false)],
            None => vec![
                (build.clone(), root.join(&build), false),
                (build.clone(), build.clone(), !root.is_host()),
            ],
        };
        let found = candidates
            .iter()
            .find(|(_, headers, _)| headers.join("include").exists());
        let Some((source_dir, headers, borrowed)) = found.cloned() else {
            return Err(KernelError::HeadersMissing {
                release: release.to_owned(),
                dir: root.join(&build),
                command: distribution.headers_command(release),
            });
        };
        let config_file = options.config.clone().unwrap_or_else(|| headers.join(".config"));
        let read = |path: &Path, fallback: &Path| {
            KernelConfig::read(path, fallback).map_err(|source| KernelError::NotConfigured {
                release: release.to_owned(),
                path: path.to_owned(),
                source,
            })
        };
        let mut config = read(&headers.join(".config"), &headers.join("include/config/auto.conf"))?;
        if let Some(named) = &options.config {
            config = config.overlaid(&read(named, named)?);
        }
        let arch = options
            .arch
            .clone()
            .or_else(|| config.arch().map(str::to_owned))
            .unwrap_or_else(machine);
        Ok(KernelTarget {
            release: release.to_owned(),
            arch,
            source_dir,
            headers: headers.canonicalize().unwrap_or(headers),
            config_file,
            borrowed,
            root: root.clone(),
            modules_dir,
            distribution,
            system: options.system.clone(),
            config,
            symbols: OnceLock::new(),
            toolchain: OnceLock::new(),
            headers_digest: OnceLock::new(),
            headers_stamp: OnceLock::new(),
            compiler_stamp: OnceLock::new(),
        })
    }

    /// All kernels of `root` that have headers, oldest first. A root without any has none; nothing is borrowed here.
    pub fn all(root: &Root) -> Vec<KernelTarget> {
        let mut found: Vec<KernelTarget> = releases(root, Path::new("/lib/modules"))
            .iter()
            .filter_map(|release| KernelTarget::find(root, release, &KernelOptions::default()).ok())
            .filter(|kernel| !kernel.borrowed)
            .collect();
        found.sort_by(|a, b| version::compare(&a.release, &b.release));
        found
    }

    /// Its configuration.
    pub fn config(&self) -> &KernelConfig {
        &self.config
    }

    /// The version string that its modules carry.
    pub fn vermagic(&self) -> Vermagic {
        Vermagic::expected(&self.release, &self.config)
    }

    /// The symbols it exports with their CRCs, from Module.symvers; empty when there is no such file. Read once.
    pub fn symbols(&self) -> &Symbols {
        self.symbols
            .get_or_init(|| Symbols::read(&self.headers.join("Module.symvers")).unwrap_or_default())
    }

    /// The compiler its headers ask for, and the one that is there. Looked up once.
    pub fn toolchain(&self) -> &Toolchain {
        self.toolchain.get_or_init(|| Toolchain::of(self))
    }

    /// The directory that `make` must run in: Some when another system was named, or the root brings headers and a toolchain of its own.
    pub fn chroot(&self) -> Option<&Path> {
        if let Some(system) = &self.system {
            return Some(system);
        }
        let has = |name| crate::command::find_program(&self.root, name).is_some();
        let own = !self.root.is_host()
            && !self.borrowed
            && has("make")
            && (has("gcc") || has("clang"))
            && has("bash")
            && self.root.join("/dev/null").exists();
        own.then(|| self.root.path())
    }

    /// What files of modules are called after `.ko` where this kernel's own are compressed: "", ".gz", ".xz" or ".zst".
    ///
    /// The rule is upstream's: what modules.dep says.
    pub fn module_compression(&self) -> &'static str {
        let Ok(text) = std::fs::read(self.modules_dir.join("modules.dep")) else {
            return "";
        };
        // The first line with a suffix decides; files are big and of one kind, so look no further than needed.
        for line in text.split(|&b| b == b'\n') {
            let name = line.split(|&b| b == b':').next().unwrap_or_default();
            for suffix in [".gz", ".xz", ".zst"] {
                if name.ends_with(suffix.as_bytes()) {
                    return suffix;
                }
            }
            if name.ends_with(b".ko") && name.starts_with(b"kernel/") {
                return "";
            }
        }
        ""
    }
}

/// The releases with a directory in the module tree `tree` of `root`, with or without headers, oldest first.
pub fn releases(root: &Root, tree: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root.join(tree)) else {
        return Vec::new();
    };
    let mut releases: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_release(name))
        .collect();
    releases.sort_by(|a, b| version::compare(a, b));
    releases
}

/// True for what can be the release of a kernel: one part of a path, beginning with a digit as upstream expects.
pub fn is_release(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_digit())
        && text.contains('.')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_+~@:".contains(c))
}

/// The architecture of the machine we run on, as in `uname -m`.
pub fn machine() -> String {
    rustix::system::uname().machine().to_string_lossy().into_owned()
}

/// The release of the running kernel. Not used for images or where a kernel was named.
pub fn running() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_the_caller_named_is_looked_for_and_not_made() {
        let check = |path: &str, hint: &str| {
            let error = KernelError::NotConfigured {
                release: "6.1".into(),
                path: path.into(),
                source: std::io::ErrorKind::NotFound.into(),
            };
            assert_eq!(error.hint().as_deref(), Some(hint));
        };
        check("/usr/src/linux/.config", "make -C /usr/src/linux modules_prepare");
        check("/no/such/config", "ls -l /");
    }

    #[test]
    fn names_of_releases() {
        let check = |text: &str, expected: bool| assert_eq!(is_release(text), expected, "{text:?}");
        check("6.1.0-56-amd64", true);
        check("6.12.95+deb12-amd64", true);
        check("5.14.0-427.el9.x86_64", true);
        check("../../etc", false);
        check("6.1/../x", false);
        check("", false);
        check("6.1 x", false);
        check(".6.1", false);
    }

    /// A root with one small kernel: its headers have just what is read here.
    fn fake() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().expect("temp dir");
        let headers = dir.path().join("usr/src/linux-headers-6.1.0-1-x");
        std::fs::create_dir_all(headers.join("include/config")).expect("dirs");
        std::fs::create_dir_all(dir.path().join("lib/modules/6.1.0-1-x")).expect("dirs");
        std::os::unix::fs::symlink(
            "/usr/src/linux-headers-6.1.0-1-x",
            dir.path().join("lib/modules/6.1.0-1-x/build"),
        )
        .expect("link");
        std::fs::write(headers.join(".config"), "CONFIG_ARM64=y\nCONFIG_SMP=y\n").expect("config");
        std::fs::write(
            headers.join("Module.symvers"),
            "0x0000abcd\tprintk\tvmlinux\tEXPORT_SYMBOL\t\n",
        )
        .expect("symvers");
        let root = Root::at(dir.path());
        (dir, root)
    }

    #[test]
    fn a_kernel_in_a_root() {
        let (_dir, root) = fake();
        let kernel = KernelTarget::find(&root, "6.1.0-1-x", &KernelOptions::default()).expect("found");
        assert_eq!(kernel.arch, "aarch64");
        assert!(!kernel.borrowed);
        assert_eq!(kernel.symbols().crc("printk"), Some(0xabcd));
        assert_eq!(kernel.module_compression(), "");
        std::fs::write(
            kernel.modules_dir.join("modules.dep"),
            "kernel/a.ko.xz: kernel/b.ko.xz\n",
        )
        .expect("write");
        assert_eq!(kernel.module_compression(), ".xz");
        assert_eq!(KernelTarget::all(&root).len(), 1);
    }

    #[test]
    fn missing_headers_have_a_way_out() {
        let (dir, root) = fake();
        std::fs::create_dir_all(dir.path().join("etc")).expect("dir");
        std::fs::write(dir.path().join("etc/os-release"), "ID=debian\n").expect("write");
        let error = KernelTarget::find(&root, "9.9.9-none", &KernelOptions::default()).expect_err("no headers");
        assert_eq!(
            error.hint().as_deref(),
            Some("apt-get install linux-headers-9.9.9-none")
        );
    }
}
