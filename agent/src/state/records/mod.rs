//! What was decided and done on this machine: `state.db`. One file a table.

mod change;
mod first_load;
mod history;
mod hold;
mod installed;
mod open;
mod quarantine;
mod source;

use std::path::PathBuf;

use jiff::Timestamp;
use rusqlite::{Connection, Row};

pub use change::{Reach, Reversal};
pub use first_load::FirstLoad;
pub use history::{Entry, NumberedEntry};
pub use hold::Hold;
pub use installed::InstallRecord;
pub use quarantine::Quarantined;

use super::StateError;

/// The open database.
pub struct Records {
    path: PathBuf,
    db: Connection,
}

impl Records {
    fn execute(&self, sql: &str, params: impl rusqlite::Params) -> Result<usize, StateError> {
        self.db
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params))
            .map_err(|e| self.failed(e))
    }

    fn rows<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StateError> {
        super::rows(&self.db, sql, params, read).map_err(|e| self.failed(e))
    }

    fn failed(&self, error: rusqlite::Error) -> StateError {
        StateError::sqlite(&self.path, error)
    }
}

/// Times are kept as RFC 3339 text, readable with the `sqlite3` program too.
fn timestamp(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    row.get::<_, String>(column)?.parse().map_err(|e: jiff::Error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, e.into())
    })
}

#[cfg(test)]
mod tests;
