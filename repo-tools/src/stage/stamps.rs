//! What the file system says of staged packages, so that a publication reads only those that changed.

use serde::{Deserialize, Serialize};

use super::{NEXT, Stage};
use crate::files::{Directory, FileError, FileTime, Stamp};

/// The stamps of a package's documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageStamp([Stamp; 2]);

impl PackageStamp {
    /// As [`Stamp::is_settled`], of both.
    pub fn is_settled(&self, now: FileTime) -> bool {
        self.0.iter().all(|stamp| stamp.is_settled(now))
    }
}

/// The staging area, to ask for the stamps of many packages.
#[derive(Debug)]
pub struct Stamps {
    packages: Directory,
}

impl Stage {
    /// To ask for the stamps of many packages.
    ///
    /// # Errors
    /// When the staging area is there and cannot be opened.
    pub fn stamps(&self) -> Result<Stamps, FileError> {
        Ok(Stamps {
            packages: Directory::open(&self.packages)?,
        })
    }
}

impl Stamps {
    /// That of the directory of a name: it changes when a version comes or goes.
    ///
    /// # Errors
    /// As [`Directory::stamp`].
    pub fn of_name(&self, name: &str) -> Result<Option<Stamp>, FileError> {
        self.packages.stamp_of_dir(name)
    }

    /// Those of a package's documents; none where they are not there, or are being replaced.
    ///
    /// # Errors
    /// As [`Directory::stamp`].
    pub fn of(&self, name: &str, version: &str) -> Result<Option<PackageStamp>, FileError> {
        let file = |file: &str| format!("{name}/{version}/{file}");
        let documents = (
            self.packages.stamp(&file("manifest.json"))?,
            self.packages.stamp(&file("record.json"))?,
        );
        // Looked for last: a writer removes it after it has replaced the two.
        let is_settled = self.packages.length(&file(NEXT)).is_none();
        let (Some(manifest), Some(record)) = documents else {
            return Ok(None);
        };
        Ok(is_settled.then_some(PackageStamp([manifest, record])))
    }
}
