//! What TUF cannot express: a manifest may only claim devices of the vendor whose directory it is in.

use super::Why;
use crate::document::manifest::Manifest;
use crate::document::{DocumentError, Problem};

/// The directory of drivers over many vendors, and for buses without vendor ids.
pub const CURATED: &str = "curated";
/// The directory whose subdirectories belong to one vendor each.
pub const BY_ID: &str = "by-id/";

/// Checks a manifest that was found at the target path `path`: it is the one that the path names, and valid in itself.
/// The latter includes that below `by-id/<bus>-<vendor>/` every pattern, compiled or declared, spells out that bus and
/// that vendor.
///
/// # Errors
/// The rule that the manifest violates.
pub fn check(manifest: &Manifest, path: &str) -> Result<(), Why> {
    manifest.check().map_err(|error| match &error {
        DocumentError::Invalid { problems, .. } => match problems.iter().find_map(out_of_scope) {
            Some(why) => why,
            None => Why::Malformed(error.to_string()),
        },
        _ => Why::Malformed(error.to_string()),
    })?;
    let own = manifest.target_path();
    if own == path {
        Ok(())
    } else {
        Err(Why::Scope(format!("it is the manifest {own}")))
    }
}

fn out_of_scope(problem: &Problem) -> Option<Why> {
    match problem {
        Problem::OutOfScope { pattern, .. } => Some(Why::Devices(pattern.clone())),
        Problem::Scope(_) => Some(Why::Scope(problem.to_string())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(scope: &str, aliases: &[&str]) -> Manifest {
        serde_json::from_value(serde_json::json!({
            "schema": 1, "name": "drv", "version": "1", "scope": scope, "summary": "",
            "bundle": {"sha256": "ab".repeat(32), "length": 1, "format": "tar-zst"},
            "modules": [{"name": "drv", "aliases": aliases}]
        }))
        .unwrap()
    }

    #[test]
    fn patterns_stay_in_their_directory() {
        fn check(scope: &str, alias: &str, fits: bool) {
            let manifest = manifest(scope, &[alias]);
            assert_eq!(
                super::check(&manifest, &manifest.target_path()).is_ok(),
                fits,
                "{alias} in {scope}"
            );
        }
        check("by-id/pci-10ec", "pci:v000010ECd00008168sv*sd*bc*sc*i*", true);
        check("by-id/pci-10ec", "pci:v000010EDd00008168sv*sd*bc*sc*i*", false);
        check("by-id/pci-10ec", "pci:v*d*sv*sd*bc02sc00i*", false);
        check("by-id/pci-10ec", "pci:v000010E[CD]d*sv*sd*bc*sc*i*", false);
        check("by-id/pci-10ec", "usb:v10ECp8168d*dc*dsc*dp*ic*isc*ip*in*", false);
        check("by-id/pci-10ec", "*", false);
        check("by-id/usb-0bda", "usb:v0BDAp8812d*dc*dsc*dp*ic*isc*ip*in*", true);
        check("curated", "pci:v*d*sv*sd*bc02sc00i*", true);
        check("curated", "acpi*:PNP0C0A:*", true);
        check("by-id/virtio-1af4", "virtio:d00000001v*", false);
        check("by-id/..", "*", false);
        check("elsewhere", "*", false);
        check("curated", "", false);
    }

    #[test]
    fn a_manifest_is_the_one_its_path_names() {
        let manifest = manifest("curated", &[]);
        let check = |path: &str| super::check(&manifest, path).is_ok();
        assert!(check("curated/drv@1.json"));
        assert!(!check("curated/drv@2.json"));
        assert!(!check("curated/other@1.json"));
        assert!(!check("by-id/pci-10ec/drv@1.json"));
    }
}
