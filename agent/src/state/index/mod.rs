//! The index of each repository as a database of its own, `index/<repository>.db`.
//!
//! A database is built aside, synced and renamed into place, and never changed after that. So readers never wait and never
//! see half an update, a power cut leaves the old one or the new one, and nothing of the old one has to be deleted row by
//! row. Its patterns lie in the order of the keys of [`dkms_index::keys`], under which they are filed: a look-up asks for a
//! handful of integers, and the rows of each lie side by side.

mod build;
mod read;

pub use build::Builder;
pub(crate) use read::id;
pub use read::{Index, Match, PackageRow, Summary};

/// Marks the file as ours (`PRAGMA application_id`): "DKMI".
const APPLICATION_ID: i64 = 0x444b_4d49;
/// Raised with every change of the tables; another version's cache is rebuilt.
const SCHEMA_VERSION: i64 = 2;

const SCHEMA: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE package (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        version TEXT NOT NULL,
        -- The record as JSON, without its patterns: those are below.
        record TEXT NOT NULL
    );
    CREATE TABLE override (subject TEXT NOT NULL, pattern TEXT NOT NULL, reason TEXT NOT NULL);
    CREATE TABLE pattern (
        key INTEGER NOT NULL,
        -- Tells apart the patterns of one key.
        number INTEGER NOT NULL,
        package INTEGER NOT NULL,
        pattern TEXT NOT NULL,
        PRIMARY KEY (key, number)
    ) WITHOUT ROWID;
    -- The patterns as they come: sorting them once is quicker than inserting each in its place.
    CREATE TEMP TABLE arrived (key INTEGER NOT NULL, package INTEGER NOT NULL, pattern TEXT NOT NULL);
";

/// When all rows are in.
const FINISH: &str = "
    INSERT INTO pattern SELECT key, rowid, package, pattern FROM arrived ORDER BY key, rowid;
    CREATE INDEX package_by_name ON package (name);
";

#[cfg(test)]
mod tests;
