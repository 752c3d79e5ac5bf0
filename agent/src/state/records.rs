//! What was decided and done on this machine: `state.db`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, Row, params};
use serde::{Deserialize, Serialize};

use super::{Paths, StateError};

/// Marks the file as ours (`PRAGMA application_id`): "DKMS".
const APPLICATION_ID: i64 = 0x444b_4d53;

/// Each step leads from the schema of its number to the next one.
const STEPS: [&str; 1] = ["
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
"];

/// History is cut to this many newest entries.
const HISTORY_MAX: u64 = 10_000;
/// How long to wait for another run's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The open database.
pub struct Records {
    path: PathBuf,
    db: Connection,
}

/// A package that stays as it is until somebody unholds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The package.
    pub package: String,
    /// Why, for people; may be empty.
    pub reason: String,
    /// Since when.
    pub at: Timestamp,
}

/// A bundle that failed on this machine with a kernel: it is not tried again there. A mended package of the same version
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
    /// When.
    pub at: Timestamp,
}

/// A package that this program installed for a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// The package.
    pub package: String,
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
    /// When.
    pub at: Timestamp,
}

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// Which run did it: entries of one run have the same.
    pub run: String,
    /// What was done: `install`, `remove`, `rollback`, `sync`, `hold`, …
    pub action: String,
    /// To which package; empty for none.
    pub package: String,
    /// To which version; empty for none.
    pub version: String,
    /// For which kernel; empty for none.
    pub kernel: String,
    /// How it ended: `done`, `failed`, …
    pub outcome: String,
    /// The reason, for people; may be empty.
    pub detail: String,
}

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
        if !path.exists() {
            return Self::empty(path);
        }
        let open = |target: &Path, flags| Connection::open_with_flags(target, flags | OpenFlags::SQLITE_OPEN_READ_ONLY);
        let usable = |db: Connection| {
            db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
                .map(|()| db)
        };
        let db = open(&path, OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .and_then(usable)
            .or_else(|e| {
                // On a read-only medium SQLite cannot make the files that reading beside a writer needs; there is no writer.
                let uri = url::Url::from_file_path(&path).map_err(|()| e)?;
                open(Path::new(&format!("{uri}?immutable=1")), OpenFlags::SQLITE_OPEN_URI).and_then(usable)
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
        let failed = |e| StateError::sqlite(&self.path, e);
        self.db.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        // A hold must outlive a power cut: WAL with a sync at every commit.
        self.db
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
            .map_err(failed)?;
        let schema = self.schema()?;
        self.migrate(schema)
    }

    /// The number of the schema; 0 for a new file.
    fn schema(&self) -> Result<usize, StateError> {
        let number = |pragma: &str| {
            self.db
                .pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
                .map_err(|e| StateError::sqlite(&self.path, e))
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
        migrate(&mut self.db).map_err(|e| StateError::sqlite(&self.path, e))
    }

    /// Holds a package.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn hold(&self, hold: &Hold) -> Result<(), StateError> {
        let values = params![hold.package, hold.reason, hold.at.to_string()];
        self.execute("INSERT OR REPLACE INTO hold VALUES (?1, ?2, ?3)", values)
            .map(|_| ())
    }

    /// Lets a package go; says whether it was held.
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
        self.collect("SELECT package, reason, at FROM hold ORDER BY package", [], |row| {
            Ok(Hold {
                package: row.get(0)?,
                reason: row.get(1)?,
                at: timestamp(row, 2)?,
            })
        })
    }

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

    /// Ends the quarantine of a package, of all its versions; says how many there were.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn release(&self, package: &str) -> Result<usize, StateError> {
        self.execute("DELETE FROM quarantine WHERE package = ?1", [package])
    }

    /// All that is in quarantine.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn quarantined(&self) -> Result<Vec<Quarantined>, StateError> {
        let sql = "SELECT package, version, kernel, reason, at, bundle_sha256 FROM quarantine
                   ORDER BY package, version, kernel";
        self.collect(sql, [], |row| {
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

    /// Notes that a package is installed for a kernel, instead of what was there before.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn note_installed(&self, i: &Installed) -> Result<(), StateError> {
        let sql = "INSERT OR REPLACE INTO installed
                       (package, kernel, version, dkms_version, repository, bundle_sha256, at)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let at = i.at.to_string();
        let values = params![
            i.package,
            i.kernel,
            i.version,
            i.dkms_version,
            i.repository,
            i.bundle_sha256,
            at
        ];
        self.execute(sql, values).map(|_| ())
    }

    /// Notes that a package is gone from a kernel; says whether it was there.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn note_removed(&self, package: &str, kernel: &str) -> Result<bool, StateError> {
        let sql = "DELETE FROM installed WHERE package = ?1 AND kernel = ?2";
        Ok(self.execute(sql, [package, kernel])? > 0)
    }

    /// All that this program installed.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn installed(&self) -> Result<Vec<Installed>, StateError> {
        let sql = "SELECT package, kernel, version, dkms_version, repository, bundle_sha256, at
                   FROM installed ORDER BY package, kernel";
        self.collect(sql, [], |row| {
            Ok(Installed {
                package: row.get(0)?,
                kernel: row.get(1)?,
                version: row.get(2)?,
                dkms_version: row.get(3)?,
                repository: row.get(4)?,
                bundle_sha256: row.get(5)?,
                at: timestamp(row, 6)?,
            })
        })
    }

    /// Adds to the history and cuts its end.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn log(&self, e: &Entry) -> Result<(), StateError> {
        let sql = "INSERT INTO history (at, run, action, package, version, kernel, outcome, detail)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let at = e.at.to_string();
        let values = params![at, e.run, e.action, e.package, e.version, e.kernel, e.outcome, e.detail];
        self.execute(sql, values)?;
        let cut = "DELETE FROM history WHERE id <= (SELECT max(id) FROM history) - ?1";
        self.execute(cut, [HISTORY_MAX as i64]).map(|_| ())
    }

    /// The newest entries of the history, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn history(&self, at_most: usize) -> Result<Vec<Entry>, StateError> {
        let sql = "SELECT at, run, action, package, version, kernel, outcome, detail
                   FROM history ORDER BY id DESC LIMIT ?1";
        self.collect(sql, [i64::try_from(at_most).unwrap_or(i64::MAX)], |row| {
            Ok(Entry {
                at: timestamp(row, 0)?,
                run: row.get(1)?,
                action: row.get(2)?,
                package: row.get(3)?,
                version: row.get(4)?,
                kernel: row.get(5)?,
                outcome: row.get(6)?,
                detail: row.get(7)?,
            })
        })
    }

    fn execute(&self, sql: &str, params: impl rusqlite::Params) -> Result<usize, StateError> {
        self.db
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params))
            .map_err(|e| StateError::sqlite(&self.path, e))
    }

    fn collect<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StateError> {
        self.db
            .prepare_cached(sql)
            .and_then(|mut select| select.query_map(params, read)?.collect())
            .map_err(|e| StateError::sqlite(&self.path, e))
    }
}

/// Times are kept as RFC 3339 text, readable with the `sqlite3` program too.
fn timestamp(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    row.get::<_, String>(column)?.parse().map_err(|e: jiff::Error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, e.into())
    })
}

#[cfg(test)]
mod tests {
    use dkms_engine::root::Root;

    use super::*;

    fn at(day: u8) -> Timestamp {
        format!("2026-05-{day:02}T12:00:00Z").parse().unwrap()
    }

    fn machine() -> (tempfile::TempDir, Paths) {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::of(&Root::at(dir.path()));
        (dir, paths)
    }

    fn hold(package: &str, day: u8) -> Hold {
        Hold {
            package: package.into(),
            reason: "black screen".into(),
            at: at(day),
        }
    }

    #[test]
    fn decisions_outlive_the_run() {
        let (_dir, paths) = machine();
        let quarantined = Quarantined {
            bundle_sha256: "11".into(),
            package: "r8168".into(),
            version: "8.051".into(),
            kernel: "6.12.1".into(),
            reason: "did not bind".into(),
            at: at(2),
        };
        let installed = Installed {
            package: "ddcci".into(),
            kernel: "6.1.0".into(),
            version: "0.4.5-1".into(),
            dkms_version: "0.4.5".into(),
            repository: "acme".into(),
            bundle_sha256: "00".into(),
            at: at(3),
        };
        {
            let records = Records::open(&paths).unwrap();
            records.hold(&hold("ddcci", 1)).unwrap();
            records.hold(&hold("xtrx", 1)).unwrap();
            assert!(records.unhold("xtrx").unwrap());
            assert!(!records.unhold("xtrx").unwrap());
            records.quarantine(&quarantined).unwrap();
            records.note_installed(&installed).unwrap();
        }
        let records = Records::open_to_read(&paths).unwrap();
        assert_eq!(records.holds().unwrap(), [hold("ddcci", 1)]);
        assert_eq!(records.quarantined().unwrap(), [quarantined]);
        assert_eq!(records.installed().unwrap(), [installed]);
        assert!(records.hold(&hold("x", 1)).is_err(), "reading must not write");
        let records = Records::open(&paths).unwrap();
        assert_eq!(records.release("r8168").unwrap(), 1);
        assert!(records.note_removed("ddcci", "6.1.0").unwrap());
        assert_eq!(records.installed().unwrap(), []);
    }

    #[test]
    fn reading_makes_nothing() {
        let (dir, paths) = machine();
        let records = Records::open_to_read(&paths).unwrap();
        assert_eq!(records.holds().unwrap(), []);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn history_is_newest_first() {
        let (_dir, paths) = machine();
        let records = Records::open(&paths).unwrap();
        let entry = |day| Entry {
            at: at(day),
            run: "r1".into(),
            action: "install".into(),
            package: "ddcci".into(),
            version: "0.4.5".into(),
            kernel: "6.1".into(),
            outcome: "done".into(),
            detail: String::new(),
        };
        for day in 1..=5 {
            records.log(&entry(day)).unwrap();
        }
        assert_eq!(records.history(2).unwrap(), [entry(5), entry(4)]);
        assert_eq!(records.history(usize::MAX).unwrap().len(), 5);
    }

    #[test]
    fn a_database_that_is_not_ours_is_refused_with_a_way_out() {
        let check = |content: &[u8]| {
            let (_dir, paths) = machine();
            fs::create_dir_all(paths.records().parent().unwrap()).unwrap();
            fs::write(paths.records(), content).unwrap();
            let error = Records::open(&paths).err().expect("refused");
            assert!(error.is_damaged(), "{error}");
            assert!(error.hint().unwrap().starts_with("set it aside: `mv "), "{error}");
            assert!(Records::open_to_read(&paths).is_err());
        };
        check(&[7; 4096]);
        check(
            b"SQLite format 3\0 and then nonsense, and then more of it, until the header of a database is full ......",
        );
    }

    #[test]
    fn a_newer_database_is_left_alone() {
        let (_dir, paths) = machine();
        drop(Records::open(&paths).unwrap());
        Connection::open(paths.records())
            .unwrap()
            .pragma_update(None, "user_version", 99)
            .unwrap();
        let error = Records::open(&paths).err().expect("refused");
        assert!(matches!(error, StateError::Newer { found: 99, .. }), "{error}");
    }
}
