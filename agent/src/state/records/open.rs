//! Opening the database, and bringing its tables to the newest form.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::Records;
use crate::state::{Paths, StateError};

/// Marks the file as ours (`PRAGMA application_id`): "DKMS".
pub(super) const APPLICATION_ID: i64 = 0x444b_4d53;

/// Each step leads from the schema of its number to the next one.
pub(super) const STEPS: [&str; 7] = [
    "
    CREATE TABLE hold (package TEXT PRIMARY KEY, reason TEXT NOT NULL, at TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE quarantine (
        bundle_sha256 TEXT NOT NULL, kernel TEXT NOT NULL,
        package TEXT NOT NULL, version TEXT NOT NULL, reason TEXT NOT NULL, at TEXT NOT NULL,
        PRIMARY KEY (bundle_sha256, kernel)
    ) WITHOUT ROWID;
    CREATE TABLE installed (
        package TEXT NOT NULL, kernel TEXT NOT NULL,
        version TEXT NOT NULL, dkms_version TEXT NOT NULL, repository TEXT NOT NULL, bundle_sha256 TEXT NOT NULL,
        at TEXT NOT NULL,
        PRIMARY KEY (package, kernel)
    ) WITHOUT ROWID;
    CREATE TABLE history (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL, run TEXT NOT NULL, action TEXT NOT NULL,
        package TEXT NOT NULL, version TEXT NOT NULL, kernel TEXT NOT NULL, outcome TEXT NOT NULL, detail TEXT NOT NULL
    );
",
    // Whether devices were seen bound to it.
    "ALTER TABLE installed ADD COLUMN at_work INTEGER NOT NULL DEFAULT 0;",
    // The directories of the source tree that hold a source of ours.
    "
    CREATE TABLE source (directory TEXT PRIMARY KEY, bundle_sha256 TEXT NOT NULL, at TEXT NOT NULL) WITHOUT ROWID;
    INSERT OR IGNORE INTO source SELECT package || '-' || dkms_version, bundle_sha256, at FROM installed;
",
    // The scripts that its manifest lists, separated by spaces: at its removal the manifest is not at hand.
    "ALTER TABLE installed ADD COLUMN root_scripts TEXT NOT NULL DEFAULT '';",
    // A package is identified by its name and the directory of the role that signs it; `package` is its name in the tree.
    "
    ALTER TABLE installed ADD COLUMN name TEXT NOT NULL DEFAULT '';
    ALTER TABLE installed ADD COLUMN scope TEXT NOT NULL DEFAULT '';
    UPDATE installed SET name = package;
    ALTER TABLE history ADD COLUMN scope TEXT NOT NULL DEFAULT '';
",
    // What is being loaded for the first time.
    "
    CREATE TABLE first_load (
        package TEXT NOT NULL, kernel TEXT NOT NULL,
        dkms_version TEXT NOT NULL, bundle_sha256 TEXT NOT NULL, arch TEXT NOT NULL, modules TEXT NOT NULL,
        boot TEXT NOT NULL, at TEXT NOT NULL,
        name TEXT NOT NULL, version TEXT NOT NULL, repository TEXT NOT NULL, scope TEXT NOT NULL,
        PRIMARY KEY (package, kernel)
    ) WITHOUT ROWID;
",
    // What was installed before an entry of the history, where it changed that: NULL for nothing. The rollback that is under way.
    "
    CREATE TABLE change (
        entry INTEGER NOT NULL, package TEXT NOT NULL, kernel TEXT NOT NULL,
        version TEXT, dkms_version TEXT, repository TEXT, bundle_sha256 TEXT, at TEXT, root_scripts TEXT, name TEXT, scope TEXT,
        PRIMARY KEY (entry, package, kernel)
    ) WITHOUT ROWID;
    CREATE TABLE change_begin (first INTEGER NOT NULL);
    INSERT INTO change_begin SELECT coalesce(max(id), 0) FROM history;
    CREATE TABLE rollback (id INTEGER PRIMARY KEY, entry INTEGER NOT NULL, at TEXT NOT NULL);
",
];

/// How long to wait for another run's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

impl Records {
    /// Opens the records to write, and makes them if there are none.
    ///
    /// # Errors
    /// When the file cannot be written, is damaged, or of a newer version.
    pub fn open(paths: &Paths) -> Result<Self, StateError> {
        let path = paths.records();
        let dir = path.parent().unwrap_or(&path);
        fs::create_dir_all(dir).map_err(|source| StateError::Io {
            path: dir.to_owned(),
            source,
        })?;
        StateError::require_regular(&path)?;
        let db = Connection::open(&path).map_err(|e| StateError::sqlite(&path, e))?;
        let mut records = Self { path, db };
        records.prepare()?;
        Ok(records)
    }

    /// Opens the records to read only: nothing on disk changes. Where there are none, they are empty.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or of a newer version.
    pub fn open_to_read(paths: &Paths) -> Result<Self, StateError> {
        let path = paths.records();
        StateError::require_regular(&path)?;
        if !path.exists() {
            return Self::empty(path);
        }
        let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let read_write = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = |flags: OpenFlags| -> rusqlite::Result<Connection> {
            let db = Connection::open_with_flags(&path, flags)?;
            db.busy_timeout(BUSY_TIMEOUT)?;
            db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
            Ok(db)
        };
        let db = open(read_only)
            .or_else(|e| match e.sqlite_error_code() {
                // A run was killed in the middle of a transaction, which must be rolled back first.
                Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen) => {
                    drop(open(read_write)?);
                    open(read_only)
                }
                _ => Err(e),
            })
            .map_err(|e| StateError::sqlite(&path, e))?;
        let records = Self { path, db };
        match records.schema()? {
            0 => Self::empty(records.path),
            _ => Ok(records),
        }
    }

    /// Records in memory: for a run that must not write.
    fn empty(path: PathBuf) -> Result<Self, StateError> {
        let db = Connection::open_in_memory().map_err(|e| StateError::sqlite(&path, e))?;
        let mut records = Self { path, db };
        records.migrate(0)?;
        Ok(records)
    }

    fn prepare(&mut self) -> Result<(), StateError> {
        let failed = |e| self.failed(e);
        self.db.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        // A hold must survive a power cut, so writes are synchronous. No WAL: with one, also a run that only reads leaves files behind.
        self.db
            .execute_batch("PRAGMA journal_mode = DELETE; PRAGMA synchronous = EXTRA;")
            .map_err(failed)?;
        let schema = self.schema()?;
        self.migrate(schema)
    }

    /// The number of the schema; 0 for a new file.
    pub(super) fn schema(&self) -> Result<usize, StateError> {
        let number = |pragma: &str| {
            self.db
                .pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
                .map_err(|e| self.failed(e))
        };
        let found = number("user_version")?;
        if found != 0 && number("application_id")? != APPLICATION_ID {
            return Err(StateError::Damaged {
                path: self.path.clone(),
            });
        }
        usize::try_from(found)
            .ok()
            .filter(|&n| n <= STEPS.len())
            .ok_or(StateError::Newer {
                path: self.path.clone(),
                found,
                known: STEPS.len() as i64,
            })
    }

    fn migrate(&mut self, from: usize) -> Result<(), StateError> {
        if from == STEPS.len() {
            return Ok(());
        }
        let migrate = |db: &mut Connection| -> rusqlite::Result<()> {
            let transaction = db.transaction()?;
            for step in &STEPS[from..] {
                transaction.execute_batch(step)?;
            }
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", STEPS.len() as i64)?;
            transaction.commit()
        };
        migrate(&mut self.db).map_err(|e| self.failed(e))
    }
}
