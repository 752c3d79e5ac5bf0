//! framework.conf: the settings of DKMS itself on one machine.

mod read;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use self::read::{SYSCONFIG, by_bash, files, plain, sysconfig};
use crate::ko::CompressOptions;
use crate::root::Root;

/// Why framework.conf could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameworkError {
    /// It is there but cannot be read, or bash could not be run on it.
    #[error("{} cannot be read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A directory for modules that is not one of the kernel's.
    #[error("ADDON_MODULES_DIR is {0:?}: it must be a directory below /lib/modules/KERNEL")]
    BadAddonDir(String),
}

impl FrameworkError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            FrameworkError::Unreadable { path, .. } => format!("bash -n {}", path.display()),
            FrameworkError::BadAddonDir(_) => format!("unset ADDON_MODULES_DIR; grep ADDON {SYSCONFIG}"),
        })
    }
}

/// The settings, with upstream's defaults. Paths are paths inside the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Framework {
    /// Where sources are: `/usr/src`.
    pub source_tree: PathBuf,
    /// Where the tree is: `/var/lib/dkms`.
    pub dkms_tree: PathBuf,
    /// Where kernels have their modules: `/lib/modules`.
    pub install_tree: PathBuf,
    /// For temporary files: `/tmp`.
    pub tmp_location: PathBuf,
    /// Print more.
    pub verbose: bool,
    /// Install links into the tree instead of copies.
    pub symlink_modules: bool,
    /// Packages of the distribution build for every kernel here, not only the running and the newest one (Debian).
    pub autoinstall_all_kernels: bool,
    /// Load modules for the devices here after an installation.
    pub modprobe_on_install: bool,
    /// Parallel jobs; one for each processor if not set.
    pub parallel_jobs: Option<usize>,
    /// A file whose exported variables builds get, or assignments.
    pub build_environment: Option<String>,
    /// A command to run after all is done.
    pub post_transaction: Option<String>,
    /// The program that signs; may hold `$kernelver`.
    pub sign_file: Option<String>,
    /// The key to sign with: a file or a `pkcs11:` URI; may hold `$kernelver`.
    pub mok_signing_key: Option<String>,
    /// Its certificate; may hold `$kernelver`.
    pub mok_certificate: Option<String>,
    /// False where modules are not to be signed at all; `not_in_chroot` means in a chroot or an image.
    pub try_sign_modules: bool,
    /// ADDON_MODULES_DIR: where modules go below /lib/modules/K, whatever the distribution and dkms.conf say; without `..`.
    pub addon_modules_dir: Option<String>,
    /// How modules are compressed where the kernel's are.
    pub compression: CompressOptions,
    /// Words of `compress_*_opts` that are not supported: warned of when something is built.
    pub unsupported_compression: Vec<String>,
}

impl Default for Framework {
    fn default() -> Framework {
        Framework {
            source_tree: "/usr/src".into(),
            dkms_tree: "/var/lib/dkms".into(),
            install_tree: "/lib/modules".into(),
            tmp_location: "/tmp".into(),
            verbose: false,
            symlink_modules: false,
            autoinstall_all_kernels: false,
            modprobe_on_install: false,
            parallel_jobs: None,
            build_environment: None,
            post_transaction: None,
            sign_file: None,
            mok_signing_key: None,
            mok_certificate: None,
            try_sign_modules: true,
            addon_modules_dir: None,
            compression: CompressOptions::default(),
            unsupported_compression: Vec::new(),
        }
    }
}

impl Framework {
    /// Reads `/etc/dkms/framework.conf` and `framework.conf.d/*.conf` of `root`, the later winning; and ADDON_MODULES_DIR from
    /// `/etc/sysconfig/module-init-tools`.
    ///
    /// Plain assignments are read without a shell; anything else is evaluated by bash: for this machine as the user that runs us, for
    /// another root in the sandbox.
    ///
    /// # Errors
    /// When a file is there that cannot be read, or ADDON_MODULES_DIR leads out of the kernel's directory.
    pub fn read(root: &Root) -> Result<Framework, FrameworkError> {
        let mut values = BTreeMap::new();
        for path in files(root) {
            let fail = |source| FrameworkError::Unreadable {
                path: path.clone(),
                source,
            };
            let text = std::fs::read_to_string(&path).map_err(fail)?;
            let found = match plain(&text) {
                Some(found) => found,
                None => by_bash(root, &path).map_err(fail)?,
            };
            values.extend(found);
        }
        let mut framework = Framework::from_values(&values);
        if values
            .get("try_sign_modules")
            .is_some_and(|value| value == "not_in_chroot")
        {
            framework.try_sign_modules = root.is_host() && !is_chroot();
        }
        framework.set_addon_modules_dir(&sysconfig(&root.join(SYSCONFIG))?)?;
        Ok(framework)
    }

    /// Sets ADDON_MODULES_DIR; empty leaves things as they are.
    ///
    /// # Errors
    /// When `dir` leads out of the kernel's directory.
    pub fn set_addon_modules_dir(&mut self, dir: &str) -> Result<(), FrameworkError> {
        let dir = dir.trim_matches('/');
        let goes_down = Path::new(dir)
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        if !goes_down || dir.contains(char::is_control) {
            return Err(FrameworkError::BadAddonDir(dir.to_owned()));
        }
        if !dir.is_empty() {
            self.addon_modules_dir = Some(dir.to_owned());
        }
        Ok(())
    }

    fn from_values(values: &BTreeMap<String, String>) -> Framework {
        let text = |name: &str| values.get(name).filter(|value| !value.is_empty()).cloned();
        let on = |name: &str| text(name).is_some_and(|value| !matches!(value.as_str(), "no" | "false" | "0"));
        let default = Framework::default();
        let path = |name: &str, default: PathBuf| text(name).map_or(default, PathBuf::from);
        let [gzip, xz, zstd] =
            ["gzip", "xz", "zstd"].map(|program| text(&format!("compress_{program}_opts")).unwrap_or_default());
        let (compression, unsupported_compression) = CompressOptions::read(&gzip, &xz, &zstd);
        Framework {
            source_tree: path("source_tree", default.source_tree),
            dkms_tree: path("dkms_tree", default.dkms_tree),
            install_tree: path("install_tree", default.install_tree),
            tmp_location: path("tmp_location", default.tmp_location),
            verbose: on("verbose"),
            symlink_modules: on("symlink_modules"),
            autoinstall_all_kernels: on("autoinstall_all_kernels"),
            modprobe_on_install: on("modprobe_on_install"),
            parallel_jobs: text("parallel_jobs")
                .and_then(|jobs| jobs.parse().ok())
                .filter(|&jobs| jobs > 0),
            build_environment: text("build_environment"),
            post_transaction: text("post_transaction"),
            sign_file: text("sign_file"),
            mok_signing_key: text("mok_signing_key"),
            mok_certificate: text("mok_certificate"),
            try_sign_modules: !values.contains_key("try_sign_modules") || on("try_sign_modules"),
            addon_modules_dir: None,
            compression,
            unsupported_compression,
        }
    }

    /// How many jobs run at once.
    pub fn jobs(&self) -> usize {
        self.parallel_jobs.unwrap_or_else(processors)
    }
}

/// Whether our root directory is another one than that of the first process, as ischroot(1) asks. False where that cannot be seen.
fn is_chroot() -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |path: &str| std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
    match (place("/"), place("/proc/1/root/.")) {
        (Ok(ours), Ok(first)) => ours != first,
        _ => false,
    }
}

/// The processors that we may use. Looked up once: the answer comes from several files of /proc and /sys.
pub(crate) fn processors() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_get_what_a_file_exports_or_assignments() {
        let dir = tempfile::tempdir().expect("temp dir");
        let root = Root::at(dir.path());
        let check = |setting: &str, expected: &[(&str, &str)]| {
            let framework = Framework {
                build_environment: Some(setting.to_owned()),
                ..Framework::default()
            };
            let found = framework.environment_of_builds(&root).expect("an environment");
            let new = found.iter().filter(|(name, _)| name.len() == 1);
            let mut new: Vec<(&str, &str)> = new.map(|(name, value)| (name.as_str(), value.as_str())).collect();
            new.sort_unstable();
            assert_eq!(new, expected, "{setting}");
        };
        // In an image nothing is run as root.
        let env = "A=x\nexport B=\"$A y\"\necho noise\n[ $EUID != 0 ] && export C=1\nreturn\nexport D=1\n";
        std::fs::write(dir.path().join("env"), env).expect("write");
        check("/env", &[("B", "x y"), ("C", "1")]);
        check("A=1 B=2", &[("A", "1"), ("B", "2")]);
        check("/gone", &[]);
    }

    #[test]
    fn settings_of_a_root() {
        let dir = tempfile::tempdir().expect("temp dir");
        let etc = dir.path().join("etc/dkms/framework.conf.d");
        std::fs::create_dir_all(&etc).expect("dirs");
        let root = Root::at(dir.path());
        assert_eq!(Framework::read(&root).expect("no files"), Framework::default());
        let main = "compress_zstd_opts='-19 -q --long'\ncompress_xz_opts=\"-0\"\n\
            # comment\nsource_tree=\"/src\"\nmok_signing_key='/keys/$kernelver.key'\nparallel_jobs=3\nverbose=\"\"\n";
        std::fs::write(dir.path().join("etc/dkms/framework.conf"), main).expect("write");
        std::fs::write(
            etc.join("a.conf"),
            "x=/deep\ndkms_tree=$x/dkms\nif true; then symlink_modules=1; fi\n",
        )
        .expect("write");
        let found = Framework::read(&root).expect("reads");
        assert_eq!(found.source_tree, Path::new("/src"));
        assert_eq!(found.dkms_tree, Path::new("/deep/dkms"));
        assert_eq!(found.mok_signing_key.as_deref(), Some("/keys/$kernelver.key"));
        assert_eq!(
            (found.parallel_jobs, found.verbose, found.symlink_modules),
            (Some(3), false, true)
        );
        assert_eq!((found.compression.zstd_level, found.compression.xz_level), (19, 0));
        assert_eq!(found.unsupported_compression, ["compress_zstd_opts: --long"]);
        for (value, signs) in [("no", false), ("not_in_chroot", false), ("yes", true)] {
            std::fs::write(etc.join("b.conf"), format!("try_sign_modules={value}\n")).expect("write");
            assert_eq!(
                Framework::read(&root).expect("reads").try_sign_modules,
                signs,
                "{value}"
            );
        }
        std::fs::write(etc.join("b.conf"), "(").expect("write");
        assert!(Framework::read(&root).is_err());
    }
}
