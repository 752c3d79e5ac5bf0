//! Which directories of the source tree hold a source that this program put there.

use jiff::Timestamp;
use rusqlite::params;

use super::Records;
use crate::state::StateError;

impl Records {
    /// Records that the source of a bundle is put into `directory` of the source tree. To be called before it is put there, so that a run
    /// that is killed leaves no source that is not recorded.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn note_source(&self, directory: &str, bundle_sha256: &str, at: Timestamp) -> Result<(), StateError> {
        let sql = "INSERT OR REPLACE INTO source (directory, bundle_sha256, at) VALUES (?1, ?2, ?3)";
        self.execute(sql, params![directory, bundle_sha256, at.to_string()])
            .map(|_| ())
    }

    /// Records that `directory` holds no source of ours any more.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn forget_source(&self, directory: &str) -> Result<(), StateError> {
        self.execute("DELETE FROM source WHERE directory = ?1", [directory])
            .map(|_| ())
    }

    /// The directories of the source tree that hold the source of a bundle.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn directories_of(&self, bundle_sha256: &str) -> Result<Vec<String>, StateError> {
        // A run that only reads does not migrate an older database.
        if self.schema()? < 3 {
            return Ok(Vec::new());
        }
        let sql = "SELECT directory FROM source WHERE bundle_sha256 = ?1 ORDER BY directory";
        self.rows(sql, [bundle_sha256], |row| row.get(0))
    }

    /// The SHA-256 of the bundle whose source this program put into `directory`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn source_of(&self, directory: &str) -> Result<Option<String>, StateError> {
        let sql = "SELECT bundle_sha256 FROM source WHERE directory = ?1";
        let found = self.rows(sql, [directory], |row| row.get(0))?;
        Ok(found.into_iter().next())
    }
}
