//! Building the database of one repository.

use std::fs;
use std::path::{Path, PathBuf};

use dkms_index::document::record::{PackageRecord, Record};
use dkms_index::keys::KeyBuilder;
use dkms_index::pattern::Pattern;
use dkms_index::trust::TrustedIndex;
use rusqlite::{Connection, params};
use tempfile::NamedTempFile;

use super::super::StateError;
use super::{APPLICATION_ID, FINISH, SCHEMA, SCHEMA_VERSION};
use crate::files;

/// A database that is being built. Dropping it removes its file.
pub struct Builder {
    path: PathBuf,
    file: NamedTempFile,
    db: Connection,
    keys: KeyBuilder,
    packages: u64,
    patterns: u64,
    passed_over: u64,
}

/// Decoded bytes of the index a pattern, about; only the speed of look-ups depends on it.
const BYTES_PER_PATTERN: u64 = 50;

impl Builder {
    /// Begins a database that will replace the one at `path`, for an index of about `decoded_bytes`.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn new(path: &Path, decoded_bytes: u64) -> Result<Self, StateError> {
        let dir = path.parent().unwrap_or(path);
        let failed = |source| StateError::Io {
            path: dir.to_owned(),
            source,
        };
        fs::create_dir_all(dir).map_err(failed)?;
        // Everybody may read it: `dkms-fetch devices` needs no root.
        let file = dkms_support::temporary_in(dir, files::TEMPORARY, 0o644).map_err(failed)?;
        let open = || -> rusqlite::Result<Connection> {
            let db = Connection::open(file.path())?;
            // No reader opens the file before it is complete, so it needs no journal.
            db.execute_batch(&format!(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;
                 PRAGMA cache_size = -8192; PRAGMA application_id = {APPLICATION_ID};
                 PRAGMA user_version = {SCHEMA_VERSION}; BEGIN;"
            ))?;
            db.execute_batch(SCHEMA)?;
            Ok(db)
        };
        let db = open().map_err(|e| StateError::sqlite(path, e))?;
        Ok(Self {
            path: path.to_owned(),
            db,
            file,
            keys: KeyBuilder::new(usize::try_from(decoded_bytes / BYTES_PER_PATTERN).unwrap_or(usize::MAX)),
            packages: 0,
            patterns: 0,
            passed_over: 0,
        })
    }

    /// Takes in the lines of a verified segment. A line that is no record this program knows is passed over: a newer
    /// repository may have kinds of its own, and one faulty record must not prevent the use of the others.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn add_lines(&mut self, decoded: &[u8]) -> Result<(), StateError> {
        for line in decoded.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
            match Record::parse(line) {
                Ok(record) => self.add(record)?,
                Err(error) => {
                    tracing::warn!(%error, index = %self.path.display(), "passed over a line of the index");
                    self.passed_over += 1;
                }
            }
        }
        Ok(())
    }

    /// Takes in one record.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn add(&mut self, record: Record) -> Result<(), StateError> {
        match record {
            Record::Package(package) => self.add_package(package),
            Record::Override(o) => self
                .db
                .prepare_cached("INSERT INTO override VALUES (?1, ?2, ?3)")
                .and_then(|mut insert| insert.execute(params![o.subject, o.pattern, o.reason]))
                .map(|_| ())
                .map_err(|e| StateError::sqlite(&self.path, e)),
        }
    }

    fn add_package(&mut self, mut package: PackageRecord) -> Result<(), StateError> {
        let patterns = std::mem::take(&mut package.patterns);
        let record = serde_json::to_string(&package).map_err(|e| StateError::Value {
            path: self.path.clone(),
            what: format!("the record of {} {}", package.name, package.version),
            why: e.to_string(),
        })?;
        let mut insert = || -> rusqlite::Result<u64> {
            self.db
                .prepare_cached("INSERT INTO package (name, version, record) VALUES (?1, ?2, ?3)")?
                .execute(params![package.name, package.version, record])?;
            let id = self.db.last_insert_rowid();
            let mut insert = self.db.prepare_cached("INSERT INTO arrived VALUES (?1, ?2, ?3)")?;
            let mut count = 0;
            for text in &patterns {
                // `Record::parse` accepts only valid ones.
                if let Ok(pattern) = Pattern::parse(text) {
                    insert.execute(params![self.keys.add(&pattern).0, id, text])?;
                    count += 1;
                }
            }
            Ok(count)
        };
        self.patterns += insert().map_err(|e| StateError::sqlite(&self.path, e))?;
        self.packages += 1;
        Ok(())
    }

    /// Puts the database in its place: from now on look-ups see it. `index` proves that all that was added was verified.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self, index: &TrustedIndex) -> Result<(), StateError> {
        let revocations = serde_json::to_string(index.revocations()).map_err(|e| StateError::Value {
            path: self.path.clone(),
            what: "the list of revocations".to_owned(),
            why: e.to_string(),
        })?;
        self.commit(&[
            ("id", index.id()),
            ("issued", &index.issued().map(|t| t.to_string()).unwrap_or_default()),
            ("expires", &index.expires().to_string()),
            ("revocations", &revocations),
        ])
    }

    pub(super) fn commit(self, meta: &[(&str, &str)]) -> Result<(), StateError> {
        let Self {
            path,
            file,
            db,
            keys,
            packages,
            patterns,
            passed_over,
        } = self;
        let filter = keys.finish().to_bytes();
        let write = || -> rusqlite::Result<()> {
            let mut insert = db.prepare("INSERT INTO meta VALUES (?1, ?2)")?;
            for (key, value) in meta {
                insert.execute(params![key, value])?;
            }
            let counts = [
                ("packages", packages),
                ("patterns", patterns),
                ("passed-over", passed_over),
            ];
            for (key, count) in counts {
                insert.execute(params![key, count.to_string()])?;
            }
            insert.execute(params!["filter", filter])?;
            db.execute_batch(FINISH)?;
            db.execute_batch("COMMIT")
        };
        write().map_err(|e| StateError::sqlite(&path, e))?;
        db.close().map_err(|(_, e)| StateError::sqlite(&path, e))?;
        dkms_support::persist(file, &path).map_err(|source| StateError::Io { path, source })
    }
}
