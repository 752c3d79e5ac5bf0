//! The index of each repository as a database of its own, `index/<repository>.db`.
//!
//! A database is written aside, synced and renamed into place, and never changed after that. So readers never wait and
//! never see half an update, and a power cut leaves the old one or the new one. [`Builder`] writes it from all lines of the
//! index; [`Updater`] copies the last one and changes in it what the index changed, for a newer index is mostly the same.
//! Patterns lie in the order of the keys of [`dkms_index::keys`], under which they are filed: a look-up asks for a handful of
//! integers, and the rows of each lie side by side.

mod build;
mod read;
mod sort;
mod update;
mod write;

pub use build::Builder;
pub(crate) use read::id;
pub use read::{Index, Match, PackageRow, Summary};
pub use update::Updater;

/// Marks the file as ours (`PRAGMA application_id`): "DKMI".
const APPLICATION_ID: i64 = 0x444b_4d49;
/// Raised with every change of the tables; another version's cache is rebuilt.
const SCHEMA_VERSION: i64 = 3;

/// How far apart the ids of neighbours are at first: between them is room for packages that come later, so that the order
/// of ids stays that of the index.
const ID_STEP: i64 = 1 << 14;

const SCHEMA: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE package (
        -- In the order of the index.
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        version TEXT NOT NULL,
        -- The record as JSON, without its patterns: those are below.
        record TEXT NOT NULL,
        -- Names the line of the index that it was read from.
        line BLOB NOT NULL,
        -- Names its list of patterns.
        patterns BLOB NOT NULL,
        -- The keys of its patterns, eight bytes each, to find them again.
        keys BLOB NOT NULL
    );
    CREATE TABLE override (subject TEXT NOT NULL, pattern TEXT NOT NULL, reason TEXT NOT NULL);
    CREATE TABLE pattern (
        key INTEGER NOT NULL,
        package INTEGER NOT NULL,
        -- The place in the record's list.
        number INTEGER NOT NULL,
        pattern TEXT NOT NULL,
        PRIMARY KEY (key, package, number)
    ) WITHOUT ROWID;
";

/// When all rows are in.
const FINISH: &str = "CREATE INDEX package_by_name ON package (name);";

#[cfg(test)]
mod tests;
