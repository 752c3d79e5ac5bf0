//! What was done, and how it ended.

use jiff::Timestamp;
use rusqlite::params;
use serde::{Deserialize, Serialize};

use super::{Records, timestamp};
use crate::state::StateError;

/// History is cut to this many newest entries.
const HISTORY_MAX: u32 = 10_000;

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was done.
    pub at: Timestamp,
    /// Which run did it: entries of one run have the same.
    pub run: String,
    /// What was done: `install`, `remove`, `rollback`, `sync`, `hold`, …
    pub action: String,
    /// To which package; empty for none.
    pub package: String,
    /// The directory of the role that signs it; empty where it is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// To which version; empty for none.
    pub version: String,
    /// For which kernel; empty for none.
    pub kernel: String,
    /// How it ended: `done`, `failed`, …
    pub outcome: String,
    /// The reason, for people; may be empty.
    pub detail: String,
}

/// An entry with its number, which only grows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberedEntry {
    /// The number, from 1.
    pub entry: u32,
    /// What was done.
    #[serde(flatten)]
    pub what: Entry,
}

impl Records {
    /// Adds to the history and cuts its end. Returns the number of the entry.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn log(&self, e: &Entry) -> Result<u32, StateError> {
        let sql = "INSERT INTO history (at, run, action, package, version, kernel, outcome, detail, scope)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        let at = e.at.to_string();
        let values = params![
            at, e.run, e.action, e.package, e.version, e.kernel, e.outcome, e.detail, e.scope
        ];
        self.execute(sql, values)?;
        let number = u32::try_from(self.db.last_insert_rowid()).unwrap_or_default();
        if let Some(oldest) = number.checked_sub(HISTORY_MAX) {
            self.execute("DELETE FROM history WHERE id <= ?1", [oldest])?;
            self.execute("DELETE FROM change WHERE entry <= ?1", [oldest])?;
        }
        Ok(number)
    }

    /// The newest entries of the history, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn history(&self, at_most: usize) -> Result<Vec<Entry>, StateError> {
        let numbered = self.numbered_history(at_most)?;
        Ok(numbered.into_iter().map(|one| one.what).collect())
    }

    /// The same, with their numbers.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn numbered_history(&self, at_most: usize) -> Result<Vec<NumberedEntry>, StateError> {
        // A run that only reads does not migrate an older database.
        let scope = if self.schema()? < 5 { "''" } else { "scope" };
        let sql = format!(
            "SELECT at, run, action, package, version, kernel, outcome, detail, {scope}, id
             FROM history ORDER BY id DESC LIMIT ?1"
        );
        self.rows(&sql, [i64::try_from(at_most).unwrap_or(i64::MAX)], |row| {
            let what = Entry {
                at: timestamp(row, 0)?,
                run: row.get(1)?,
                action: row.get(2)?,
                package: row.get(3)?,
                version: row.get(4)?,
                kernel: row.get(5)?,
                outcome: row.get(6)?,
                detail: row.get(7)?,
                scope: row.get(8)?,
            };
            Ok(NumberedEntry {
                entry: row.get(9)?,
                what,
            })
        })
    }
}
