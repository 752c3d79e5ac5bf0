//! Changing a copy of the last database into that of a newer index.
//!
//! Its rows say which line of the index each package was read from, so that only lines that are new have to be read, and
//! only rows whose line is gone have to go. The result holds what [`Builder`](super::Builder) would write of the whole index;
//! only ids and keys are others, and they are chosen so that order and look-ups are the same.

use std::io;
use std::path::Path;

use dkms_index::document::record::{OverrideRecord, Record};
use dkms_index::document::segment::lines;
use dkms_index::keys::{Key, KeyFilter};
use dkms_index::trust::TrustedIndex;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::{StateError, rows};
use super::build::{Draft, Facts};
use super::write::{Counts, INSERT_PATTERN, Name, PackageLine, insert_override, keys_of, name_of, put_meta};
use super::{APPLICATION_ID, ID_STEP, SCHEMA_VERSION};
use crate::files;

/// One part in so many of the packages or patterns may be new before everything is written anew: filing patterns one by
/// one costs more than sorting them once, and the keys of those that came later are less well chosen.
const NEW_PART: u64 = 4;

/// How many rows whose line is gone are looked at for one with the patterns of a new line.
const LOOK_AHEAD: usize = 16;

/// A copy of the last database and the lines of the newer index. Dropped, it leaves nothing behind.
pub struct Updater {
    draft: Draft,
    /// The packages of the copy, by id.
    held: Vec<Held>,
    /// Their places in `held`, by line.
    by_line: Vec<usize>,
    /// How many of `held` are not behind the last line that is in the copy.
    passed: usize,
    /// Packages behind it that are not in the copy. They get ids when it is known what follows them.
    waiting: Vec<PackageLine>,
    changes: Vec<Change>,
    overrides: Vec<OverrideRecord>,
    passed_over: u64,
    fits: bool,
}

/// A package of the copy.
struct Held {
    id: i64,
    line: Name,
    patterns: Name,
    /// Whether the newer index has its line, or another line takes its row.
    stays: bool,
}

/// What becomes of a new line.
enum Change {
    /// It is written over the package with this id, which has the same patterns.
    Replace(i64, PackageLine),
    Insert(i64, PackageLine),
}

impl Updater {
    /// Begins to change the database at `path`. `None` when there is none that can be changed: then it has to be written
    /// anew, and what stands in the way of that, too, is an error there.
    pub fn new(path: &Path) -> Option<Self> {
        match Self::begin(path) {
            Ok(updater) => updater,
            Err(error) => {
                tracing::debug!(%error, "the last database cannot be changed");
                None
            }
        }
    }

    fn begin(path: &Path) -> Result<Option<Self>, StateError> {
        let last = match files::open_regular(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|source| StateError::Io {
                path: path.to_owned(),
                source,
            })?,
        };
        let draft = Draft::open(path, |copy| io::copy(&mut &last, &mut &*copy).map(|_| ()))?;
        let Some(held) = held(&draft.db).map_err(|e| draft.failed(e))? else {
            return Ok(None);
        };
        let mut by_line: Vec<usize> = (0..held.len()).collect();
        by_line.sort_by_key(|&at| held[at].line);
        Ok(Some(Self {
            draft,
            held,
            by_line,
            passed: 0,
            waiting: Vec::new(),
            changes: Vec::new(),
            overrides: Vec::new(),
            passed_over: 0,
            fits: true,
        }))
    }

    /// Takes in the lines of a verified segment, as [`Builder::add_lines`](super::Builder::add_lines) does.
    ///
    /// # Errors
    /// When a record cannot be written as JSON.
    pub fn add_lines(&mut self, decoded: &[u8]) -> Result<(), StateError> {
        for (_, line) in lines(decoded) {
            let name = name_of(line);
            if let Some(at) = self.find(name) {
                self.held[at].stays = true;
                self.fits &= at >= self.passed;
                self.place_before(at);
                self.passed = at + 1;
                continue;
            }
            match Record::parse(line) {
                Ok(Record::Package(package)) => self.waiting.push(PackageLine::new(name, package, &self.draft.path)?),
                Ok(Record::Override(o)) => self.overrides.push(o),
                Err(error) => {
                    tracing::warn!(%error, index = %self.draft.path.display(), "passed over a line of the index");
                    self.passed_over += 1;
                }
            }
        }
        Ok(())
    }

    /// Where the package of this line is in the copy. Each answers once, for an index may say the same line twice.
    fn find(&self, line: Name) -> Option<usize> {
        let from = self.by_line.partition_point(|&at| self.held[at].line < line);
        let mut same = self.by_line[from..]
            .iter()
            .copied()
            .take_while(|&at| self.held[at].line == line);
        same.find(|&at| !self.held[at].stays)
    }

    /// Says what becomes of the waiting packages: they belong before the package at `next` of the copy. Those between the
    /// last one and that one are gone from the index, so a new line with the same patterns may take the row of one.
    fn place_before(&mut self, next: usize) {
        let mut gone = self.passed..next;
        let mut last = self.passed.checked_sub(1).map_or(0, |at| self.held[at].id);
        let mut new = Vec::new();
        for package in std::mem::take(&mut self.waiting) {
            let mut ahead = gone.clone().take(LOOK_AHEAD);
            let Some(at) = ahead.find(|&at| self.held[at].patterns == package.list) else {
                new.push(package);
                continue;
            };
            let id = self.held[at].id;
            self.give_ids(last, id, &mut new);
            self.held[at].stays = true;
            self.changes.push(Change::Replace(id, package));
            last = id;
            gone.start = at + 1;
        }
        let behind = i64::try_from(new.len()).unwrap_or(i64::MAX).saturating_add(1);
        let end = last.saturating_add(behind.saturating_mul(ID_STEP));
        self.give_ids(last, self.held.get(next).map_or(end, |held| held.id), &mut new);
    }

    /// Gives new packages ids between two others.
    fn give_ids(&mut self, last: i64, next: i64, new: &mut Vec<PackageLine>) {
        let count = i64::try_from(new.len()).unwrap_or(i64::MAX);
        if count == 0 {
            return;
        }
        let step = next.saturating_sub(last) / count.saturating_add(1);
        self.fits &= step > 0;
        let ids = (1..).map(|n| last.saturating_add(step.saturating_mul(n)));
        let inserts = ids.zip(new.drain(..)).map(|(id, package)| Change::Insert(id, package));
        self.changes.extend(inserts);
    }

    /// Puts the changed database in its place, as [`Builder::finish`](super::Builder::finish) does. `false` when it should
    /// be written anew instead, because too much is new or the copy cannot be changed; nothing has changed then.
    ///
    /// # Errors
    /// When it cannot be given its place.
    pub fn finish(self, index: &TrustedIndex) -> Result<bool, StateError> {
        let facts = Facts::of(index, &self.draft.path)?;
        self.commit(&facts)
    }

    pub(super) fn commit(mut self, facts: &Facts) -> Result<bool, StateError> {
        if self.fits {
            self.place_before(self.held.len());
        }
        let gone = self.held.iter().filter(|held| !held.stays).count() as u64;
        let changed = gone.max(self.changes.len() as u64);
        if !self.fits || changed > self.held.len() as u64 / NEW_PART {
            return Ok(false);
        }
        match self.change(facts) {
            Ok(true) => self.draft.commit().map(|()| true),
            Ok(false) => Ok(false),
            Err(error) => {
                tracing::debug!(%error, "the last database cannot be changed");
                Ok(false)
            }
        }
    }

    /// Writes the changes; `false` when too many patterns were filed one by one since all were.
    fn change(&self, facts: &Facts) -> Result<bool, StateError> {
        let Draft { path, db, .. } = &self.draft;
        let failed = |e| StateError::sqlite(path, e);
        let damaged = || StateError::Damaged { path: path.clone() };
        db.execute_batch("BEGIN; DELETE FROM override").map_err(failed)?;
        let filter: Option<Vec<u8>> = meta(db, "filter").map_err(failed)?;
        let mut filter = filter.as_deref().and_then(KeyFilter::from_bytes).ok_or_else(damaged)?;
        let mut counts = counts(db).map_err(failed)?.ok_or_else(damaged)?;
        for held in self.held.iter().filter(|held| !held.stays) {
            let removed = remove(db, held.id).map_err(failed)?.ok_or_else(damaged)?;
            counts.packages = counts.packages.checked_sub(1).ok_or_else(damaged)?;
            counts.patterns = counts.patterns.checked_sub(removed).ok_or_else(damaged)?;
        }
        for change in &self.changes {
            match change {
                Change::Replace(id, package) => package.replace(db, *id).map_err(failed)?,
                Change::Insert(id, package) => {
                    let keys: Vec<Key> = package.listed().map(|(_, _, pattern)| filter.add(pattern)).collect();
                    let mut insert = db.prepare_cached(INSERT_PATTERN).map_err(failed)?;
                    for ((number, text, _), key) in package.listed().zip(&keys) {
                        insert.execute(params![key.0, id, number, text]).map_err(failed)?;
                    }
                    package.insert(db, *id, &keys).map_err(failed)?;
                    counts.packages += 1;
                    counts.patterns += package.patterns();
                    counts.filed_later += package.patterns();
                }
            }
        }
        if counts.filed_later > counts.patterns / NEW_PART {
            return Ok(false);
        }
        counts.passed_over = self.passed_over;
        self.overrides
            .iter()
            .try_for_each(|o| insert_override(db, o))
            .and_then(|()| put_meta(db, &facts.texts(), &counts, &filter.to_bytes()))
            .map_err(failed)?;
        Ok(true)
    }
}

/// The packages of a database, by id; `None` when it is not one of this version of the program.
fn held(db: &Connection) -> rusqlite::Result<Option<Vec<Held>>> {
    let number = |pragma: &str| db.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    if (number("application_id")?, number("user_version")?) != (APPLICATION_ID, SCHEMA_VERSION) {
        return Ok(None);
    }
    let sql = "SELECT id, line, patterns FROM package ORDER BY id";
    let read = |row: &Row<'_>| {
        Ok(Held {
            id: row.get(0)?,
            line: row.get(1)?,
            patterns: row.get(2)?,
            stays: false,
        })
    };
    rows(db, sql, [], read).map(Some)
}

fn meta<T: rusqlite::types::FromSql>(db: &Connection, key: &str) -> rusqlite::Result<Option<T>> {
    db.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
        .optional()
}

fn counts(db: &Connection) -> rusqlite::Result<Option<Counts>> {
    let count = |key| meta::<String>(db, key).map(|text| text?.parse::<u64>().ok());
    let counts = (count("packages")?, count("patterns")?, count("filed-later")?);
    let (Some(packages), Some(patterns), Some(filed_later)) = counts else {
        return Ok(None);
    };
    Ok(Some(Counts {
        packages,
        patterns,
        passed_over: 0,
        filed_later,
    }))
}

/// Removes a package and its patterns, and says how many those were; `None` when they were not all there.
fn remove(db: &Connection, id: i64) -> rusqlite::Result<Option<u64>> {
    let keys: Vec<u8> = db
        .prepare_cached("DELETE FROM package WHERE id = ?1 RETURNING keys")?
        .query_row([id], |row| row.get(0))?;
    let Some(mut keys) = keys_of(&keys) else {
        return Ok(None);
    };
    let patterns = keys.len();
    keys.sort_unstable();
    keys.dedup();
    let mut delete = db.prepare_cached("DELETE FROM pattern WHERE key = ?1 AND package = ?2")?;
    let mut removed = 0;
    for key in keys {
        removed += delete.execute([key, id])?;
    }
    Ok((removed == patterns).then_some(removed as u64))
}

#[cfg(test)]
mod tests;
