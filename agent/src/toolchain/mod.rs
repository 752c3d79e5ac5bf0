//! Installs what a build for a kernel lacks (headers, compiler, make) by the distribution's package manager, where the policy says so, and
//! takes it away again.
//!
//! apt is asked first what it would do. Where it would remove or upgrade anything, nothing is done. What was installed is noted before that
//! begins, so that a later run can take it away also after a power cut.

mod apt;
pub mod medium;
mod simulation;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dkms_engine::command::find_program;
use dkms_engine::distribution::Distribution;
use dkms_engine::kernel::KernelError;
use dkms_engine::root::Root;
use serde::{Deserialize, Serialize};

use crate::files;
use crate::survey::Survey;

pub use apt::{Apt, Installation};
pub use simulation::Candidate;

/// What the package manager's command begins with where it is apt.
const APT_INSTALL: &str = "apt-get install ";

/// Why a toolchain was not installed, or not taken away.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// Another package manager.
    #[error("what a build needs is installed by apt only, and this system has no apt")]
    NoApt,
    /// apt does not know packages.
    #[error("apt offers no package {}", packages.join(", "))]
    NotOffered {
        /// The packages.
        packages: Vec<String>,
    },
    /// Other packages would have to go.
    #[error("apt would have to remove {} for {}: nothing was installed", packages.join(", "), wanted.join(", "))]
    WouldRemove {
        /// What was to be installed.
        wanted: Vec<String>,
        /// What would be removed.
        packages: Vec<String>,
    },
    /// Installed packages would have to be upgraded.
    #[error("apt would have to upgrade {} for {}: nothing was installed", packages.join(", "), wanted.join(", "))]
    WouldUpgrade {
        /// What was to be installed.
        wanted: Vec<String>,
        /// What would be upgraded.
        packages: Vec<String>,
    },
    /// Other packages need what was to be taken away.
    #[error("{} stay installed: {} would have to be changed with them", packages.join(", "), by.join(", "))]
    Needed {
        /// What was to be removed.
        packages: Vec<String>,
        /// What else would be removed or installed.
        by: Vec<String>,
    },
    /// A package of an archive whose list nobody signed.
    #[error("{uri} is of an archive without a signed list (InRelease): another machine could not verify it")]
    NotSigned {
        /// Where it is.
        uri: String,
    },
    /// The package manager failed.
    #[error("{command} failed: {message}")]
    Failed {
        /// The command.
        command: String,
        /// What it says.
        message: String,
    },
    /// The note of what was installed cannot be written or read.
    #[error("{} cannot be read or written: {source}", path.display())]
    Note {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
}

impl ToolchainError {
    /// Suggested fix; none where the missing parts themselves are explained.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoApt => return None,
            Self::NotOffered { packages } => format!(
                "apt-get update; where {} comes from another archive, add that to apt's sources",
                packages.join(" ")
            ),
            Self::WouldRemove { wanted, .. } | Self::WouldUpgrade { wanted, .. } => {
                format!("look at it: apt-get install -s {}", wanted.join(" "))
            }
            Self::NotSigned { .. } => "leave out --toolchain, or take that archive out of apt's sources".to_owned(),
            Self::Needed { .. } => "toolchain_keep = true in config.toml keeps them without trying".to_owned(),
            Self::Failed { command, .. } => format!("by hand: {command}"),
            Self::Note { path, source } => return files::hint(path, source),
        })
    }
}

/// The packages that a build for a kernel lacks, by the names that apt has for them; empty where nothing is missing or nothing can be done.
pub fn missing(survey: &Survey, root: &Root) -> Vec<String> {
    let mut packages = Vec::new();
    let has = |root: &Root, program: &str| find_program(root, program).is_some();
    match &survey.target {
        Ok(target) => {
            let toolchain = target.toolchain();
            if toolchain.present.is_none() {
                packages.push(compiler(toolchain.wanted.as_deref().unwrap_or(&toolchain.cc)));
            }
            if !has(&target.chroot().map_or_else(Root::host, Root::at), "make") {
                packages.push("make".to_owned());
            }
        }
        Err(KernelError::HeadersMissing { .. }) => {
            let command = Distribution::of(root).headers_command(&survey.kernel.release);
            packages.extend(command.strip_prefix(APT_INSTALL).map(str::to_owned));
            let compiler = kernel_compiler(root, &survey.kernel.release);
            if !has(&Root::host(), "gcc") && !has(&Root::host(), &compiler) {
                packages.push(compiler);
            }
            if !has(&Root::host(), "make") {
                packages.push("make".to_owned());
            }
        }
        // Another package would not mend it.
        Err(_) => {}
    }
    packages
}

/// The packages that builds for these kernels need on a machine that has nothing, by the names that apt has for them.
pub fn for_kernels(root: &Root, releases: &[String]) -> Vec<String> {
    let distribution = Distribution::of(root);
    let headers = |release: &String| {
        let command = distribution.headers_command(release);
        command.strip_prefix(APT_INSTALL).map(str::to_owned)
    };
    let mut names: Vec<String> = releases.iter().filter_map(headers).collect();
    if !names.is_empty() {
        names.extend(releases.iter().map(|release| kernel_compiler(root, release)));
        names.push("make".to_owned());
    }
    names.sort();
    names.dedup();
    names
}

/// The package of the compiler that a kernel was built with, by the configuration that came with the kernel.
fn kernel_compiler(root: &Root, release: &str) -> String {
    let config = fs::read_to_string(root.join(format!("/boot/config-{release}"))).unwrap_or_default();
    let text = config
        .lines()
        .find_map(|line| line.strip_prefix("CONFIG_CC_VERSION_TEXT=\""));
    compiler(text.unwrap_or("gcc"))
}

/// The package of a compiler: `gcc-13` of `x86_64-linux-gnu-gcc-13 (Ubuntu 13.3.0) 13.3.0`.
fn compiler(version_text: &str) -> String {
    let program = version_text.split_whitespace().next().unwrap_or("gcc");
    let at = ["gcc", "clang"].into_iter().find_map(|name| program.rfind(name));
    let name = at.map_or("gcc", |at| &program[at..]);
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '+';
    if name.chars().all(is_name) { name } else { "gcc" }.to_owned()
}

/// What this program installed by a package manager.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    packages: Vec<String>,
}

impl Note {
    fn read(path: &Path) -> Result<Self, ToolchainError> {
        let failed = |source| ToolchainError::Note {
            path: path.to_owned(),
            source,
        };
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| failed(error.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(failed(error)),
        }
    }

    fn write(&self, path: &Path) -> Result<(), ToolchainError> {
        let written = if self.packages.is_empty() {
            files::remove(path)
        } else {
            let text = serde_json::to_vec(self).unwrap_or_default();
            files::write_atomically(path, &text)
        };
        written.map_err(|source| ToolchainError::Note {
            path: path.to_owned(),
            source,
        })
    }
}

/// What would be installed for packages of these names. Lists that do not know one are brought up to date first, if that is allowed.
///
/// With the headers of `release` come those of later kernels, where a package brings the kernels themselves: of its version if that is
/// offered, else of another one. A later upgrade would install a kernel for which nothing could be built otherwise.
///
/// # Errors
/// When it cannot be installed without a change of other packages.
pub fn plan(apt: &Apt<'_>, names: &[String], release: &str, may_update: bool) -> Result<Installation, ToolchainError> {
    if !apt.is_there() {
        return Err(ToolchainError::NoApt);
    }
    let planned = match apt.plan(names) {
        Err(ToolchainError::NotOffered { .. }) if may_update => {
            apt.update()?;
            apt.plan(names)?
        }
        ended => ended?,
    };
    let headers = format!("linux-headers-{release}");
    if !planned.packages.iter().any(|one| one.name == headers) {
        return Ok(planned);
    }
    for one in apt.following_headers(release)? {
        for following in [format!("{}={}", one.name, one.version), one.name] {
            if let Ok(with) = apt.plan(&[names, &[following]].concat()) {
                return Ok(with);
            }
        }
    }
    Ok(planned)
}

/// Installs it; `note` is the file that remembers what was installed.
///
/// # Errors
/// When the package manager fails. What it has installed is noted.
pub fn install(apt: &Apt<'_>, installation: &Installation, note: &Path) -> Result<(), ToolchainError> {
    let mut noted = Note::read(note)?;
    noted
        .packages
        .extend(installation.packages.iter().map(|one| one.name.clone()));
    noted.packages.sort();
    noted.packages.dedup();
    noted.write(note)?;
    apt.install(installation)
}

/// Takes away what was installed, and returns the names of it.
///
/// # Errors
/// When other packages need it by now, or the package manager fails.
pub fn take_away(apt: &Apt<'_>, note: &Path) -> Result<Vec<String>, ToolchainError> {
    let noted = Note::read(note)?;
    if noted.packages.is_empty() {
        return Ok(Vec::new());
    }
    let there = apt.installed(&noted.packages)?;
    if !there.is_empty() {
        apt.remove(&there)?;
    }
    Note::default().write(note)?;
    Ok(there)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_of_a_compiler() {
        let check = |text: &str, expected: &str| assert_eq!(compiler(text), expected, "{text}");
        check("gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0", "gcc-12");
        check("x86_64-linux-gnu-gcc-13 (Ubuntu 13.3.0) 13.3.0", "gcc-13");
        check("clang-16 version 16.0.6", "clang-16");
        check("Ubuntu clang version 18.1.3", "gcc");
        check("gcc", "gcc");
        check("gcc;reboot", "gcc");
        check("", "gcc");
    }

    #[test]
    fn the_note_is_there_as_long_as_something_is_installed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lib/toolchain.json");
        assert_eq!(Note::read(&path).unwrap(), Note::default());
        let note = Note {
            packages: vec!["make".to_owned()],
        };
        note.write(&path).unwrap();
        assert_eq!(Note::read(&path).unwrap(), note);
        Note::default().write(&path).unwrap();
        assert!(!path.exists());
        fs::write(&path, "?").unwrap();
        assert!(Note::read(&path).is_err());
    }
}
