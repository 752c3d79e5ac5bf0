//! What this program installed.

use jiff::Timestamp;
use rusqlite::params;
use serde::{Deserialize, Serialize};

use super::{Records, timestamp};
use crate::state::StateError;

/// A package that this program installed for a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallRecord {
    /// The package.
    pub package: String,
    /// The kernel release.
    pub kernel: String,
    /// The version in the index.
    pub version: String,
    /// `PACKAGE_VERSION`, the version in the DKMS tree.
    pub dkms_version: String,
    /// The repository it came from.
    pub repository: String,
    /// SHA-256 of its bundle.
    pub bundle_sha256: String,
    /// The scripts that its signed manifest lists as run by root.
    #[serde(default, skip_serializing)]
    pub root_scripts: Vec<String>,
    /// When.
    pub at: Timestamp,
}

impl Records {
    /// Records that a package is installed for a kernel, in place of an earlier version.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn note_installed(&self, i: &InstallRecord) -> Result<(), StateError> {
        let sql = "INSERT OR REPLACE INTO installed
                       (package, kernel, version, dkms_version, repository, bundle_sha256, at, root_scripts)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let at = i.at.to_string();
        let values = params![
            i.package,
            i.kernel,
            i.version,
            i.dkms_version,
            i.repository,
            i.bundle_sha256,
            at,
            i.root_scripts.join(" ")
        ];
        self.execute(sql, values).map(|_| ())
    }

    /// Records that a package is removed from a kernel; returns whether it was recorded.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn note_removed(&self, package: &str, kernel: &str) -> Result<bool, StateError> {
        let sql = "DELETE FROM installed WHERE package = ?1 AND kernel = ?2";
        Ok(self.execute(sql, [package, kernel])? > 0)
    }

    /// Records that devices of an installed package were seen bound under a kernel.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn note_bound(&self, package: &str, kernel: &str) -> Result<(), StateError> {
        let sql = "UPDATE installed SET at_work = 1 WHERE package = ?1 AND kernel = ?2";
        self.execute(sql, [package, kernel]).map(|_| ())
    }

    /// What this program installed for a kernel and whose devices were never seen bound.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn never_bound(&self, kernel: &str) -> Result<Vec<InstallRecord>, StateError> {
        self.installed_where("at_work = 0 AND kernel = ?1", [kernel])
    }

    /// All that this program installed.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn installed(&self) -> Result<Vec<InstallRecord>, StateError> {
        self.installed_where("TRUE", [])
    }

    fn installed_where(
        &self,
        condition: &str,
        params: impl rusqlite::Params,
    ) -> Result<Vec<InstallRecord>, StateError> {
        // Who only reads leaves an older database as it is.
        let root_scripts = if self.schema()? < 3 { "''" } else { "root_scripts" };
        let sql = format!(
            "SELECT package, kernel, version, dkms_version, repository, bundle_sha256, at, {root_scripts}
             FROM installed WHERE {condition} ORDER BY package, kernel"
        );
        self.rows(&sql, params, |row| {
            Ok(InstallRecord {
                package: row.get(0)?,
                kernel: row.get(1)?,
                version: row.get(2)?,
                dkms_version: row.get(3)?,
                repository: row.get(4)?,
                bundle_sha256: row.get(5)?,
                root_scripts: row.get::<_, String>(7)?.split_whitespace().map(str::to_owned).collect(),
                at: timestamp(row, 6)?,
            })
        })
    }
}
