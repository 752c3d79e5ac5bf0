//! framework.conf: the settings of DKMS itself on one machine.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command::Confined;
use crate::ko::CompressOptions;
use crate::root::Root;

/// The variables that framework.conf may set.
const NAMES: [&str; 16] = [
    "source_tree",
    "dkms_tree",
    "install_tree",
    "tmp_location",
    "verbose",
    "symlink_modules",
    "autoinstall_all_kernels",
    "modprobe_on_install",
    "parallel_jobs",
    "compress_gzip_opts",
    "compress_xz_opts",
    "compress_zstd_opts",
    "build_environment",
    "post_transaction",
    "sign_file",
    "try_sign_modules",
];
const SIGNING_NAMES: [&str; 2] = ["mok_signing_key", "mok_certificate"];

/// Where Red Hat's and SUSE's module tools once had their settings.
const SYSCONFIG: &str = "/etc/sysconfig/module-init-tools";

/// Why framework.conf could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameworkError {
    /// It is there but cannot be read, or bash could not be run on it.
    #[error("read {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A directory for modules that is not one of the kernel's.
    #[error("use {0:?} as ADDON_MODULES_DIR: it must be a directory below /lib/modules/KERNEL")]
    BadAddonDir(String),
}

impl FrameworkError {
    /// The way out.
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
    /// Tell more.
    pub verbose: bool,
    /// Install links into the tree instead of copies.
    pub symlink_modules: bool,
    /// Packages of the distribution build for every kernel here, not only the running and the newest one (Debian).
    pub autoinstall_all_kernels: bool,
    /// Load modules for the devices here after an installation.
    pub modprobe_on_install: bool,
    /// Jobs at once; one for each processor if not set.
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
    /// False where modules are not to be signed at all.
    pub try_sign_modules: bool,
    /// ADDON_MODULES_DIR: where modules go below /lib/modules/K, whatever the distribution and dkms.conf say; goes only down.
    pub addon_modules_dir: Option<String>,
    /// How modules are compressed where the kernel's are.
    pub compression: CompressOptions,
    /// Words of `compress_*_opts` that mean nothing here: to be told when something is built.
    pub strange_compression: Vec<String>,
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
            strange_compression: Vec::new(),
        }
    }
}

impl Framework {
    /// Reads `/etc/dkms/framework.conf` and `framework.conf.d/*.conf` of `root`, the later winning; and ADDON_MODULES_DIR from
    /// `/etc/sysconfig/module-init-tools`.
    ///
    /// Plain assignments are read without a shell; anything else is evaluated by bash as the files are root's own.
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
                None => by_bash(&path).map_err(fail)?,
            };
            values.extend(found);
        }
        let mut framework = Framework::from_values(&values);
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
        let (compression, strange_compression) = CompressOptions::read(&gzip, &xz, &zstd);
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
            strange_compression,
        }
    }

    /// What `build_environment` adds to the environment of builds in `root`: the variables that the file exports, or the
    /// assignments that it consists of.
    ///
    /// # Errors
    /// When the file cannot be evaluated by bash.
    pub fn environment_of_builds(&self, root: &Root) -> io::Result<Vec<(String, String)>> {
        let Some(text) = &self.build_environment else {
            return Ok(Vec::new());
        };
        let pair = |text: &str| {
            text.split_once('=')
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
        };
        let file = root.join(text);
        if !file.is_file() {
            return Ok(text.split_whitespace().filter_map(pair).collect());
        }
        let said = Confined::new("/bin/bash")
            .args([
                "--noprofile",
                "--norc",
                "-c",
                ". \"$1\" >&2; exec env -0",
                "build_environment",
            ])
            .arg(&file)
            .time_limit(Duration::from_secs(20))
            .output(1 << 20)?;
        if !said.ended.status.success() {
            return Err(io::Error::other(
                String::from_utf8_lossy(&said.stderr).trim().to_owned(),
            ));
        }
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        // What every bash has; the path and the home of builds stay ours.
        let own = ["PATH", "HOME", "PWD", "OLDPWD", "SHLVL", "_"];
        let pairs = text.split_terminator('\0').filter_map(pair);
        Ok(pairs.filter(|(name, _)| !own.contains(&name.as_str())).collect())
    }

    /// How many jobs run at once.
    pub fn jobs(&self) -> usize {
        self.parallel_jobs
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }
}

/// The value of ADDON_MODULES_DIR in the file `path`, empty without one.
fn sysconfig(path: &Path) -> Result<String, FrameworkError> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        text => text.map_err(|source| FrameworkError::Unreadable {
            path: path.to_owned(),
            source,
        })?,
    };
    let mut values = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("ADDON_MODULES_DIR="));
    Ok(values
        .next_back()
        .unwrap_or_default()
        .trim_matches(['"', '\''])
        .to_owned())
}

fn files(root: &Root) -> Vec<PathBuf> {
    let mut more: Vec<PathBuf> = std::fs::read_dir(root.join("/etc/dkms/framework.conf.d"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "conf"))
        .collect();
    more.sort();
    let first = root.join("/etc/dkms/framework.conf");
    first.is_file().then_some(first).into_iter().chain(more).collect()
}

/// The values of a text that holds nothing but comments and plain assignments; None if it holds more.
fn plain(text: &str) -> Option<BTreeMap<String, String>> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.split_once('=')?;
            let quoted = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
            let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
            // `$kernelver` is kept for later; any other expansion is bash's.
            let plain = value.replace("${kernelver}", "").replace("$kernelver", "");
            let special = plain.contains([
                '$', '`', '\\', '"', '\'', ';', '&', '|', '(', ')', '#', '<', '>', '~', '*',
            ]);
            let spaces = value.contains(' ') && quoted('"').is_none() && quoted('\'').is_none();
            let name_is_good = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            (name_is_good && !special && !spaces).then(|| (name.to_owned(), value.to_owned()))
        })
        .collect()
}

fn by_bash(path: &Path) -> io::Result<BTreeMap<String, String>> {
    const SCRIPT: &str = r#"kernelver='$kernelver'; exec 9>&1 >&2; . "$1"; shift
for __n; do [[ -v $__n ]] && printf '%s\0%s\0' "$__n" "${!__n}" >&9; done; printf '!end\0' >&9"#;
    let said = Confined::new("/bin/bash")
        .args(["--noprofile", "--norc", "-c", SCRIPT, "framework.conf"])
        .arg(path)
        .args(NAMES.iter().chain(&SIGNING_NAMES))
        .time_limit(Duration::from_secs(20))
        .output(1 << 20)?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&said.stderr).trim().to_owned();
    let syntax = complaint.contains("syntax error") || complaint.contains("unexpected EOF");
    let Some(text) = text.strip_suffix("!end\0").filter(|_| !syntax) else {
        return Err(io::Error::other(complaint));
    };
    let fields: Vec<&str> = text.split('\0').collect();
    Ok(fields
        .chunks_exact(2)
        .map(|pair| (pair[0].to_owned(), pair[1].to_owned()))
        .collect())
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
            let new: Vec<(&str, &str)> = new.map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(new, expected, "{setting}");
        };
        std::fs::write(dir.path().join("env"), "A=x\nexport B=\"$A y\"\necho noise\n").expect("write");
        check("/env", &[("B", "x y")]);
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
        assert_eq!(found.strange_compression, ["compress_zstd_opts: --long"]);
        std::fs::write(etc.join("b.conf"), "(").expect("write");
        assert!(Framework::read(&root).is_err());
    }
}
