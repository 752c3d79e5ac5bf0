//! What `repo add` is given: an address, a directory, or a file that describes a repository.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use url::Url;

use crate::cli::failure::Failure;

/// A repository that is to be added.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// What it calls itself, or what its address suggests.
    pub(super) name: String,
    /// Where it is.
    pub(super) urls: Vec<String>,
    /// Its root.json, where that does not come from the repository itself.
    pub(super) root: Option<PathBuf>,
    /// The fingerprint of its root, where the description has it.
    pub(super) fingerprint: Option<String>,
    /// Its priority.
    pub(super) priority: i32,
}

/// A file that describes a repository: the keys of repos.d, and `fingerprint` in place of `root`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    name: String,
    urls: Vec<String>,
    root: Option<PathBuf>,
    fingerprint: Option<String>,
    #[serde(default)]
    priority: i32,
}

impl Source {
    /// Reads `text` as an address, a directory or a file.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let bad = |why: String| Failure::BadRepository {
            given: text.to_owned(),
            why,
        };
        if text.contains("://") {
            let url = Url::parse(text).map_err(|error| bad(error.to_string()))?;
            return Ok(Self::at(url.as_str(), name_of(&url)));
        }
        let path = Path::new(text);
        if path.is_dir() {
            let dir = path.canonicalize().map_err(|error| bad(error.to_string()))?;
            let public = [dir.clone(), dir.join("public")];
            let Some(public) = public.iter().find(|dir| dir.join("metadata").is_dir()) else {
                return Err(bad("the directory has no metadata/".to_owned()));
            };
            let url = Url::from_directory_path(public).map_err(|()| bad("it is not an absolute path".to_owned()))?;
            return Ok(Self::at(url.as_str(), name_of(&url)));
        }
        let bytes = fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
        let description: Description = toml::from_str(&bytes).map_err(|error| bad_description(path, &bytes, &error))?;
        Ok(Self {
            name: description.name,
            urls: description.urls,
            root: description.root.map(|root| path.parent().unwrap_or(path).join(root)),
            fingerprint: description.fingerprint,
            priority: description.priority,
        })
    }

    fn at(url: &str, name: String) -> Self {
        Self {
            name,
            urls: vec![url.to_owned()],
            root: None,
            fingerprint: None,
            priority: 0,
        }
    }
}

/// Why a file is no description, with the line.
fn bad_description(path: &Path, text: &str, error: &toml::de::Error) -> Failure {
    let start = error.span().unwrap_or_default().start.min(text.len());
    let key_of_yum = |line: &str| {
        let key = line.split('=').next().unwrap_or_default().trim();
        matches!(key, "baseurl" | "mirrorlist" | "metalink" | "gpgkey")
    };
    let is_yum = text.lines().any(key_of_yum);
    Failure::BadDescription {
        path: path.to_owned(),
        line: 1 + text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count(),
        why: if is_yum {
            "this is a .repo file of yum or dnf".to_owned()
        } else {
            error.message().to_owned()
        },
    }
}

/// A name for a repository at this address: the last directory that says something, or the host.
fn name_of(url: &Url) -> String {
    let parts = url.path_segments().into_iter().flatten();
    let parts: Vec<&str> = parts.filter(|part| !matches!(*part, "" | "public" | "repo")).collect();
    let name = parts.last().copied().or(url.host_str()).unwrap_or("repository");
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = name
        .chars()
        .map(|c| if allowed(c) { c } else { '-' })
        .take(64)
        .collect();
    let name = name.trim_start_matches('.').to_owned();
    if name.is_empty() { "repository".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_suggest_names() {
        let check = |text: &str, expected: &str| assert_eq!(name_of(&text.parse().unwrap()), expected, "{text}");
        check("https://drivers.example.org/acme/public/", "acme");
        check("https://drivers.example.org/", "drivers.example.org");
        check("file:///media/DKMSFETCH/public/", "DKMSFETCH");
        check("https://x.example/a%20b/", "a-20b");
        check("file:///", "repository");
    }

    #[test]
    fn a_description_names_root_or_fingerprint() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("acme.repo");
        let text = "name = \"acme\"\nurls = [\"https://x.example/\"]\nroot = \"acme.root.json\"\npriority = 5\n";
        fs::write(&file, text).unwrap();
        let source = Source::parse(file.to_str().unwrap()).unwrap();
        assert_eq!((source.name.as_str(), source.priority), ("acme", 5));
        assert_eq!(source.root, Some(dir.path().join("acme.root.json")));
        fs::write(&file, "name = \"acme\"\nulrs = []\n").unwrap();
        let error = Source::parse(file.to_str().unwrap()).unwrap_err().to_string();
        let place = format!("{}, line 2: unknown field `ulrs`", file.display());
        assert!(error.contains(&place), "{error}");
        let error = Source::parse(dir.path().to_str().unwrap()).unwrap_err().to_string();
        assert!(error.contains("no metadata/"), "{error}");
    }
}
