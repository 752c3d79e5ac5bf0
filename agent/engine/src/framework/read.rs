//! The files behind the settings: read without a shell where they are plain, by bash where they are not.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Framework, FrameworkError};
use crate::command::Confined;
use crate::root::Root;
use crate::sandbox::{Account, Limits, View};

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

/// The settings of the module tools of older Red Hat and SUSE systems.
pub(super) const SYSCONFIG: &str = "/etc/sysconfig/module-init-tools";

impl Framework {
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
        let output = settings(root, ". \"$1\" >&2; exec env -0", "build_environment", &file)?.output(1 << 20)?;
        if !output.ended.status.success() {
            return Err(io::Error::other(
                String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            ));
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // Variables that every bash sets; PATH and HOME of builds stay ours.
        let own = ["PATH", "HOME", "PWD", "OLDPWD", "SHLVL", "_"];
        let pairs = text.split_terminator('\0').filter_map(pair);
        Ok(pairs.filter(|(name, _)| !own.contains(&name.as_str())).collect())
    }
}

/// The value of ADDON_MODULES_DIR in the file `path`, empty without one.
pub(super) fn sysconfig(path: &Path) -> Result<String, FrameworkError> {
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

pub(super) fn files(root: &Root) -> Vec<PathBuf> {
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
pub(super) fn plain(text: &str) -> Option<BTreeMap<String, String>> {
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

/// A bash for `script`, whose first argument is a file of settings of `root`. Those of this machine belong to root and are evaluated as
/// we run; those of an image are evaluated in the sandbox. There bash reads the content from its standard input: the user of the sandbox
/// may not be able to reach an image below a home directory.
fn settings(root: &Root, script: &str, name: &str, path: &Path) -> io::Result<Confined> {
    if root.is_host() {
        return Ok(Confined::bash(script, name)
            .arg(path)
            .time_limit(Duration::from_secs(20)));
    }
    let view = View::new(Path::new("/"), Account::reserve(), Limits::evaluation());
    let script = format!("exec 3< <(cat); set -- /dev/fd/3 \"$@\"\n{script}");
    Ok(Confined::bash(&script, name).stdin(std::fs::read(path)?).sandbox(view))
}

pub(super) fn by_bash(root: &Root, path: &Path) -> io::Result<BTreeMap<String, String>> {
    const SCRIPT: &str = r#"kernelver='$kernelver'; exec 9>&1 >&2; . "$1"; shift
for __n; do [[ -v $__n ]] && printf '%s\0%s\0' "$__n" "${!__n}" >&9; done; printf '!end\0' >&9"#;
    let output = settings(root, SCRIPT, "framework.conf", path)?
        .args(NAMES.iter().chain(&SIGNING_NAMES))
        .output(1 << 20)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let syntax = complaint.contains("syntax error") || complaint.contains("unexpected EOF");
    let Some(text) = text.strip_suffix("!end\0").filter(|_| !syntax) else {
        return Err(io::Error::other(if complaint.is_empty() {
            format!("bash ended early, {}", output.ended.status)
        } else {
            complaint
        }));
    };
    let fields: Vec<&str> = text.split('\0').collect();
    Ok(fields
        .chunks_exact(2)
        .map(|pair| (pair[0].to_owned(), pair[1].to_owned()))
        .collect())
}
