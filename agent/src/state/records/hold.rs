//! Packages that stay as they are.

use jiff::Timestamp;
use rusqlite::params;
use serde::{Deserialize, Serialize};

use super::{Records, timestamp};
use crate::state::StateError;

/// A package that stays as it is until somebody unholds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The package.
    pub package: String,
    /// Why, for people; may be empty.
    pub reason: String,
    /// When it was held.
    pub at: Timestamp,
}

impl Records {
    /// Holds a package.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn hold(&self, hold: &Hold) -> Result<(), StateError> {
        let values = params![hold.package, hold.reason, hold.at.to_string()];
        self.execute("INSERT OR REPLACE INTO hold VALUES (?1, ?2, ?3)", values)
            .map(|_| ())
    }

    /// Ends the hold on a package; returns whether it was held.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn unhold(&self, package: &str) -> Result<bool, StateError> {
        Ok(self.execute("DELETE FROM hold WHERE package = ?1", [package])? > 0)
    }

    /// All holds, by package.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn holds(&self) -> Result<Vec<Hold>, StateError> {
        self.rows("SELECT package, reason, at FROM hold ORDER BY package", [], |row| {
            Ok(Hold {
                package: row.get(0)?,
                reason: row.get(1)?,
                at: timestamp(row, 2)?,
            })
        })
    }
}
