//! What this program installed.

use jiff::Timestamp;
use rusqlite::params;
use serde::{Deserialize, Serialize};

use super::{Records, timestamp};
use crate::candidate::PackageKey;
use crate::state::StateError;

/// A package that this program installed for a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallRecord {
    /// Its name in the DKMS tree.
    pub package: String,
    /// Its name in the index.
    pub name: String,
    /// The directory of the role that signed it; empty where an earlier version of this program installed it.
    pub scope: String,
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
    /// When it was installed.
    pub at: Timestamp,
}

impl InstallRecord {
    /// The package, without its version.
    pub fn key(&self) -> PackageKey {
        PackageKey {
            scope: self.scope.clone(),
            name: self.name.clone(),
        }
    }
}

impl Records {
    /// Records that a package is installed for a kernel, in place of an earlier version.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn note_installed(&self, i: &InstallRecord) -> Result<(), StateError> {
        let sql = "INSERT OR REPLACE INTO installed
                       (package, kernel, version, dkms_version, repository, bundle_sha256, at, root_scripts, name, scope)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        let at = i.at.to_string();
        let values = params![
            i.package,
            i.kernel,
            i.version,
            i.dkms_version,
            i.repository,
            i.bundle_sha256,
            at,
            i.root_scripts.join(" "),
            i.name,
            i.scope
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
        // A run that only reads does not migrate an older database.
        let schema = self.schema()?;
        let root_scripts = if schema < 4 { "''" } else { "root_scripts" };
        let identity = if schema < 5 { "package, ''" } else { "name, scope" };
        let sql = format!(
            "SELECT package, kernel, version, dkms_version, repository, bundle_sha256, at, {root_scripts}, {identity}
             FROM installed WHERE {condition} ORDER BY package, kernel"
        );
        self.rows(&sql, params, |row| {
            Ok(InstallRecord {
                package: row.get(0)?,
                name: row.get(8)?,
                scope: row.get(9)?,
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
