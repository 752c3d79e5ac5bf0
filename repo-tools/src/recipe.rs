//! A recipe: where a driver's source is, and what it lacks to be a package. Somebody reviewed it, as any code.

use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use crate::ingest::{Change, Changes, IngestError};

/// A recipe cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// It cannot be read.
    #[error("cannot read {path:?}: {source}")]
    Read {
        /// The recipe or patch.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no recipe.
    #[error("{path:?} is not valid: {why}")]
    Invalid {
        /// The recipe.
        path: PathBuf,
        /// The first thing that is wrong.
        why: String,
    },
    /// Its upstream does not tell its versions.
    #[error("the newest version of {path:?} is not known: {error}")]
    Tags {
        /// The recipe.
        path: PathBuf,
        /// Why.
        error: Box<IngestError>,
    },
    /// No tag is one of a version.
    #[error(
        "the newest version of {path:?} is not known: no tag of {git} is of the form {tags} with a version of digits and dots"
    )]
    NoVersion {
        /// The recipe.
        path: PathBuf,
        /// Its repository.
        git: String,
        /// How its versions are tagged.
        tags: String,
    },
    /// There is none.
    #[error("{0:?} has no recipes")]
    None(PathBuf),
    /// No recipe has this name.
    #[error(
        "{name:?} is no file or directory, and no recipe of that name is in {}",
        list(places)
    )]
    Unknown {
        /// As it was given.
        name: PathBuf,
        /// Where recipes were looked for.
        places: Vec<PathBuf>,
    },
}

impl RecipeError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Tags { error, .. } => return error.hint(),
            Self::NoVersion { .. } => "correct `tags` in the recipe, or leave out --newest".to_owned(),
            Self::Read { .. } => "a recipe's patches lie beside it".to_owned(),
            Self::Invalid { .. } => "docs/publishing.md has the keys of a recipe".to_owned(),
            Self::Unknown { .. } => {
                "give the path of a recipe or of a directory of them, or one of the names there".to_owned()
            }
            Self::None(_) => "give a directory with files NAME.toml".to_owned(),
        })
    }
}

/// `NAME.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What it is for, in a line.
    pub summary: String,
    /// SPDX expression; that of the source where it is not given.
    #[serde(default)]
    pub license: String,
    /// Address for people; that of the source where it is not given.
    #[serde(default)]
    pub homepage: String,
    /// The repository of the source, `https://…`.
    pub git: String,
    /// The tag or whole commit.
    pub revision: String,
    /// How upstream tags its versions: `v*`. The star stands for the version.
    #[serde(default)]
    pub tags: Option<String>,
    /// The dkms.conf where upstream has none, or one that is not usable as it is.
    #[serde(default)]
    pub dkms_conf: Option<String>,
    /// The version that upstream's own packaging would put into its dkms.conf, for `#MODULE_VERSION#`, `#VERSION#` or `@VERSION@`.
    #[serde(default)]
    pub version: Option<String>,
    /// Files with patches (`-p1`) beside the recipe, in their order.
    #[serde(default)]
    pub patches: Vec<String>,
    /// When and how it was last tried with success.
    #[serde(default)]
    pub checked: Option<String>,
    /// Why it was not.
    #[serde(default)]
    pub unchecked: Option<String>,
}

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// When it cannot be read or lacks something.
    pub fn read(path: &Path) -> Result<Self, RecipeError> {
        let text = fs::read_to_string(path).map_err(|source| RecipeError::Read {
            path: path.to_owned(),
            source,
        })?;
        let invalid = |why: String| RecipeError::Invalid {
            path: path.to_owned(),
            why,
        };
        let recipe: Self = toml::from_str(&text).map_err(|error| invalid(error.to_string()))?;
        if recipe.checked.is_some() == recipe.unchecked.is_some() {
            return Err(invalid("it has to say either `checked` or `unchecked`".to_owned()));
        }
        if let Some(tags) = recipe.tags.as_ref().filter(|tags| tags.matches('*').count() != 1) {
            return Err(invalid(format!(
                "`tags` is {tags:?}, and has not one star for the version"
            )));
        }
        let is_beside = |name: &String| {
            let mut parts = Path::new(name).components();
            matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
        };
        if let Some(name) = recipe.patches.iter().find(|name| !is_beside(name)) {
            return Err(invalid(format!("the patch {name:?} does not lie beside it")));
        }
        Ok(recipe)
    }

    /// The source, as `add` takes it.
    pub fn source(&self) -> PathBuf {
        PathBuf::from(format!("git+{}@{}", self.git, self.revision))
    }

    /// The same of the newest version that upstream has tagged, with that version; none where the recipe does not say how versions are tagged.
    /// The commit of the tag is taken, so that all of the run is about one source.
    ///
    /// # Errors
    /// When the tags cannot be listed, or none is a version.
    pub fn newest(&self, path: &Path) -> Result<Option<(Self, String)>, RecipeError> {
        let Some(pattern) = &self.tags else { return Ok(None) };
        let tags = crate::ingest::git_tags(&self.git).map_err(|error| RecipeError::Tags {
            path: path.to_owned(),
            error: Box::new(error),
        })?;
        let (version, commit) = newest_of(pattern, &tags).ok_or_else(|| RecipeError::NoVersion {
            path: path.to_owned(),
            git: self.git.clone(),
            tags: pattern.clone(),
        })?;
        let newest = Self {
            revision: commit.to_owned(),
            version: Some(version.to_owned()),
            ..self.clone()
        };
        Ok(Some((newest, version.to_owned())))
    }

    /// What is changed in the source, with the patches beside the recipe at `path`.
    ///
    /// # Errors
    /// When a patch cannot be read.
    pub fn changes(&self, path: &Path) -> Result<Changes, RecipeError> {
        let mut changes = Changes {
            conf: self.dkms_conf.as_ref().map(|conf| conf.clone().into_bytes()),
            version: self.version.clone(),
            patches: Vec::new(),
        };
        for name in &self.patches {
            let file = path.with_file_name(name);
            let text = fs::read(&file).map_err(|source| RecipeError::Read { path: file, source })?;
            changes.patches.push(Change {
                name: name.clone(),
                text,
            });
        }
        Ok(changes)
    }
}

/// The newest version among tags of this form, with its commit. Versions are digits, dots and hyphens: what has letters is a pre-release, or
/// something else.
fn newest_of<'a>(pattern: &str, tags: &'a [(String, String)]) -> Option<(&'a str, &'a str)> {
    let (before, after) = pattern.split_once('*')?;
    let version = |tag: &'a str| {
        let version = tag.strip_prefix(before)?.strip_suffix(after)?;
        let is_version = version.starts_with(|c: char| c.is_ascii_digit())
            && version.chars().all(|c| c.is_ascii_digit() || ".-".contains(c));
        is_version.then_some(version)
    };
    let versions = tags
        .iter()
        .filter_map(|(tag, commit)| Some((version(tag)?, commit.as_str())));
    versions.max_by(|(a, _), (b, _)| dkms_index::version::compare(a, b))
}

fn list(places: &[PathBuf]) -> String {
    let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    places.join(", ")
}

/// Where the recipes are that come with this program: beside it, as `make install` and packages put them, then in the usual places.
pub fn shared_places() -> Vec<PathBuf> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|program| Some(program.parent()?.parent()?.join("share")));
    let shares = beside
        .into_iter()
        .chain(["/usr/local/share", "/usr/share"].map(PathBuf::from));
    let mut places: Vec<PathBuf> = Vec::new();
    for place in shares.map(|share| share.join("dkms-repo/recipes")) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// The recipes that `wanted` stands for: all of a directory, one file, or one by its name in the first of `places` that has it.
///
/// # Errors
/// When there is none.
pub fn find(wanted: &Path, places: &[PathBuf]) -> Result<Vec<PathBuf>, RecipeError> {
    if wanted.is_dir() {
        return recipes(wanted);
    }
    if wanted.is_file() {
        return Ok(vec![wanted.to_owned()]);
    }
    let mut parts = wanted.components();
    let is_name = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    let file = format!("{}.toml", wanted.display());
    let found = places
        .iter()
        .map(|place| place.join(&file))
        .find(|path| is_name && path.is_file());
    found.map(|path| vec![path]).ok_or_else(|| RecipeError::Unknown {
        name: wanted.to_owned(),
        places: places.to_vec(),
    })
}

/// The recipes in a directory, by name.
///
/// # Errors
/// When it cannot be read, or has none.
pub fn recipes(dir: &Path) -> Result<Vec<PathBuf>, RecipeError> {
    let unreadable = |source| RecipeError::Read {
        path: dir.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(RecipeError::None(dir.to_owned()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_found_among_tags() {
        let check = |pattern: &str, tags: &[&str], expected: Option<&str>| {
            let tags: Vec<_> = tags
                .iter()
                .map(|tag| ((*tag).to_owned(), format!("of {tag}")))
                .collect();
            let found = newest_of(pattern, &tags);
            assert_eq!(found.map(|(version, _)| version), expected, "{pattern} {tags:?}");
        };
        check("v*", &["v1.9", "v1.10", "v1.2", "2.0", "v"], Some("1.10"));
        check("v*", &["v4.2.0-rc3", "v4.1.9", "vnext"], Some("4.1.9"));
        check("*", &["9.016.00-1", "9.016.01-1", "push"], Some("9.016.01-1"));
        check("tp-smapi/*", &["tp-smapi/0.44", "hdaps/9.9"], Some("0.44"));
        check("release-*-final", &["release-3-final", "release-4"], Some("3"));
        check("v*", &["1.0"], None);
    }

    #[test]
    fn recipes_are_found_by_path_and_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        for (place, name) in [(&first, "a"), (&second, "a"), (&second, "b")] {
            fs::create_dir_all(place).unwrap();
            fs::write(place.join(format!("{name}.toml")), "").unwrap();
        }
        let places = [dir.path().join("absent"), first.clone(), second.clone()];
        let find = |wanted: &Path| find(wanted, &places).map_err(|error| error.to_string());
        assert_eq!(find(Path::new("a")), Ok(vec![first.join("a.toml")]));
        assert_eq!(find(Path::new("b")), Ok(vec![second.join("b.toml")]));
        assert_eq!(find(&second.join("a.toml")), Ok(vec![second.join("a.toml")]));
        assert_eq!(find(&second), Ok(vec![second.join("a.toml"), second.join("b.toml")]));
        let unknown = find(Path::new("c")).unwrap_err();
        assert!(
            unknown.contains("\"c\" is no file") && unknown.contains("absent"),
            "{unknown}"
        );
        assert!(find(Path::new("../second/b")).is_err());
        assert!(
            shared_places()
                .iter()
                .any(|place| place.ends_with("share/dkms-repo/recipes"))
        );
    }
}
