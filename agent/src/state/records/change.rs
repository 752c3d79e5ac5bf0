//! What each entry of the history changed, so that an earlier state can be brought back.

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, params};

use super::{Entry, InstallRecord, Records, timestamp};
use crate::state::StateError;

/// A package and a kernel whose state differs from an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reversal {
    /// The package's name in the DKMS tree.
    pub package: String,
    /// The kernel's release.
    pub kernel: String,
    /// What is installed now.
    pub from: Option<InstallRecord>,
    /// What was installed then.
    pub to: Option<InstallRecord>,
}

/// The entries of the history that can be gone back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// The oldest; 0 is the time before all entries.
    pub first: u32,
    /// The newest.
    pub last: u32,
}

const COLUMNS: &str = "version, dkms_version, repository, bundle_sha256, at, root_scripts, name, scope";

impl Records {
    /// Records that a package is installed for a kernel, in place of an earlier version, with an entry of the history. Returns its number.
    ///
    /// # Errors
    /// When the database cannot be written; nothing has changed then.
    pub fn record_install(&self, installed: &InstallRecord, entry: &Entry) -> Result<u32, StateError> {
        self.change(&installed.package, &installed.kernel, entry, || {
            self.note_installed(installed)
        })
    }

    /// Records that a package is removed from a kernel, with an entry of the history. Returns its number.
    ///
    /// # Errors
    /// When the database cannot be written; nothing has changed then.
    pub fn record_removal(&self, package: &str, kernel: &str, entry: &Entry) -> Result<u32, StateError> {
        self.change(package, kernel, entry, || {
            self.note_removed(package, kernel).map(|_| ())
        })
    }

    fn change(
        &self,
        package: &str,
        kernel: &str,
        entry: &Entry,
        change: impl FnOnce() -> Result<(), StateError>,
    ) -> Result<u32, StateError> {
        let transaction = self.db.unchecked_transaction().map_err(|e| self.failed(e))?;
        let number = self.log(entry)?;
        let sql = format!(
            "INSERT INTO change (entry, package, kernel, {COLUMNS})
             SELECT ?1, ?2, ?3, {COLUMNS} FROM (SELECT 1)
             LEFT JOIN installed ON installed.package = ?2 AND installed.kernel = ?3"
        );
        self.execute(&sql, params![number, package, kernel])?;
        change()?;
        transaction.commit().map_err(|e| self.failed(e))?;
        Ok(number)
    }

    /// The entries that can be gone back to: what was done before this was recorded, or is cut off, is not known.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn reach(&self) -> Result<Reach, StateError> {
        // A run that only reads does not migrate an older database.
        let begin = if self.schema()? < 7 {
            "SELECT coalesce(max(id), 0) FROM history"
        } else {
            "SELECT max(first, coalesce((SELECT min(id) - 1 FROM history), 0)) FROM change_begin"
        };
        let sql = format!("SELECT ({begin}), (SELECT coalesce(max(id), 0) FROM history)");
        let found = self.rows(&sql, [], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, u32>(1)?)))?;
        let (first, last) = found.into_iter().next().unwrap_or_default();
        Ok(Reach { first, last })
    }

    /// The entry after which the last run began that changed what is installed; none where there is no such run.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn before_last_run(&self) -> Result<Option<u32>, StateError> {
        if self.schema()? < 7 {
            return Ok(None);
        }
        let sql = "SELECT min(entry) - 1 FROM change JOIN history ON history.id = entry
                   WHERE run = (SELECT run FROM history WHERE id = (SELECT max(entry) FROM change))";
        let found = self.rows(sql, [], |row| row.get::<_, Option<u32>>(0))?;
        Ok(found.into_iter().next().flatten())
    }

    /// What has to change for the state after `entry` of the history: the state before the first change of each package since.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn reversals(&self, entry: u32) -> Result<Vec<Reversal>, StateError> {
        if self.schema()? < 7 {
            return Ok(Vec::new());
        }
        let installed = self.installed()?;
        let sql = format!(
            "SELECT package, kernel, {COLUMNS} FROM change AS one
             WHERE entry = (SELECT min(entry) FROM change AS other
                            WHERE other.package = one.package AND other.kernel = one.kernel AND entry > ?1)
             ORDER BY package, kernel"
        );
        let reversals = self.rows(&sql, [entry], |row| {
            let (package, kernel): (String, String) = (row.get(0)?, row.get(1)?);
            let was_installed = row.get::<_, Option<String>>(2)?.is_some();
            let to = was_installed
                .then(|| {
                    Ok::<_, rusqlite::Error>(InstallRecord {
                        package: package.clone(),
                        kernel: kernel.clone(),
                        version: row.get(2)?,
                        dkms_version: row.get(3)?,
                        repository: row.get(4)?,
                        bundle_sha256: row.get(5)?,
                        at: timestamp(row, 6)?,
                        root_scripts: row.get::<_, String>(7)?.split_whitespace().map(str::to_owned).collect(),
                        name: row.get(8)?,
                        scope: row.get(9)?,
                    })
                })
                .transpose()?;
            let is_now = |one: &&InstallRecord| one.package == package && one.kernel == kernel;
            let from = installed.iter().find(is_now).cloned();
            Ok(Reversal {
                package,
                kernel,
                from,
                to,
            })
        })?;
        let is_same = |a: &Option<InstallRecord>, b: &Option<InstallRecord>| match (a, b) {
            (Some(a), Some(b)) => (&a.dkms_version, &a.bundle_sha256) == (&b.dkms_version, &b.bundle_sha256),
            (None, None) => true,
            _ => false,
        };
        Ok(reversals
            .into_iter()
            .filter(|one| !is_same(&one.from, &one.to))
            .collect())
    }

    /// Records that a run begins to go back to the state after `entry`, so that a run that is killed is gone on with.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn begin_rollback(&self, entry: u32, at: Timestamp) -> Result<(), StateError> {
        let sql = "INSERT OR REPLACE INTO rollback (id, entry, at) VALUES (1, ?1, ?2)";
        self.execute(sql, params![entry, at.to_string()]).map(|_| ())
    }

    /// Records that the run has ended.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn end_rollback(&self) -> Result<(), StateError> {
        self.execute("DELETE FROM rollback", []).map(|_| ())
    }

    /// The entry that a run was going back to when it was killed.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn unfinished_rollback(&self) -> Result<Option<u32>, StateError> {
        if self.schema()? < 7 {
            return Ok(None);
        }
        self.db
            .query_row("SELECT entry FROM rollback", [], |row| row.get(0))
            .optional()
            .map_err(|e| self.failed(e))
    }
}
