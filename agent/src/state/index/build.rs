//! Building the database of one repository.

use std::fs;
use std::path::{Path, PathBuf};

use dkms_index::document::record::Record;
use dkms_index::document::segment::lines;
use dkms_index::keys::{Key, KeyBuilder};
use dkms_index::trust::TrustedIndex;
use rusqlite::{Connection, params};
use tempfile::NamedTempFile;

use super::super::StateError;
use super::sort::Sorter;
use super::write::{Counts, INSERT_PATTERN, Name, PackageLine, insert_override, name_of, put_meta};
use super::{APPLICATION_ID, FINISH, ID_STEP, SCHEMA, SCHEMA_VERSION};
use crate::files;

/// A database that is being built. Dropping it removes its file.
pub struct Builder {
    draft: Draft,
    keys: KeyBuilder,
    patterns: Sorter,
    counts: Counts,
}

/// A database file that has no name of its own yet.
pub(super) struct Draft {
    /// Where it belongs.
    pub(super) path: PathBuf,
    file: NamedTempFile,
    pub(super) db: Connection,
}

/// Decoded bytes of the index a pattern, about; only the speed of look-ups depends on it.
const BYTES_PER_PATTERN: u64 = 50;

impl Builder {
    /// Begins a database that will replace the one at `path`, for an index of about `decoded_bytes`.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn new(path: &Path, decoded_bytes: u64) -> Result<Self, StateError> {
        let draft = Draft::open(path, |_| Ok(()))?;
        let pragmas =
            format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; BEGIN;");
        draft
            .db
            .execute_batch(&(pragmas + SCHEMA))
            .map_err(|e| StateError::sqlite(path, e))?;
        Ok(Self {
            patterns: Sorter::new(path.parent().unwrap_or(path)),
            draft,
            keys: KeyBuilder::new(usize::try_from(decoded_bytes / BYTES_PER_PATTERN).unwrap_or(usize::MAX)),
            counts: Counts::default(),
        })
    }

    /// Takes in the lines of a verified segment. A line that is no record this program knows is passed over: a newer
    /// repository may have kinds of its own, and one faulty record must not prevent the use of the others.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn add_lines(&mut self, decoded: &[u8]) -> Result<(), StateError> {
        for (_, line) in lines(decoded) {
            match Record::parse(line) {
                Ok(record) => self.add(name_of(line), record)?,
                Err(error) => {
                    tracing::warn!(%error, index = %self.draft.path.display(), "passed over a line of the index");
                    self.counts.passed_over += 1;
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, line: Name, record: Record) -> Result<(), StateError> {
        let draft = &self.draft;
        match record {
            Record::Override(o) => insert_override(&draft.db, &o).map_err(|e| draft.failed(e)),
            Record::Package(package) => {
                let package = PackageLine::new(line, package, &draft.path)?;
                self.counts.packages += 1;
                self.counts.patterns += package.patterns();
                let id = i64::try_from(self.counts.packages)
                    .unwrap_or(i64::MAX)
                    .saturating_mul(ID_STEP);
                let keys: Vec<Key> = package.listed().map(|(_, _, pattern)| self.keys.add(pattern)).collect();
                for ((number, text, _), key) in package.listed().zip(&keys) {
                    self.patterns.add(key.0, id, number, text)?;
                }
                package.insert(&draft.db, id, &keys).map_err(|e| draft.failed(e))
            }
        }
    }

    /// Puts the database in its place: from now on look-ups see it. `index` proves that all that was added was verified.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self, index: &TrustedIndex) -> Result<(), StateError> {
        let facts = Facts::of(index, &self.draft.path)?;
        self.commit(&facts)
    }

    pub(super) fn commit(self, facts: &Facts) -> Result<(), StateError> {
        let filter = self.keys.finish().to_bytes();
        let db = &self.draft.db;
        let mut insert = db.prepare(INSERT_PATTERN).map_err(|e| self.draft.failed(e))?;
        self.patterns.each(|row| {
            let inserted = insert.execute(params![row.key, row.package, row.number, row.pattern]);
            inserted.map(|_| ()).map_err(|e| self.draft.failed(e))
        })?;
        drop(insert);
        put_meta(db, &facts.texts(), &self.counts, &filter)
            .and_then(|()| db.execute_batch(FINISH))
            .map_err(|e| self.draft.failed(e))?;
        self.draft.commit()
    }
}

impl Draft {
    /// A temporary file beside `path` with what `fill` writes into it, as an open database.
    pub(super) fn open(path: &Path, fill: impl FnOnce(&fs::File) -> std::io::Result<()>) -> Result<Self, StateError> {
        let dir = path.parent().unwrap_or(path);
        // Everybody may read it: `dkms-fetch devices` needs no root.
        let file = fs::create_dir_all(dir)
            .and_then(|()| dkms_support::temporary_in(dir, files::TEMPORARY, 0o644))
            .and_then(|file| fill(file.as_file()).map(|()| file))
            .map_err(|source| StateError::Io {
                path: dir.to_owned(),
                source,
            })?;
        // No reader opens the file before it is complete, so it needs no journal.
        let pragmas = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;
                       PRAGMA cache_size = -8192;";
        let db = Connection::open(file.path())
            .and_then(|db| db.execute_batch(pragmas).map(|()| db))
            .map_err(|e| StateError::sqlite(path, e))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            db,
        })
    }

    /// Ends the transaction and gives the database its place.
    pub(super) fn commit(self) -> Result<(), StateError> {
        let Self { path, file, db } = self;
        db.execute_batch("COMMIT").map_err(|e| StateError::sqlite(&path, e))?;
        db.close().map_err(|(_, e)| StateError::sqlite(&path, e))?;
        dkms_support::persist(file, &path).map_err(|source| StateError::Io { path, source })
    }

    pub(super) fn failed(&self, error: rusqlite::Error) -> StateError {
        StateError::sqlite(&self.path, error)
    }
}

/// What is written down of an index as a whole.
pub(super) struct Facts {
    pub(super) id: String,
    pub(super) issued: String,
    pub(super) expires: String,
    /// The list, as JSON.
    pub(super) revocations: String,
}

impl Facts {
    pub(super) fn of(index: &TrustedIndex, path: &Path) -> Result<Self, StateError> {
        let revocations = serde_json::to_string(index.revocations()).map_err(|e| StateError::Value {
            path: path.to_owned(),
            what: "the list of revocations".to_owned(),
            why: e.to_string(),
        })?;
        Ok(Self {
            id: index.id().to_owned(),
            issued: index.issued().map(|t| t.to_string()).unwrap_or_default(),
            expires: index.expires().to_string(),
            revocations,
        })
    }

    pub(super) fn texts(&self) -> [(&'static str, &str); 4] {
        [
            ("id", &self.id),
            ("issued", &self.issued),
            ("expires", &self.expires),
            ("revocations", &self.revocations),
        ]
    }
}
