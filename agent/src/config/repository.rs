//! A repository: where it is, and the root of trust that this machine pins for it.

use std::fmt;
use std::path::{Path, PathBuf};

use dkms_engine::root::Root;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{ConfigError, directories, parse};

/// A repository that the owner of the machine trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Its name on this machine.
    pub name: Name,
    /// The file that configures it.
    pub file: PathBuf,
    /// Mirrors in order of preference; each ends with `/`.
    pub urls: Vec<Url>,
    /// The pinned `root.json`.
    pub root: PathBuf,
    /// The higher priority wins when several repositories serve one device. The default is 0.
    pub priority: i32,
    /// Whether it is used.
    pub enabled: bool,
}

/// A repository's name: it becomes a directory name, so it is letters, digits, `-`, `_` and `.`, not a leading dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(allowed) {
            return Err(format!(
                "a name is 1 to 64 letters, digits, `-`, `_` and `.`; {name:.80?} is not"
            ));
        }
        Ok(Self(name))
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Name,
    urls: Vec<String>,
    root: PathBuf,
    #[serde(default)]
    priority: i32,
    #[serde(default = "yes")]
    enabled: bool,
}

fn yes() -> bool {
    true
}

impl Repository {
    /// Reads one file. A relative `root` is beside the file or in a `roots.d`, an absolute one below `root`.
    pub(super) fn read(path: &Path, root: &Root) -> Result<Self, ConfigError> {
        let file: File = parse(path)?;
        let bad_url = |why: String| ConfigError::Value {
            path: path.to_owned(),
            key: "urls".to_owned(),
            why,
        };
        if file.urls.is_empty() {
            return Err(bad_url("at least one".to_owned()));
        }
        let urls = file
            .urls
            .iter()
            .map(|url| mirror(url).map_err(bad_url))
            .collect::<Result<_, _>>()?;
        let pinned = directories::pinned_root(root, path, &file.root);
        Ok(Self {
            name: file.name,
            file: path.to_owned(),
            urls,
            root: pinned,
            priority: file.priority,
            enabled: file.enabled,
        })
    }
}

/// A mirror's address, ending with `/` so that relative paths go below it.
pub(crate) fn mirror(text: &str) -> Result<Url, String> {
    let mut url = Url::parse(text).map_err(|e| format!("{text:?}: {e}"))?;
    if !matches!(url.scheme(), "https" | "http" | "file") {
        return Err(format!("{text:?}: expected https://, http:// or file://"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{text:?}: a mirror has no `?` or `#`"));
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_end_with_a_slash() {
        let check = |text: &str, expected: Result<&str, ()>| {
            assert_eq!(
                mirror(text).as_ref().map(Url::as_str).map_err(|_| ()),
                expected,
                "{text}"
            );
        };
        check("https://x.example", Ok("https://x.example/"));
        check("https://x.example/a", Ok("https://x.example/a/"));
        check("file:///media/stick/repo/", Ok("file:///media/stick/repo/"));
        check("https://x.example/?a", Err(()));
        check("ftp://x.example/", Err(()));
        check("/srv/repo", Err(()));
    }

    #[test]
    fn a_pinned_root_is_beside_its_file_or_below_the_root() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let check = |root: &str, expected: &Path| {
            let path = dir.path().join("a.toml");
            let text = format!("name = \"a\"\nurls = [\"https://x.example/\"]\nroot = \"{root}\"\n");
            std::fs::write(&path, text).expect("a file");
            let repository = Repository::read(&path, &Root::at("/nonexistent")).expect("a good file");
            assert_eq!(repository.root, expected);
        };
        check("a.root.json", &dir.path().join("a.root.json"));
        check(
            "/usr/share/dkms-fetch/roots/a.json",
            Path::new("/nonexistent/usr/share/dkms-fetch/roots/a.json"),
        );
    }

    #[test]
    fn names_cannot_leave_their_folder() {
        let check = |name: &str, good: bool| assert_eq!(Name::try_from(name.to_owned()).is_ok(), good, "{name:?}");
        check("acme-2.stable_x", true);
        check("", false);
        check("..", false);
        check(".hidden", false);
        check("a/b", false);
        check("a b", false);
        check(&"a".repeat(65), false);
    }
}
