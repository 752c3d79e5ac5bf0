//! The roles of a repository, and what each may sign.

use dkms_index::modalias::VendorId;
use dkms_index::trust::scope::{BY_ID, CURATED};

use crate::repository::Expiry;

/// The role that only delegates.
pub const TARGETS: &str = "targets";
/// The online role of the index.
pub const INDEX: &str = "index";
/// The role that can only deny.
pub const REVOCATIONS: &str = "revocations";

/// The top-level roles, whose keys the root names.
pub const TOP_LEVEL: [&str; 4] = ["root", TARGETS, "snapshot", "timestamp"];

/// The roles that `targets` delegates to from the beginning, in the order in which clients ask them.
pub const DELEGATED: [&str; 3] = [CURATED, INDEX, REVOCATIONS];

/// What the names of vendors' roles begin with.
pub const VENDOR_PREFIX: &str = "vendor-";

/// The role of a vendor: `vendor-pci-10ec`.
pub fn of_vendor(vendor: VendorId) -> String {
    format!("{VENDOR_PREFIX}{vendor}")
}

/// The one path pattern that is delegated to the manifests of a directory.
pub fn paths_of_scope(scope: &str) -> String {
    format!("{scope}/*")
}

/// The directory of a vendor's manifests: `by-id/pci-10ec`.
pub fn scope_of_vendor(vendor: VendorId) -> String {
    format!("{BY_ID}{vendor}")
}

/// How long a signature of `role` is good for, in days.
pub fn lifetime_days(role: &str, expires: &Expiry) -> u32 {
    match role {
        "root" => expires.root,
        TARGETS => expires.targets,
        "snapshot" => expires.snapshot,
        "timestamp" => expires.timestamp,
        INDEX => expires.index,
        REVOCATIONS => expires.revocations,
        CURATED => expires.curated,
        _ => expires.vendor,
    }
}
