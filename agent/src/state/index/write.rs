//! The rows of a database, however it is made.

use std::path::Path;

use dkms_index::document::record::{OverrideRecord, PackageRecord};
use dkms_index::keys::Key;
use dkms_index::pattern::Pattern;
use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};

use super::super::StateError;

/// Stands for a line of the index, or for a list of patterns: the first half of a SHA-256.
pub(super) type Name = [u8; 16];

pub(super) fn name_of(line: &[u8]) -> Name {
    half_of(Sha256::new_with_prefix(line))
}

fn half_of(hash: Sha256) -> Name {
    let mut half = Name::default();
    half.copy_from_slice(&hash.finalize()[..16]);
    half
}

/// A package to be written.
pub(super) struct PackageLine {
    pub(super) line: Name,
    /// Without its patterns, as JSON.
    record: String,
    name: String,
    version: String,
    patterns: Vec<(String, Pattern)>,
    /// Names the list of patterns.
    pub(super) list: Name,
}

impl PackageLine {
    /// For the database at `path`.
    pub(super) fn new(line: Name, mut package: PackageRecord, path: &Path) -> Result<Self, StateError> {
        // The record was parsed by a rule that lets only sound patterns through.
        let patterns = std::mem::take(&mut package.patterns);
        let record = serde_json::to_string(&package).map_err(|e| StateError::Value {
            path: path.to_owned(),
            what: format!("the record of {} {}", package.name, package.version),
            why: e.to_string(),
        })?;
        let patterns: Vec<(String, Pattern)> = patterns
            .into_iter()
            .filter_map(|text| Pattern::parse(&text).ok().map(|pattern| (text, pattern)))
            .collect();
        // No pattern has a line break in it.
        let list = patterns.iter().fold(Sha256::new(), |hash, (text, _)| {
            hash.chain_update(text).chain_update("\n")
        });
        Ok(Self {
            line,
            record,
            name: package.name,
            version: package.version,
            patterns,
            list: half_of(list),
        })
    }

    pub(super) fn patterns(&self) -> u64 {
        self.patterns.len() as u64
    }

    /// Its patterns, each with its place in the list and as it is written.
    pub(super) fn listed(&self) -> impl Iterator<Item = (u32, &str, &Pattern)> {
        (0..)
            .zip(&self.patterns)
            .map(|(number, (text, pattern))| (number, text.as_str(), pattern))
    }

    /// Writes it as the package `id`, without its patterns, which are filed under these keys.
    pub(super) fn insert(&self, db: &Connection, id: i64, keys: &[Key]) -> rusqlite::Result<()> {
        let keys: Vec<u8> = keys.iter().flat_map(|key| key.0.to_le_bytes()).collect();
        db.prepare_cached("INSERT INTO package VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
            .execute(params![
                id,
                self.name,
                self.version,
                self.record,
                self.line,
                self.list,
                keys
            ])?;
        Ok(())
    }

    /// Writes it over the package `id`, which has the same patterns.
    pub(super) fn replace(&self, db: &Connection, id: i64) -> rusqlite::Result<()> {
        let sql = "UPDATE package SET name = ?2, version = ?3, record = ?4, line = ?5 WHERE id = ?1";
        db.prepare_cached(sql)?
            .execute(params![id, self.name, self.version, self.record, self.line])?;
        Ok(())
    }
}

/// Writes the row of a pattern: key, package, place in the package's list, and itself.
pub(super) const INSERT_PATTERN: &str = "INSERT INTO pattern VALUES (?1, ?2, ?3, ?4)";

/// The keys of a package's patterns, as they were written.
pub(super) fn keys_of(blob: &[u8]) -> Option<Vec<i64>> {
    let (keys, []) = blob.as_chunks() else { return None };
    Some(keys.iter().map(|&key| i64::from_le_bytes(key)).collect())
}

pub(super) fn insert_override(db: &Connection, o: &OverrideRecord) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO override VALUES (?1, ?2, ?3)")?
        .execute(params![o.subject, o.pattern, o.reason])?;
    Ok(())
}

/// How much is in a database.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) packages: u64,
    pub(super) patterns: u64,
    /// Lines that this program could not read.
    pub(super) passed_over: u64,
    /// Patterns whose keys were given out later than those of the others.
    pub(super) filed_later: u64,
}

pub(super) fn put_meta(
    db: &Connection,
    texts: &[(&str, &str)],
    counts: &Counts,
    filter: &[u8],
) -> rusqlite::Result<()> {
    let mut put = db.prepare("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?;
    for (key, value) in texts {
        put.execute(params![key, value])?;
    }
    let counts = [
        ("packages", counts.packages),
        ("patterns", counts.patterns),
        ("passed-over", counts.passed_over),
        ("filed-later", counts.filed_later),
    ];
    for (key, count) in counts {
        put.execute(params![key, count.to_string()])?;
    }
    put.execute(params!["filter", filter])?;
    Ok(())
}
