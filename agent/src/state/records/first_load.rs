//! Packages that are being loaded for the first time.

use jiff::Timestamp;
use rusqlite::params;

use super::{Records, timestamp};
use crate::candidate::OfferId;
use crate::state::StateError;

/// The mark of a package whose modules are being loaded for the first time. It goes when that ended; one of an earlier boot means that
/// the machine stopped meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstLoad {
    /// The package.
    pub offer: OfferId,
    /// Its name in the DKMS tree.
    pub package: String,
    /// `PACKAGE_VERSION`, the version in the DKMS tree.
    pub dkms_version: String,
    /// SHA-256 of its bundle.
    pub bundle_sha256: String,
    /// The kernel's release.
    pub kernel: String,
    /// The kernel's architecture.
    pub arch: String,
    /// Its modules.
    pub modules: Vec<String>,
    /// The boot in which they are loaded.
    pub boot: String,
    /// When the run began.
    pub at: Timestamp,
}

impl Records {
    /// Marks a package, durably.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn note_first_load(&self, mark: &FirstLoad) -> Result<(), StateError> {
        let sql = "INSERT OR REPLACE INTO first_load
                       (package, kernel, dkms_version, bundle_sha256, arch, modules, boot, at, name, version, repository, scope)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
        let values = params![
            mark.package,
            mark.kernel,
            mark.dkms_version,
            mark.bundle_sha256,
            mark.arch,
            mark.modules.join(" "),
            mark.boot,
            mark.at.to_string(),
            mark.offer.name,
            mark.offer.version,
            mark.offer.repository,
            mark.offer.scope
        ];
        self.execute(sql, values).map(|_| ())
    }

    /// Removes a mark.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn forget_first_load(&self, package: &str, kernel: &str) -> Result<(), StateError> {
        let sql = "DELETE FROM first_load WHERE package = ?1 AND kernel = ?2";
        self.execute(sql, [package, kernel]).map(|_| ())
    }

    /// All marks.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn first_loads(&self) -> Result<Vec<FirstLoad>, StateError> {
        // A run that only reads does not migrate an older database.
        if self.schema()? < 6 {
            return Ok(Vec::new());
        }
        let sql = "SELECT package, kernel, dkms_version, bundle_sha256, arch, modules, boot, at, name, version, repository, scope
                   FROM first_load ORDER BY package, kernel";
        self.rows(sql, [], |row| {
            Ok(FirstLoad {
                offer: OfferId {
                    name: row.get(8)?,
                    version: row.get(9)?,
                    repository: row.get(10)?,
                    scope: row.get(11)?,
                },
                package: row.get(0)?,
                dkms_version: row.get(2)?,
                bundle_sha256: row.get(3)?,
                kernel: row.get(1)?,
                arch: row.get(4)?,
                modules: row.get::<_, String>(5)?.split_whitespace().map(str::to_owned).collect(),
                boot: row.get(6)?,
                at: timestamp(row, 7)?,
            })
        })
    }
}
