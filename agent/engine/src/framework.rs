//! framework.conf: how dkms works on this machine.
//!
//! The files are bash, as dkms.conf is, but nearly always plain assignments. Those are read here; only a file with more in
//! it costs a bash, which then runs as nobody.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command::{Confined, User};

/// The largest file that is looked at.
const MAX_LEN: u64 = 1 << 20;

/// The settings that mean something; anything else in the files is ignored, as upstream does.
const NAMES: &[&str] = &[
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
    "mok_signing_key",
    "mok_certificate",
    "try_sign_modules",
];

/// Sources the files and prints the settings as NUL-terminated pairs. `$kernelver` stays as it is written: the same files
/// are read for many kernels.
const SCRIPT: &str = r#"
ulimit -c 0; ulimit -t 10; ulimit -f 1024
exec 9>&1 >&2
__names=$1; shift
kernelver='$kernelver'
for __file; do bash -n "$__file" || exit 2; done
for __file; do . "$__file" >/dev/null </dev/null; done
for __n in $__names; do
  [[ -v $__n ]] && printf '%s\0%s\0' "$__n" "${!__n}" >&9
done
printf '!end\0\0' >&9
"#;

/// The settings of /etc/dkms/framework.conf and /etc/dkms/framework.conf.d/*.conf. What is not set is None or false.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Framework {
    /// Where sources lie; `/usr/src`.
    pub source_tree: Option<PathBuf>,
    /// Where the state is kept; `/var/lib/dkms`.
    pub dkms_tree: Option<PathBuf>,
    /// Where the kernels' modules lie; `/lib/modules`.
    pub install_tree: Option<PathBuf>,
    /// Where temporary files go; `/tmp`.
    pub tmp_location: Option<PathBuf>,
    /// Show each step.
    pub verbose: bool,
    /// Install links instead of copies.
    pub symlink_modules: bool,
    /// Debian: packages build for every kernel.
    pub autoinstall_all_kernels: bool,
    /// Load what the devices ask for after an installation.
    pub modprobe_on_install: bool,
    /// How many compilers run at a time.
    pub parallel_jobs: Option<usize>,
    /// Options for the compressors, by suffix: `gz`, `xz`, `zst`.
    pub compress_options: BTreeMap<&'static str, String>,
    /// Variables for the build, as words `NAME=VALUE`.
    pub build_environment: Option<String>,
    /// A command to run after modules were installed or removed.
    pub post_transaction: Option<String>,
    /// What signs modules; may contain `$kernelver`, see [`Framework::sign_file_for`].
    pub sign_file: Option<String>,
    /// The private key, or a `pkcs11:` URI.
    pub mok_signing_key: Option<String>,
    /// The certificate.
    pub mok_certificate: Option<PathBuf>,
    /// Whether modules are signed where the kernel can check signatures; on unless set to no.
    pub try_sign_modules: Option<bool>,
}

/// Why the settings cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameworkError {
    /// A file cannot be read.
    #[error("read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// bash does not get to the end of the files.
    #[error("evaluate the settings in {}: {said}", .dir.display())]
    Bash {
        /// The directory they are in.
        dir: PathBuf,
        /// The last line that bash said.
        said: String,
    },
}

impl FrameworkError {
    /// The way out.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { path, .. } => Some(format!("ls -l {}", path.display())),
            Self::Bash { dir, .. } => Some(format!("bash -n {}/framework.conf", dir.display())),
        }
    }
}

impl Framework {
    /// Reads `framework.conf` and `framework.conf.d/*.conf` in `dir` (`/etc/dkms`). Without any, everything is at its default.
    ///
    /// # Errors
    /// When a file is there but cannot be read, or is no bash.
    pub fn read(dir: &Path) -> Result<Framework, FrameworkError> {
        let files = files(dir);
        let mut values = BTreeMap::new();
        for path in &files {
            let text = read_bounded(path).map_err(|source| FrameworkError::Read {
                path: path.clone(),
                source,
            })?;
            match plain_assignments(&text) {
                Some(found) => values.extend(found),
                None => {
                    values = evaluate(dir, &files)?;
                    break;
                }
            }
        }
        Ok(Framework::from_values(&values))
    }

    /// The program that signs modules for kernel `release`, where one is set.
    pub fn sign_file_for(&self, release: &str) -> Option<PathBuf> {
        let text = self.sign_file.as_ref()?;
        Some(
            text.replace("${kernelver}", release)
                .replace("$kernelver", release)
                .into(),
        )
    }

    fn from_values(values: &BTreeMap<String, String>) -> Framework {
        let text = |name: &str| values.get(name).filter(|value| !value.is_empty()).cloned();
        let path = |name: &str| text(name).map(PathBuf::from);
        // Upstream asks whether the variable has any value.
        let on = |name: &str| text(name).is_some_and(|value| !is_no(&value));
        let compressors = [
            ("gz", "compress_gzip_opts"),
            ("xz", "compress_xz_opts"),
            ("zst", "compress_zstd_opts"),
        ];
        Framework {
            source_tree: path("source_tree"),
            dkms_tree: path("dkms_tree"),
            install_tree: path("install_tree"),
            tmp_location: path("tmp_location"),
            verbose: on("verbose"),
            symlink_modules: on("symlink_modules"),
            autoinstall_all_kernels: on("autoinstall_all_kernels"),
            modprobe_on_install: on("modprobe_on_install"),
            parallel_jobs: text("parallel_jobs")
                .and_then(|jobs| jobs.parse().ok())
                .filter(|jobs| *jobs > 0),
            compress_options: compressors
                .iter()
                .filter_map(|(suffix, name)| Some((*suffix, text(name)?)))
                .collect(),
            build_environment: text("build_environment"),
            post_transaction: text("post_transaction"),
            sign_file: text("sign_file"),
            mok_signing_key: text("mok_signing_key"),
            mok_certificate: path("mok_certificate"),
            try_sign_modules: text("try_sign_modules").map(|value| !is_no(&value)),
        }
    }
}

fn is_no(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "no" | "n" | "false" | "0")
}

/// framework.conf and then framework.conf.d/*.conf by name, those that are there.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut more: Vec<PathBuf> = std::fs::read_dir(dir.join("framework.conf.d"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
        .collect();
    more.sort();
    let first = dir.join("framework.conf");
    std::iter::once(first)
        .chain(more)
        .filter(|path| path.is_file())
        .collect()
}

fn read_bounded(path: &Path) -> io::Result<String> {
    use io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_LEN).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The assignments of a file that has nothing but comments and `NAME=VALUE` without expansions; None if there is more.
fn plain_assignments(text: &str) -> Option<BTreeMap<String, String>> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(plain_assignment).collect()
}

fn plain_assignment(line: &str) -> Option<(String, String)> {
    let (name, rest) = line.split_once('=')?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let (value, after) = match rest.chars().next() {
        Some(quote @ ('"' | '\'')) => rest[1..].split_once(quote)?,
        _ => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
    };
    let is_literal = match rest.chars().next() {
        Some('\'') => true,
        Some('"') => !value.contains(['$', '`', '\\', '!']),
        _ => value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/._-+,:=@%".contains(c)),
    };
    let after = after.trim();
    // `a=b#c` has no comment; after a blank or a quote there may be one.
    let ends = after.is_empty() || after.starts_with('#');
    (is_name && is_literal && ends).then(|| (name.to_owned(), value.to_owned()))
}

fn evaluate(dir: &Path, files: &[PathBuf]) -> Result<BTreeMap<String, String>, FrameworkError> {
    let failed = |said: String| FrameworkError::Bash {
        dir: dir.to_owned(),
        said,
    };
    let copies = Copies::of(files).map_err(|error| failed(error.to_string()))?;
    let said = Confined::new("/bin/bash")
        .args([
            "--noprofile",
            "--norc",
            "-c",
            SCRIPT,
            "framework.conf",
            &NAMES.join(" "),
        ])
        .args(&copies.files)
        .user(User::Unprivileged)
        .time_limit(Duration::from_secs(10))
        .output(MAX_LEN)
        .map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&said.stdout);
    let fields: Vec<&str> = text.split_terminator('\0').collect();
    let pairs: BTreeMap<String, String> = fields
        .chunks_exact(2)
        .map(|pair| (pair[0].to_owned(), pair[1].to_owned()))
        .collect();
    if !pairs.contains_key("!end") {
        let stderr = String::from_utf8_lossy(&said.stderr);
        return Err(failed(
            stderr
                .lines()
                .last()
                .unwrap_or("bash ended early and said nothing")
                .to_owned(),
        ));
    }
    Ok(pairs)
}

/// Copies that nobody may read, whatever the modes of the originals are.
struct Copies {
    files: Vec<PathBuf>,
    _dir: tempfile::TempDir,
}

impl Copies {
    fn of(files: &[PathBuf]) -> io::Result<Copies> {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::Builder::new().prefix("dkms-framework-").tempdir()?;
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755))?;
        let copy = |(index, from): (usize, &PathBuf)| {
            let to = dir.path().join(format!("{index}.conf"));
            std::fs::write(&to, read_bounded(from)?)?;
            std::fs::set_permissions(&to, PermissionsExt::from_mode(0o644))?;
            Ok(to)
        };
        let files = files.iter().enumerate().map(copy).collect::<io::Result<_>>()?;
        Ok(Copies { files, _dir: dir })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<Framework, FrameworkError> {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("temp dir");
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("mode");
        std::fs::create_dir(dir.path().join("framework.conf.d")).expect("dir");
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).expect("file");
        }
        Framework::read(dir.path())
    }

    #[test]
    fn lines_that_need_no_bash() {
        fn check(line: &str, expected: Option<(&str, &str)>) {
            let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(plain_assignment(line), expected, "{line}");
        }
        check("a=b", Some(("a", "b")));
        check("a=\"b c\" # d", Some(("a", "b c")));
        check("a='$b'", Some(("a", "$b")));
        check("a=", Some(("a", "")));
        check("a=/x/y_z.1", Some(("a", "/x/y_z.1")));
        check("a=\"$b\"", None);
        check("a=$(b)", None);
        check("a=b; c=d", None);
        check("a=b c", None);
        check("export a=b", None);
        check("if true; then", None);
        check("a='b", None);
        check("a='b'c", None);
        check("a=(b c)", None);
    }

    #[test]
    fn later_files_win_and_unknown_settings_are_ignored() {
        let framework = read(&[
            (
                "framework.conf",
                "# defaults\nsource_tree=\"/srv/src\"\nparallel_jobs=3\nwhatever=1\nverbose=\"\"\n",
            ),
            ("framework.conf.d/a.conf", "parallel_jobs=5\nsymlink_modules=\"true\"\n"),
            ("framework.conf.d/b.ignored", "parallel_jobs=7\n"),
        ])
        .expect("settings");
        assert_eq!(framework.source_tree, Some("/srv/src".into()));
        assert_eq!(
            (framework.parallel_jobs, framework.symlink_modules, framework.verbose),
            (Some(5), true, false)
        );
    }

    #[test]
    fn bash_is_evaluated_and_the_kernel_is_filled_in_later() {
        let framework = read(&[(
            "framework.conf",
            "d=/opt/keys\nmok_signing_key=$d/mok.priv\nsign_file=\"/lib/modules/${kernelver}/build/scripts/sign-file\"\n",
        )])
        .expect("settings");
        assert_eq!(framework.mok_signing_key.as_deref(), Some("/opt/keys/mok.priv"));
        let signer = framework.sign_file_for("6.1").expect("a program");
        assert_eq!(signer, Path::new("/lib/modules/6.1/build/scripts/sign-file"));
        assert_eq!(read(&[]).expect("defaults"), Framework::default());
    }

    #[test]
    fn a_broken_file_is_an_error_with_bash_s_own_words() {
        let error = read(&[("framework.conf", "if true; then\n")]).expect_err("no fi");
        assert!(error.to_string().contains("syntax error"), "{error}");
    }
}
