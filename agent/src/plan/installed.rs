//! A package that is installed already, as the plan takes it into account.

use crate::candidate::OfferId;

/// A package that is installed for the target kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledPackage {
    /// Its name in the DKMS tree.
    pub name: String,
    /// The version in the DKMS tree.
    pub dkms_version: String,
    /// The version in the index and the repository, where this program installed it.
    pub source: Option<OfferId>,
    /// SHA-256 of its bundle; empty where this program did not install it.
    pub bundle_sha256: String,
    /// The names of its modules, `-` written as `_`.
    pub modules: Vec<String>,
}

impl InstalledPackage {
    /// Its name and version as repositories have them, or as the DKMS tree has them.
    pub fn id(&self) -> OfferId {
        self.source.clone().unwrap_or_else(|| OfferId {
            name: self.name.clone(),
            version: self.dkms_version.clone(),
            repository: String::new(),
            scope: String::new(),
        })
    }

    /// Whether it is a version of the package `id`. Where a role is not known, only the names are compared.
    pub fn is_package(&self, id: &OfferId) -> bool {
        self.id().key().is_same(&id.key())
    }
}
