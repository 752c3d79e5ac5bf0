//! What the owner of the machine wrote: repositories in `repos.d/*.toml`, policy in `config.toml`. Packages of vendors ship
//! repositories too.
//!
//! Both are read strictly: an unknown key is an error with its line, because a misspelt `deny` that is silently
//! ignored installs what its author forbade.

mod directories;
mod network;
mod policy;
mod repository;

use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use dkms_engine::root::Root;
use serde::de::DeserializeOwned;

use crate::files;

pub use directories::VENDOR_DIR;
pub use network::{Network, Seconds};
pub(crate) use policy::glob_matches;
pub use policy::{HealthyTarget, Policy, PolicyRule, Toolchain};
pub(crate) use repository::mirror;
pub use repository::{Name, Repository};

/// Where the configuration lies, below the root.
pub const DIR: &str = "/etc/dkms-fetch";

/// A configuration file is small.
const FILE_MAX_BYTES: u64 = 256 << 10;
/// More repositories than this are a mistake.
const REPOSITORIES_MAX: usize = 64;

/// The configuration of one machine or image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Enabled repositories, best priority first, then by name.
    pub repositories: Vec<Repository>,
    /// All repositories, also those that are not enabled.
    pub known: Vec<Repository>,
    /// What the owner allows, pins and denies.
    pub policy: Policy,
}

impl Config {
    /// Reads the configuration of `root`, in [`DIR`]. An absent directory is an empty configuration.
    ///
    /// # Errors
    /// When a file cannot be read, is too big, is not TOML, or has a value that is not allowed.
    pub fn read(root: &Root) -> Result<Self, ConfigError> {
        let dir = root.join(DIR);
        let policy = dir.join("config.toml");
        let known = repositories(root)?;
        Ok(Self {
            repositories: known.iter().filter(|one| one.enabled).cloned().collect(),
            known,
            policy: if policy.exists() {
                parse(&policy)?
            } else {
                Policy::default()
            },
        })
    }
}

/// The repositories of `repos.d`, best priority first.
fn repositories(root: &Root) -> Result<Vec<Repository>, ConfigError> {
    let paths = directories::files(root, "repos.d").map_err(|(path, source)| ConfigError::Read { path, source })?;
    if paths.len() > REPOSITORIES_MAX {
        return Err(ConfigError::TooMany {
            path: root.join(DIR).join("repos.d"),
            limit: REPOSITORIES_MAX,
        });
    }
    let mut repositories: Vec<Repository> = Vec::new();
    for path in paths {
        let repository = Repository::read(&path, root)?;
        if let Some(twin) = repositories.iter().find(|r| r.name == repository.name) {
            return Err(ConfigError::Value {
                path,
                key: "name".to_owned(),
                why: format!("{} has the name `{}` already", twin.file.display(), twin.name),
            });
        }
        repositories.push(repository);
    }
    repositories.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.name.cmp(&b.name)));
    Ok(repositories)
}

/// Reads one TOML file, bounded and strict.
fn parse<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    files::open_regular(path)
        .and_then(|file| file.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return Err(ConfigError::TooBig {
            path: path.to_owned(),
            limit_bytes: FILE_MAX_BYTES,
        });
    }
    let text = String::from_utf8(bytes).map_err(|e| ConfigError::Syntax {
        path: path.to_owned(),
        line: 1 + e.as_bytes()[..e.utf8_error().valid_up_to()]
            .iter()
            .filter(|b| **b == b'\n')
            .count(),
        why: "not UTF-8".to_owned(),
        shown: String::new(),
    })?;
    toml::from_str(&text).map_err(|e| {
        let span = e.span().unwrap_or_default();
        let before = &text.as_bytes()[..span.start.min(text.len())];
        ConfigError::Syntax {
            path: path.to_owned(),
            line: 1 + before.iter().filter(|b| **b == b'\n').count(),
            why: e.message().to_owned(),
            shown: show(&text, span),
        }
    })
}

/// The line where `span` begins, with carets below what is meant; empty where that says nothing.
fn show(text: &str, span: Range<usize>) -> String {
    const COLUMNS_MAX: usize = 70;
    let (Some(before), Some(meant)) = (text.get(..span.start), text.get(span)) else {
        return String::new();
    };
    let begin = before.rfind('\n').map_or(0, |at| at + 1);
    let line = text[begin..].lines().next().unwrap_or_default();
    let indent = before[begin..].chars().count();
    let carets = meant.lines().next().unwrap_or_default().chars().count().max(1);
    if line.trim().is_empty() || indent + carets > COLUMNS_MAX {
        return String::new();
    }
    // Control characters of a hostile file are not for a terminal.
    let plain = line.chars().map(|c| if c.is_control() { ' ' } else { c });
    let line: String = plain.take(COLUMNS_MAX).collect();
    format!("\n    {line}\n    {:indent$}{}", "", "^".repeat(carets))
}

/// Why the configuration is not usable.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or directory cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A file is far bigger than a configuration.
    #[error("{} is bigger than {limit_bytes} bytes", path.display())]
    TooBig {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit_bytes: u64,
    },
    /// There are more repositories than the limit.
    #[error("{} configures more than {limit} repositories", path.display())]
    TooMany {
        /// The directory.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// A line is not TOML, or has a key that does not exist or a value of the wrong type.
    #[error("{}, line {line}: {why}{shown}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        why: String,
        /// The line with a mark below it, beginning with a new line; or nothing.
        shown: String,
    },
    /// A value is well formed and still not allowed.
    #[error("{}: `{key}`: {why}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong.
        why: String,
    },
}

impl ConfigError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Some("run it as root".to_owned())
            }
            Self::Read { path, source } if source.kind() == std::io::ErrorKind::InvalidInput => {
                Some(format!("ls -l {}", path.display()))
            }
            Self::Read { .. } | Self::TooMany { .. } => None,
            Self::TooBig { path, .. } => Some(format!("is `{}` the file you meant?", path.display())),
            Self::Syntax { path, line, .. } => Some(format!("`${{EDITOR:-vi}} +{line} {}`", path.display())),
            Self::Value { path, .. } => Some(format!("`${{EDITOR:-vi}} {}`", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A root with these files of configuration.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let etc = dir.path().join("etc/dkms-fetch");
        fs::create_dir_all(etc.join("repos.d")).expect("a directory");
        for (name, text) in files {
            fs::write(etc.join(name), text).expect("a file");
        }
        dir
    }

    fn read(files: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let dir = root(files);
        Config::read(&Root::at(dir.path()))
    }

    #[test]
    fn repositories_come_by_priority_then_name_and_disabled_ones_not_at_all() {
        let repo = |name: &str, more: &str| {
            format!("name = \"{name}\"\nurls = [\"https://x.example/\"]\nroot = \"r.json\"\n{more}")
        };
        let config = read(&[
            ("repos.d/1.toml", &repo("vendor", "")),
            ("repos.d/2.toml", &repo("oem", "priority = 10")),
            ("repos.d/3.toml", &repo("community", "")),
            ("repos.d/4.toml", &repo("off", "enabled = false")),
            ("repos.d/5.toml~", "not TOML"),
            ("repos.d/.6.toml", "not TOML"),
        ])
        .expect("a good configuration");
        let names: Vec<&str> = config.repositories.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["oem", "community", "vendor"]);
    }

    #[test]
    fn nothing_is_an_empty_configuration() {
        let empty = tempfile::tempdir().expect("a temporary directory");
        let config = Config::read(&Root::at(empty.path())).expect("absence is not an error");
        assert_eq!(config, Config::default());
    }

    #[test]
    fn faults_are_named_with_file_and_line() {
        let check = |name: &str, text: &str, expected: &str| {
            let error = read(&[(name, text)]).expect_err(text);
            let shown = error.to_string();
            assert!(shown.contains(expected) && shown.contains(name), "{text:?}: {shown}");
            assert!(error.hint().is_some(), "{text:?}");
        };
        check("config.toml", "[policy\n", "line 1");
        check("config.toml", "\n\nallow_root_script = []\n", "line 3: unknown field");
        check(
            "config.toml",
            "[network]\nidle_s = 0\n",
            "line 2: a time is 0.1 to 86400 s",
        );
        check(
            "config.toml",
            "healthy_target = \"graphical\"\n",
            "is not the name of a systemd target",
        );
        check(
            "config.toml",
            "healthy_target = \"a b.target\"\n",
            "is not the name of a systemd target",
        );
        check("config.toml", "[network]\nidle = 3\n", "line 2: unknown field");
        check("repos.d/a.toml", "name = \"a\"\nurls = 3\n", "line 2");
        check("repos.d/a.toml", "name = \"a/b\"\nurls = []\nroot = \"r\"\n", "name");
        check(
            "repos.d/a.toml",
            "name = \"a\"\nurls = []\nroot = \"r\"\n",
            "`urls`: at least one",
        );
        check(
            "repos.d/a.toml",
            "name = \"a\"\nurls = [\"gopher://x\"]\nroot = \"r\"\n",
            "`urls`",
        );
        check(
            "repos.d/a.toml",
            "name = \"a\"\nurls = [\"nonsense\"]\nroot = \"r\"\n",
            "`urls`",
        );
        check("repos.d/a.toml", &"#".repeat(300 << 10), "bigger than");
    }

    #[test]
    fn a_fifo_is_refused_and_not_waited_for() {
        for name in ["config.toml", "repos.d/a.toml"] {
            let dir = root(&[]);
            let path = dir.path().join("etc/dkms-fetch").join(name);
            let made = std::process::Command::new("mkfifo").arg(&path).status();
            assert!(made.expect("mkfifo runs").success());
            let error = Config::read(&Root::at(dir.path())).expect_err(name);
            assert!(error.to_string().contains("not a regular file"), "{error}");
            assert!(error.hint().is_some(), "{error}");
        }
    }

    #[test]
    fn files_of_etc_mask_those_of_vendors() {
        let dir = root(&[]);
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
            fs::write(path, text).expect("a file");
        };
        let repo =
            |name: &str, root: &str| format!("name = \"{name}\"\nurls = [\"https://x.example/\"]\nroot = \"{root}\"\n");
        for name in ["acme", "changed", "emptied", "nulled"] {
            put(
                &format!("usr/share/dkms-fetch/repos.d/{name}.toml"),
                &repo(name, &format!("{name}.json")),
            );
        }
        put("etc/dkms-fetch/repos.d/changed.toml", &repo("own", "own.json"));
        put("etc/dkms-fetch/repos.d/emptied.toml", "");
        std::os::unix::fs::symlink("/dev/null", dir.path().join("etc/dkms-fetch/repos.d/nulled.toml")).expect("a link");
        put("usr/share/dkms-fetch/roots.d/acme.json", "{}");
        put("usr/share/dkms-fetch/roots.d/own.json", "{}");
        put("etc/dkms-fetch/roots.d/own.json", "{}");
        let config = Config::read(&Root::at(dir.path())).expect("a good configuration");
        let found: Vec<(&str, PathBuf)> = config
            .repositories
            .iter()
            .map(|one| {
                let root = one.root.strip_prefix(dir.path()).expect("in the root");
                (one.name.as_str(), root.to_owned())
            })
            .collect();
        assert_eq!(
            found,
            [
                ("acme", "usr/share/dkms-fetch/roots.d/acme.json".into()),
                ("own", "etc/dkms-fetch/roots.d/own.json".into())
            ]
        );
    }

    #[test]
    fn two_repositories_may_not_have_one_name() {
        let repo = "name = \"a\"\nurls = [\"https://x.example/\"]\nroot = \"r.json\"\n";
        let error = read(&[("repos.d/1.toml", repo), ("repos.d/2.toml", repo)]).expect_err("twins");
        assert!(error.to_string().contains("1.toml has the name `a` already"), "{error}");
    }
}
