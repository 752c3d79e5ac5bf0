//! What the agent stores between runs, in SQLite and in plain files.
//!
//! - [`Paths`][]: where.
//! - [`index`]: the index of each repository, ready for look-ups. A cache: it is rebuilt from what was verified.
//! - [`records`]: history, holds, quarantine and what was installed. Not a cache: losing it loses decisions.

pub mod index;
mod paths;
pub mod records;

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ffi::ErrorCode;
use rusqlite::{Connection, Params, Row};

pub use paths::Paths;

use crate::files;

/// Why stored data cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A database is not one of ours, or is damaged.
    #[error("the database {} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Something else is where a database belongs.
    #[error("the database {} is not a regular file", path.display())]
    NotRegular {
        /// The path.
        path: PathBuf,
    },
    /// A database was written by a newer version of this program.
    #[error("the database {} has schema {found}, and this program reads up to {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The schema of this program.
        known: i64,
    },
    /// SQLite cannot do what was asked.
    #[error("the database {} cannot be used: {source}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// SQLite's answer.
        source: rusqlite::Error,
    },
    /// A stored value cannot be understood.
    #[error("the database {} is damaged: {what} cannot be read: {why}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The name of the value.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file or directory cannot be read or written.
    #[error("{} cannot be read or written: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
}

impl StateError {
    /// The error for what SQLite reports about the database at `path`.
    fn sqlite(path: impl Into<PathBuf>, source: rusqlite::Error) -> Self {
        use rusqlite::Error::{
            FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, QueryReturnedNoRows, Utf8Error,
        };
        let path = path.into();
        match (source.sqlite_error_code(), &source) {
            (Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase), _)
            // A value of another type than was written, or a row or table that is gone.
            | (
                _,
                FromSqlConversionFailure(..)
                | IntegralValueOutOfRange(..)
                | InvalidColumnType(..)
                | QueryReturnedNoRows
                | Utf8Error(..),
            ) => Self::Damaged { path },
            // SQLITE_ERROR says only that a statement failed. A table or column that this schema has and the file has not is damage.
            (Some(ErrorCode::Unknown), _) if is_missing_schema(&source.to_string()) => Self::Damaged { path },
            _ => Self::Sqlite { path, source },
        }
    }

    /// Refuses what is there and no regular file: opening a FIFO would wait for ever.
    fn require_regular(path: &Path) -> Result<(), Self> {
        match std::fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.is_file() => Err(Self::NotRegular { path: path.to_owned() }),
            _ => Ok(()),
        }
    }

    /// Whether the file is damaged and must be rebuilt.
    pub fn is_damaged(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Value { .. })
    }

    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Damaged { path } | Self::Value { path, .. } | Self::NotRegular { path } => {
                format!("set it aside: `mv {0} {0}.damaged`", path.display())
            }
            Self::Newer { .. } => "update dkms-fetch".to_owned(),
            Self::Sqlite { source, path } => match source.sqlite_error_code()? {
                ErrorCode::DiskFull => files::free_some(path),
                ErrorCode::ReadOnly => files::see_read_only(path),
                ErrorCode::PermissionDenied | ErrorCode::CannotOpen => "run it as root".to_owned(),
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                    "another run uses it: wait for it to end".to_owned()
                }
                _ => return None,
            },
            Self::Io { source, path } => return files::hint(path, source),
        })
    }
}

/// Whether SQLite says that a part of the schema is not in the file. It has no error code for that.
fn is_missing_schema(message: &str) -> bool {
    ["no such table", "no such column", "malformed database schema"]
        .iter()
        .any(|text| message.contains(text))
}

/// All that a query gives.
fn rows<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    db.prepare_cached(sql)?.query_map(params, read)?.collect()
}
