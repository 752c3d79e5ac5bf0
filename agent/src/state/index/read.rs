//! Look-ups.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dkms_index::document::record::{OverrideRecord, PackageRecord};
use dkms_index::document::revocation::Revocations;
use dkms_index::keys::KeyFilter;
use dkms_index::modalias::Modalias;
use dkms_index::pattern::Pattern;
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Params, Row};
use serde::Serialize;

use super::super::{Paths, StateError, rows};
use super::{APPLICATION_ID, SCHEMA_VERSION};
use crate::config::Name;

/// The indexes of all repositories, ready for look-ups.
pub struct Index {
    repositories: Vec<Opened>,
    unusable: Vec<StateError>,
}

struct Opened {
    name: Name,
    path: PathBuf,
    db: Connection,
    filter: KeyFilter,
}

/// A package version in an [`Index`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageRow {
    /// Number of the repository, in the order of [`Index::repositories`].
    repository: usize,
    row: i64,
}

/// A pattern of a package that matches a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The package that the pattern belongs to.
    pub package: PackageRow,
    /// The pattern.
    pub pattern: Pattern,
}

/// A summary of the index of one repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The repository.
    pub repository: Name,
    /// Identifies its content.
    pub id: String,
    /// When it was signed.
    pub issued: Option<Timestamp>,
    /// When it stops being fresh.
    pub expires: Option<Timestamp>,
    /// Package versions in it.
    pub packages: u64,
    /// Patterns in it.
    pub patterns: u64,
    /// Lines that this program could not read.
    pub passed_over: u64,
}

impl Index {
    /// Opens the indexes of these repositories, in this order. A repository without a usable one is left out: look in
    /// [`Index::repositories`].
    pub fn open<'a>(paths: &Paths, names: impl IntoIterator<Item = &'a Name>) -> Self {
        let mut unusable = Vec::new();
        let open = |name: &Name| match Opened::open(name, &paths.index(name)) {
            Ok(opened) => opened,
            Err(error) => {
                unusable.push(error);
                None
            }
        };
        Self {
            repositories: names.into_iter().filter_map(open).collect(),
            unusable,
        }
    }

    /// Why an index that is there is not used. A damaged one is rebuilt by the next sync.
    pub fn unusable(&self) -> &[StateError] {
        &self.unusable
    }

    /// The repositories that have an index.
    pub fn repositories(&self) -> impl Iterator<Item = &Name> {
        self.repositories.iter().map(|r| &r.name)
    }

    /// The repository of a package.
    ///
    /// # Panics
    /// When `package` is of another [`Index`].
    pub fn repository(&self, package: PackageRow) -> &Name {
        &self.of(package).name
    }

    /// All patterns of all packages that match `device`, by repository, then in the order of the index.
    ///
    /// # Errors
    /// When a database is damaged: it is removed then, so that the next sync rebuilds it.
    pub fn find(&self, device: &Modalias) -> Result<Vec<Match>, StateError> {
        let mut matches = Vec::new();
        for (repository, opened) in self.repositories.iter().enumerate() {
            let from = matches.len();
            opened
                .find(repository, device, &mut matches)
                .map_err(|e| opened.failed(e))?;
            matches[from..].sort_unstable_by(|a, b| (a.package, &a.pattern).cmp(&(b.package, &b.pattern)));
        }
        Ok(matches)
    }

    /// A package's record, without its patterns: they are many, and a look-up has said which ones match.
    ///
    /// # Errors
    /// As [`Index::find`].
    ///
    /// # Panics
    /// When `package` is of another [`Index`].
    pub fn record(&self, package: PackageRow) -> Result<PackageRecord, StateError> {
        let opened = self.of(package);
        let json: String = opened
            .db
            .prepare_cached("SELECT record FROM package WHERE id = ?1")
            .and_then(|mut select| select.query_row([package.row], |row| row.get(0)))
            .map_err(|e| opened.failed(e))?;
        opened.parse(&json)
    }

    /// The versions of the package with this name, in all repositories.
    ///
    /// # Errors
    /// As [`Index::find`].
    pub fn named(&self, name: &str) -> Result<Vec<PackageRow>, StateError> {
        self.ids("SELECT id FROM package WHERE name = ?1 ORDER BY id", name)
    }

    /// The names of all packages, in all repositories.
    ///
    /// # Errors
    /// As [`Index::find`].
    pub fn names(&self) -> Result<BTreeSet<String>, StateError> {
        let mut names = BTreeSet::new();
        for opened in &self.repositories {
            let found = rows(&opened.db, "SELECT DISTINCT name FROM package", [], |row| {
                row.get::<_, String>(0)
            });
            names.extend(found.map_err(|e| opened.failed(e))?);
        }
        Ok(names)
    }

    /// The packages whose name or summary, or one of whose modules, holds `text`, whatever the case.
    ///
    /// # Errors
    /// As [`Index::find`].
    pub fn search(&self, text: &str) -> Result<Vec<PackageRow>, StateError> {
        let sql = "SELECT id FROM package WHERE instr(lower(name), lower(?1))
                       OR instr(lower(record ->> 'summary'), lower(?1))
                       OR instr(lower(record ->> 'modules'), lower(?1)) ORDER BY name, id";
        self.ids(sql, text)
    }

    /// The overrides of all repositories.
    ///
    /// # Errors
    /// As [`Index::find`].
    pub fn overrides(&self) -> Result<Vec<OverrideRecord>, StateError> {
        let read = |row: &Row<'_>| {
            Ok(OverrideRecord {
                subject: row.get(0)?,
                pattern: row.get(1)?,
                reason: row.get(2)?,
            })
        };
        let sql = "SELECT subject, pattern, reason FROM override ORDER BY rowid";
        let lists = self.repositories.iter().map(|r| r.rows(sql, [], read));
        Ok(lists.collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// What each repository revoked. A revocation applies only to packages of the same repository.
    ///
    /// # Errors
    /// As [`Index::find`], and when the list is not readable.
    pub fn revocations(&self) -> Result<Vec<(&Name, Revocations)>, StateError> {
        self.repositories
            .iter()
            .map(|r| Ok((&r.name, r.parse(&r.meta("revocations")?)?)))
            .collect()
    }

    /// A summary of each index.
    ///
    /// # Errors
    /// As [`Index::find`].
    pub fn summaries(&self) -> Result<Vec<Summary>, StateError> {
        self.repositories.iter().map(Opened::summary).collect()
    }

    fn of(&self, package: PackageRow) -> &Opened {
        &self.repositories[package.repository]
    }

    fn ids(&self, sql: &str, text: &str) -> Result<Vec<PackageRow>, StateError> {
        let lists = self.repositories.iter().enumerate().map(|(repository, opened)| {
            opened.rows(sql, [text], |row| {
                Ok(PackageRow {
                    repository,
                    row: row.get(0)?,
                })
            })
        });
        Ok(lists.collect::<Result<Vec<_>, _>>()?.concat())
    }
}

/// Memory for pages of a database, of which only those are there that were asked for. With SQLite's own 2 MB, look-ups in a table of five
/// million patterns read a sixth more of them.
const CACHE_KIB: i64 = 8 << 10;

/// So much of a database is read as memory, without a call for each page: a sixth less time for a look-up among 100,000 packages. Its file
/// is never changed where it lies, but replaced.
const MAPPED_BYTES: i64 = 1 << 30;

impl Opened {
    /// Opens a database; `None` when there is none, or one of another version of this program.
    fn open(name: &Name, path: &Path) -> Result<Option<Self>, StateError> {
        let failed = |e| StateError::sqlite(path, e);
        StateError::require_regular(path)?;
        if !path.exists() {
            return Ok(None);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags).map_err(failed)?;
        db.pragma_update(None, "cache_size", -CACHE_KIB).map_err(failed)?;
        db.pragma_update(None, "mmap_size", MAPPED_BYTES).map_err(failed)?;
        let number = |pragma: &str| {
            db.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
                .map_err(failed)
        };
        if (number("application_id")?, number("user_version")?) != (APPLICATION_ID, SCHEMA_VERSION) {
            return Ok(None);
        }
        let filter: Vec<u8> = db
            .query_row("SELECT value FROM meta WHERE key = 'filter'", [], |row| row.get(0))
            .map_err(failed)?;
        let filter = KeyFilter::from_bytes(&filter).ok_or_else(|| StateError::Damaged { path: path.to_owned() })?;
        Ok(Some(Self {
            name: name.clone(),
            path: path.to_owned(),
            db,
            filter,
        }))
    }

    fn find(&self, repository: usize, device: &Modalias, matches: &mut Vec<Match>) -> rusqlite::Result<()> {
        let mut select = self
            .db
            .prepare_cached("SELECT package, pattern FROM pattern WHERE key BETWEEN ?1 AND ?2")?;
        for range in self.filter.keys(device) {
            let mut rows = select.query([range.first.0, range.last.0])?;
            while let Some(row) = rows.next()? {
                if let Ok(pattern) = Pattern::parse(row.get_ref(1)?.as_bytes()?)
                    && pattern.matches(device)
                {
                    let row = row.get(0)?;
                    matches.push(Match {
                        package: PackageRow { repository, row },
                        pattern,
                    });
                }
            }
        }
        Ok(())
    }

    fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StateError> {
        rows(&self.db, sql, params, read).map_err(|e| self.failed(e))
    }

    fn meta(&self, key: &str) -> Result<String, StateError> {
        self.db
            .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
            .optional()
            .map(Option::unwrap_or_default)
            .map_err(|e| self.failed(e))
    }

    fn summary(&self) -> Result<Summary, StateError> {
        let count = |key: &str| Ok::<u64, StateError>(self.meta(key)?.parse().unwrap_or(0));
        Ok(Summary {
            repository: self.name.clone(),
            id: self.meta("id")?,
            issued: self.meta("issued")?.parse().ok(),
            expires: self.meta("expires")?.parse().ok(),
            packages: count("packages")?,
            patterns: count("patterns")?,
            passed_over: count("passed-over")?,
        })
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, json: &str) -> Result<T, StateError> {
        serde_json::from_str(json).map_err(|e| StateError::Value {
            path: self.path.clone(),
            what: "a record".to_owned(),
            why: e.to_string(),
        })
    }

    /// A damaged cache is removed, and the next sync rebuilds it.
    fn failed(&self, error: rusqlite::Error) -> StateError {
        let error = StateError::sqlite(&self.path, error);
        if error.is_damaged()
            && let Err(e) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %e, "the damaged cache stays");
        }
        error
    }
}

/// The [`Summary::id`] of the index at `path`; `None` when there is no usable one.
pub(crate) fn id(name: &Name, path: &Path) -> Option<String> {
    let opened = Opened::open(name, path).ok()??;
    opened.meta("id").ok()
}
