//! The staging area: packages that were added and scanned, ready for `publish`.
//!
//! ```text
//! staging/<name>/<version>/manifest.json   what an offline role will sign
//! staging/<name>/<version>/record.json     the line of the index, with build facts
//! staging/<name>/<version>/input.json      which file it was made from, so that adding that again is no work
//! bundles/sha256/<2 hex>/<64 hex>          the sources, content addressed
//! ```
//!
//! `add` and `scan` write here, people may read and edit the two documents, `publish` signs and links.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use dkms_index::document::manifest::Manifest;
use dkms_index::document::record::PackageRecord;
use dkms_index::document::{BundleFormat, BundleRef};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::files::{self, FileError};
use crate::repository::Repository;

/// A name or version longer than this is refused: with both and the hash, the published file name stays below 255.
const NAME_MAX_BYTES: usize = 80;

/// One package version in the staging area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedPackage {
    /// What an offline role will sign.
    pub manifest: Manifest,
    /// The line of the index.
    pub record: PackageRecord,
}

/// Why the staging area could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A name or version that cannot be a file name.
    #[error("{what} {value:?} of the package is unusable: {why}")]
    Name {
        /// `name` or `version`.
        what: &'static str,
        /// As given.
        value: String,
        /// The rule it breaks.
        why: &'static str,
    },
    /// A document that is not what it should be.
    #[error("read {}: {source}", path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// Line and reason.
        source: serde_json::Error,
    },
    /// Manifest and record tell different things.
    #[error("{name} {version}: manifest and record differ in {field}")]
    Mismatch {
        /// Package.
        name: String,
        /// Its version.
        version: String,
        /// What differs.
        field: &'static str,
    },
    /// No such package in the staging area.
    #[error("{name} {version} is not staged")]
    NotStaged {
        /// Package.
        name: String,
        /// Its version.
        version: String,
    },
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl StageError {
    /// The way out.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Name { .. } => Some("names and versions are letters, digits and `.+-_~`".to_owned()),
            Self::Document { path, .. } => Some(format!(
                "correct {}, or add the package again with `dkms-repo add --force`",
                path.display()
            )),
            Self::Mismatch { .. } => Some("add the package again with `dkms-repo add --force`".to_owned()),
            Self::NotStaged { .. } => Some("see `dkms-repo list` for what is staged".to_owned()),
            Self::File(e) => e.hint(),
        }
    }
}

/// Checks that a package's name or version can be part of a file name and a URL as it is.
pub fn check_name(what: &'static str, value: &str) -> Result<(), StageError> {
    let refuse = |why| {
        Err(StageError::Name {
            what,
            value: value.to_owned(),
            why,
        })
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || ".+-_~".contains(c);
    match value {
        "" => refuse("it is empty"),
        _ if value.len() > NAME_MAX_BYTES => refuse("it is longer than 80 characters"),
        _ if value.starts_with(['.', '-']) => refuse("it starts with a dot or a dash"),
        _ if !value.chars().all(plain) => refuse("it has characters other than letters, digits and `.+-_~`"),
        _ => Ok(()),
    }
}

impl StagedPackage {
    /// Checks what every reader relies on: usable names, and a record that tells the same as the manifest.
    pub fn check(&self) -> Result<(), StageError> {
        let (manifest, record) = (&self.manifest, &self.record);
        check_name("name", &manifest.name)?;
        check_name("version", &manifest.version)?;
        let fields = [
            ("name", manifest.name == record.name),
            ("version", manifest.version == record.version),
            ("dkms_version", manifest.dkms_version() == record.dkms_version()),
            ("bundle", manifest.bundle == record.bundle),
            ("manifest path", manifest.target_path() == record.manifest),
        ];
        match fields.iter().find(|(_, equal)| !equal) {
            None => Ok(()),
            Some((field, _)) => Err(StageError::Mismatch {
                name: manifest.name.clone(),
                version: manifest.version.clone(),
                field,
            }),
        }
    }
}

/// The staging area of one repository.
#[derive(Debug, Clone)]
pub struct Stage {
    packages: PathBuf,
    bundles: PathBuf,
}

impl Stage {
    /// The staging area of `repository`.
    pub fn of(repository: &Repository) -> Self {
        Self {
            packages: repository.staging_dir(),
            bundles: repository.bundle_dir(),
        }
    }

    /// Puts a package in, replacing the same name and version. Its bundle must be in the store already.
    pub fn put(&self, package: &StagedPackage) -> Result<(), StageError> {
        package.check()?;
        let dir = self.package_dir(&package.manifest.name, &package.manifest.version);
        files::write_atomic(&dir.join("manifest.json"), &pretty(&package.manifest))?;
        Ok(files::write_atomic(&dir.join("record.json"), &pretty(&package.record))?)
    }

    /// One package.
    pub fn get(&self, name: &str, version: &str) -> Result<StagedPackage, StageError> {
        check_name("name", name)?;
        check_name("version", version)?;
        let dir = self.package_dir(name, version);
        let absent = || StageError::NotStaged {
            name: name.to_owned(),
            version: version.to_owned(),
        };
        let package = StagedPackage {
            manifest: read_json(&dir.join("manifest.json"))?.ok_or_else(absent)?,
            record: read_json(&dir.join("record.json"))?.ok_or_else(absent)?,
        };
        package.check()?;
        Ok(package)
    }

    /// All packages, sorted by name and version.
    pub fn list(&self) -> Result<Vec<StagedPackage>, StageError> {
        let mut packages = Vec::new();
        for name in subdirectories(&self.packages)? {
            for version in subdirectories(&self.packages.join(&name))? {
                packages.push(self.get(&name, &version)?);
            }
        }
        Ok(packages)
    }

    /// Takes a package out; its bundle stays. False when it was not there.
    pub fn remove(&self, name: &str, version: &str) -> Result<bool, StageError> {
        check_name("name", name)?;
        check_name("version", version)?;
        let dir = self.package_dir(name, version);
        match fs::remove_dir_all(&dir) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(FileError::on("remove", &dir)(e).into()),
        }
    }

    /// Stores a source bundle under its own hash and returns how to refer to it.
    pub fn put_bundle(&self, mut source: impl Read, format: BundleFormat) -> Result<BundleRef, FileError> {
        let store = self.bundles.join("sha256");
        files::create_dir(&store)?;
        let mut temporary = files::temporary_in(&store, 0o644)?;
        let mut digest = Sha256::new();
        let mut length = 0u64;
        let mut buffer = vec![0; 128 << 10];
        loop {
            let n = source
                .read(&mut buffer)
                .map_err(FileError::on("read a bundle into", &store))?;
            if n == 0 {
                break;
            }
            digest.update(&buffer[..n]);
            temporary
                .write_all(&buffer[..n])
                .map_err(FileError::on("write a bundle in", &store))?;
            length += n as u64;
        }
        let bundle = BundleRef {
            sha256: hex::encode(digest.finalize()),
            length,
            format,
        };
        let path = self.bundle_path(&bundle);
        files::create_dir(path.parent().unwrap_or(&store))?;
        files::persist(temporary, &path)?;
        Ok(bundle)
    }

    /// Where a bundle lies.
    pub fn bundle_path(&self, bundle: &BundleRef) -> PathBuf {
        let shard = bundle.sha256.get(..2).unwrap_or("__");
        self.bundles.join("sha256").join(shard).join(&bundle.sha256)
    }

    /// Where a package's own files lie: the two documents, and what tools keep beside them.
    pub fn package_dir(&self, name: &str, version: &str) -> PathBuf {
        self.packages.join(name).join(version)
    }
}

fn pretty(document: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(document).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StageError> {
    let Some(bytes) = files::read_if_exists(path)? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| StageError::Document {
            path: path.to_owned(),
            source,
        })
}

/// The names of the directories in `dir`, sorted; none where `dir` is absent.
fn subdirectories(dir: &Path) -> Result<Vec<String>, FileError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(FileError::on("list", dir)(e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(FileError::on("list", dir))?;
        if entry.file_type().map_err(FileError::on("list", dir))?.is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::Config;

    fn staged(name: &str, version: &str, bundle: BundleRef) -> StagedPackage {
        let manifest: Manifest = serde_json::from_value(serde_json::json!({
            "schema": 1, "name": name, "version": version, "scope": "curated", "bundle": bundle, "modules": []
        }))
        .unwrap();
        let record = serde_json::from_value(serde_json::json!({
            "name": name, "version": version, "manifest": manifest.target_path(), "bundle": bundle,
            "modules": [], "patterns": []
        }))
        .unwrap();
        StagedPackage { manifest, record }
    }

    fn stage() -> (tempfile::TempDir, Stage) {
        let dir = tempfile::tempdir().unwrap();
        let config: Config = toml::from_str("name = \"t\"").unwrap();
        let stage = Stage::of(&Repository::create(dir.path(), config).unwrap());
        (dir, stage)
    }

    #[test]
    fn what_is_put_is_listed_in_order_and_can_be_removed() {
        let (_dir, stage) = stage();
        let bundle = stage.put_bundle(&b"sources"[..], BundleFormat::TarZst).unwrap();
        assert_eq!(bundle.length, 7);
        assert_eq!(fs::read(stage.bundle_path(&bundle)).unwrap(), b"sources");
        for (name, version) in [("b", "1"), ("a", "2~rc1"), ("a", "1")] {
            stage.put(&staged(name, version, bundle.clone())).unwrap();
        }
        let listed = |s: &Stage| -> Vec<String> {
            s.list()
                .unwrap()
                .iter()
                .map(|p| format!("{} {}", p.manifest.name, p.manifest.version))
                .collect()
        };
        assert_eq!(listed(&stage), ["a 1", "a 2~rc1", "b 1"]);
        assert!(stage.remove("a", "1").unwrap());
        assert!(!stage.remove("a", "1").unwrap());
        assert_eq!(listed(&stage), ["a 2~rc1", "b 1"]);
    }

    #[test]
    fn a_record_that_tells_another_story_is_refused() {
        let (_dir, stage) = stage();
        let bundle = stage.put_bundle(&b"sources"[..], BundleFormat::TarZst).unwrap();
        let mut package = staged("a", "1", bundle);
        package.record.manifest = "curated/b@1.json".to_owned();
        assert!(matches!(
            stage.put(&package),
            Err(StageError::Mismatch {
                field: "manifest path",
                ..
            })
        ));
    }

    #[test]
    fn names_are_plain_path_segments() {
        fn check(name: &str, usable: bool) {
            assert_eq!(check_name("name", name).is_ok(), usable, "{name:?}");
        }
        check("8812au", true);
        check("0.4.5-1~bpo12+1", true);
        check("", false);
        check("..", false);
        check("a/b", false);
        check("-rf", false);
        check("a b", false);
        check("ä", false);
        check(&"a".repeat(81), false);
    }
}
