//! The staging area: packages that were added and scanned, ready for `publish`.
//!
//! ```text
//! staging/<name>/<version>/manifest.json   what an offline role will sign
//! staging/<name>/<version>/record.json     the line of the index, with build facts
//! staging/<name>/<version>/next.json       both documents while they are being replaced; while it is there, it counts
//! bundles/sha256/<2 hex>/<64 hex>          the sources, content addressed
//! ```
//!
//! `add` and `scan` write here, people may read and edit the two documents, `publish` signs and links.

mod error;
mod package;
mod stamps;

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use dkms_index::document::{BundleFormat, BundleRef};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::files::{self, FileError};
use crate::repository::Repository;

pub use error::StageError;
pub use package::{StagedPackage, check_name};
pub use stamps::{PackageStamp, Stamps};

/// Name and version for messages, and the package, if it is readable.
pub type Titled = (String, Result<StagedPackage, StageError>);

/// The staging area of one repository.
#[derive(Debug, Clone)]
pub struct Stage {
    repository: PathBuf,
    packages: PathBuf,
    bundles: PathBuf,
}

impl Stage {
    /// The staging area of `repository`.
    pub fn of(repository: &Repository) -> Self {
        Self {
            repository: repository.path().to_owned(),
            packages: repository.staging_dir(),
            bundles: repository.bundle_dir(),
        }
    }

    /// A staging area in `dir` that belongs to no repository.
    pub fn at(dir: &Path) -> Self {
        Self {
            repository: dir.to_owned(),
            packages: dir.join("staging"),
            bundles: dir.join("bundles"),
        }
    }

    /// The working directory of the repository it belongs to.
    pub fn repository_dir(&self) -> &Path {
        &self.repository
    }

    /// Whether a package may be staged.
    ///
    /// # Errors
    /// When machines would refuse it.
    pub fn check(package: &StagedPackage) -> Result<(), StageError> {
        package.check()?;
        let problems = package.problems();
        if problems.is_empty() {
            return Ok(());
        }
        Err(StageError::Invalid {
            name: package.manifest.name.clone(),
            version: package.manifest.version.clone(),
            problems,
        })
    }

    /// Puts a package in, replacing the same name and version in one step. Its bundle must be in the store already.
    ///
    /// # Errors
    /// When machines would refuse it, or it cannot be written.
    pub fn put(&self, package: &StagedPackage) -> Result<(), StageError> {
        Self::check(package)?;
        let dir = self.package_dir(&package.manifest.name, &package.manifest.version);
        files::write_atomic(&dir.join(NEXT), &pretty(package))?;
        finish_write(&dir)
    }

    /// Takes a package out, in one step; it is no longer published then. Its bundle stays until `gc`.
    ///
    /// # Errors
    /// When it is not staged, or cannot be removed.
    pub fn remove(&self, name: &str, version: &str) -> Result<(), StageError> {
        check_name("name", name)?;
        check_name("version", version)?;
        let dir = self.package_dir(name, version);
        if !dir.is_dir() {
            return Err(StageError::NotStaged {
                name: name.to_owned(),
                version: version.to_owned(),
            });
        }
        files::remove_dir(&dir, &self.repository)?;
        // The directory of the name stays where it has other versions.
        let _ = fs::remove_dir(self.packages.join(name));
        Ok(())
    }

    /// One package.
    pub fn get(&self, name: &str, version: &str) -> Result<StagedPackage, StageError> {
        check_name("name", name)?;
        check_name("version", version)?;
        // A reader has no lock: a writer may come between the two documents. Then both are there a moment later.
        let package = (0..READS)
            .find_map(|_| self.read(name, version).ok())
            .map_or_else(|| self.read(name, version), Ok)?;
        if (&*package.manifest.name, &*package.manifest.version) != (name, version) {
            return Err(StageError::Mismatch {
                name: name.to_owned(),
                version: version.to_owned(),
                field: "the name of their directory",
            });
        }
        Ok(package)
    }

    fn read(&self, name: &str, version: &str) -> Result<StagedPackage, StageError> {
        let dir = self.package_dir(name, version);
        let absent = || StageError::NotStaged {
            name: name.to_owned(),
            version: version.to_owned(),
        };
        let package = match read_json(&dir.join(NEXT))? {
            Some(next) => next,
            None => match (
                read_json(&dir.join("manifest.json"))?,
                read_json(&dir.join("record.json"))?,
            ) {
                (Some(manifest), Some(record)) => StagedPackage { manifest, record },
                (None, None) => return Err(absent()),
                _ => {
                    return Err(StageError::Mismatch {
                        name: name.to_owned(),
                        version: version.to_owned(),
                        field: "whether they are there",
                    });
                }
            },
        };
        package.check()?;
        Ok(package)
    }

    /// All packages, sorted by name and version.
    pub fn list(&self) -> Result<Vec<StagedPackage>, StageError> {
        self.each()?.into_iter().map(|(_, package)| package).collect()
    }

    /// Every package, readable or not, sorted.
    pub fn each(&self) -> Result<Vec<Titled>, StageError> {
        let mut packages = Vec::new();
        for (name, version) in self.versions()? {
            match self.get(&name, &version) {
                // A directory in which a writer is about to put the first documents.
                Err(StageError::NotStaged { .. }) => {}
                package => packages.push((format!("{name} {version}"), package)),
            }
        }
        Ok(packages)
    }

    /// The names and versions of the directories of packages, sorted. What is in them is not looked at.
    fn versions(&self) -> Result<Vec<(String, String)>, FileError> {
        let mut all = Vec::new();
        for name in self.names()? {
            let versions = self.versions_of(&name)?;
            all.extend(versions.into_iter().map(|version| (name.clone(), version)));
        }
        Ok(all)
    }

    /// The names of the directories of packages, sorted.
    pub fn names(&self) -> Result<Vec<String>, FileError> {
        subdirectories(&self.packages)
    }

    /// The versions of a name, sorted. What is in their directories is not looked at.
    pub fn versions_of(&self, name: &str) -> Result<Vec<String>, FileError> {
        subdirectories(&self.packages.join(name))
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

/// Both documents while they are being replaced.
const NEXT: &str = "next.json";
/// How often a reader looks again.
const READS: usize = 3;

/// Finishes what a killed writer had decided in the repository at `dir`.
pub fn finish_writes(dir: &Path) -> Result<(), FileError> {
    let packages = dir.join("staging");
    for name in subdirectories(&packages)? {
        for version in subdirectories(&packages.join(&name))? {
            let dir = packages.join(&name).join(version);
            match finish_write(&dir) {
                Ok(()) => {}
                Err(StageError::File(error)) => return Err(error),
                // A reader of the package gets this error.
                Err(_) => {}
            }
        }
    }
    Ok(())
}

fn finish_write(dir: &Path) -> Result<(), StageError> {
    let next = dir.join(NEXT);
    if let Some(package) = read_json::<StagedPackage>(&next)? {
        files::write_atomic(&dir.join("manifest.json"), &pretty(&package.manifest))?;
        files::write_atomic(&dir.join("record.json"), &pretty(&package.record))?;
        files::remove(&next)?;
    }
    Ok(())
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
    use dkms_index::document::manifest::Manifest;

    use super::*;
    use crate::repository::Config;

    fn staged(name: &str, version: &str, bundle: BundleRef) -> StagedPackage {
        let manifest: Manifest = serde_json::from_value(serde_json::json!({
            "schema": 1, "name": name, "version": version, "scope": "curated", "bundle": bundle,
            "modules": [{"name": name}]
        }))
        .unwrap();
        let record = serde_json::from_value(serde_json::json!({
            "name": name, "version": version, "manifest": manifest.target_path(), "bundle": bundle,
            "modules": [name], "patterns": []
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
}
