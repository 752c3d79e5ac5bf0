//! Versions that failed on this machine.

use jiff::Timestamp;
use rusqlite::params;
use serde::{Deserialize, Serialize};

use super::{Records, timestamp};
use crate::state::StateError;

/// A bundle that failed on this machine with a kernel: it is not tried again there. A corrected package of the same version
/// is another bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// SHA-256 of the bundle.
    pub bundle_sha256: String,
    /// The package.
    pub package: String,
    /// The version in the index.
    pub version: String,
    /// The kernel release.
    pub kernel: String,
    /// What happened.
    pub reason: String,
    /// When it failed.
    pub at: Timestamp,
}

impl Records {
    /// Puts a version in quarantine.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn quarantine(&self, q: &Quarantined) -> Result<(), StateError> {
        let sql = "INSERT OR REPLACE INTO quarantine (bundle_sha256, kernel, package, version, reason, at)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let at = q.at.to_string();
        self.execute(
            sql,
            params![q.bundle_sha256, q.kernel, q.package, q.version, q.reason, at],
        )
        .map(|_| ())
    }

    /// Ends the quarantine of a package, of all its versions; returns how many there were.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn release(&self, package: &str) -> Result<usize, StateError> {
        self.execute("DELETE FROM quarantine WHERE package = ?1", [package])
    }

    /// Ends the quarantine of one bundle with a kernel.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn release_bundle(&self, bundle_sha256: &str, kernel: &str) -> Result<(), StateError> {
        let sql = "DELETE FROM quarantine WHERE bundle_sha256 = ?1 AND kernel = ?2";
        self.execute(sql, [bundle_sha256, kernel]).map(|_| ())
    }

    /// All that is in quarantine.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn quarantined(&self) -> Result<Vec<Quarantined>, StateError> {
        let sql = "SELECT package, version, kernel, reason, at, bundle_sha256 FROM quarantine
                   ORDER BY package, version, kernel";
        self.rows(sql, [], |row| {
            Ok(Quarantined {
                package: row.get(0)?,
                version: row.get(1)?,
                kernel: row.get(2)?,
                reason: row.get(3)?,
                at: timestamp(row, 4)?,
                bundle_sha256: row.get(5)?,
            })
        })
    }
}
