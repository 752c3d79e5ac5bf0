//! Whether a record of the index says only what the manifest says that it names.
//!
//! The index is signed by an online key, and a reader makes its plan from it. So everything in a record that decides what is
//! installed, where and beside what must be in the manifest, which an offline role signed; else the index key alone could decide it.

use std::collections::BTreeSet;

use super::manifest::Manifest;
use super::record::PackageRecord;

/// A difference between a record and the manifest that it names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// A field differs.
    #[error("the index record and the manifest differ in {0}")]
    Field(&'static str),
    /// The record claims devices that the manifest does not.
    #[error("the index record claims the pattern {0}, the manifest does not")]
    Pattern(String),
}

impl Manifest {
    /// All differences of `record`. Patterns may be fewer than here; everything else that both have must be equal.
    /// Build facts, rollout and status are the record's own: they can only hold a package back.
    pub fn disagreements(&self, record: &PackageRecord) -> Vec<Disagreement> {
        let (recipe, claimed) = (&self.recipe, &record.recipe);
        let modules: BTreeSet<&str> = self.modules.iter().map(|module| module.name.as_str()).collect();
        let claimed_modules: BTreeSet<&str> = record.modules.iter().map(String::as_str).collect();
        let fields = [
            ("name", self.name == record.name),
            ("version", self.version == record.version),
            ("dkms_version", self.dkms_version() == record.dkms_version()),
            ("manifest", self.target_path() == record.manifest),
            ("bundle", self.bundle == record.bundle),
            ("modules", modules == claimed_modules),
            ("recipe.kernel_min", recipe.kernel_min == claimed.kernel_min),
            ("recipe.kernel_max", recipe.kernel_max == claimed.kernel_max),
            ("recipe.kernel_regex", recipe.kernel_regex == claimed.kernel_regex),
            ("recipe.arch_regex", recipe.arch_regex == claimed.arch_regex),
            ("recipe.config", same(&recipe.config, &claimed.config)),
            (
                "recipe.build_depends",
                same(&recipe.build_depends, &claimed.build_depends),
            ),
            ("recipe.root_scripts", same(&recipe.root_scripts, &claimed.root_scripts)),
            ("upstream_since", self.upstream_since == record.upstream_since),
            ("conflicts", same(&self.conflicts, &record.conflicts)),
            ("oem_sets", same(&self.oem_sets, &record.oem_sets)),
        ];
        let patterns: BTreeSet<&str> = self.patterns().collect();
        let unclaimed = record.patterns.iter().filter(|p| !patterns.contains(p.as_str()));
        fields
            .into_iter()
            .filter(|(_, equal)| !equal)
            .map(|(field, _)| Disagreement::Field(field))
            .chain(unclaimed.cloned().map(Disagreement::Pattern))
            .collect()
    }
}

/// Whether two lists hold the same entries, in any order.
fn same(a: &[String], b: &[String]) -> bool {
    let set = |list: &[String]| list.iter().cloned().collect::<BTreeSet<_>>();
    set(a) == set(b)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A value at a path of keys in the record is replaced.
    fn check(path: &str, value: Value, expected: &[&str]) {
        let pattern = "pci:v00001234d000011E8sv*sd*bc*sc*i*";
        let bundle = json!({"sha256": "a".repeat(64), "length": 1, "format": "tar-zst"});
        let manifest: Manifest = serde_json::from_value(json!({
            "schema": 1, "name": "x", "version": "1", "scope": "curated", "bundle": bundle,
            "modules": [{"name": "x", "aliases": [pattern]}, {"name": "y"}],
            "recipe": {"build_depends": ["a", "b"]}
        }))
        .unwrap();
        let mut record = json!({
            "name": "x", "version": "1", "manifest": "curated/x@1.json", "bundle": bundle,
            "modules": ["y", "x"], "patterns": [pattern], "recipe": {"build_depends": ["b", "a"]}
        });
        if !path.is_empty() {
            let (parent, field) = path.rsplit_once('/').unwrap();
            record.pointer_mut(parent).unwrap()[field] = value;
        }
        let record: PackageRecord = serde_json::from_value(record).unwrap();
        let found: Vec<String> = manifest
            .disagreements(&record)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, expected, "{path}");
    }

    #[test]
    fn everything_that_decides_is_compared() {
        check("", Value::Null, &[]);
        check("/patterns", json!([]), &[]);
        check("/status", json!("withdrawn"), &[]);
        check(
            "/patterns",
            json!(["usb:v1234p*"]),
            &["the index record claims the pattern usb:v1234p*, the manifest does not"],
        );
        // Without `dkms_version`, this is the version in the DKMS tree too.
        let differs = |field: &str| format!("the index record and the manifest differ in {field}");
        check("/version", json!("2"), &[&differs("version"), &differs("dkms_version")]);
        let fields = [
            ("/dkms_version", json!("2")),
            ("/manifest", json!("by-id/pci-1234/x@1.json")),
            (
                "/bundle",
                json!({"sha256": "b".repeat(64), "length": 1, "format": "tar-zst"}),
            ),
            ("/modules", json!(["x"])),
            ("/recipe/kernel_min", json!("5.0")),
            ("/recipe/kernel_max", json!("5.0")),
            ("/recipe/kernel_regex", json!("^5")),
            ("/recipe/arch_regex", json!("arm")),
            ("/recipe/config", json!(["CONFIG_X"])),
            ("/recipe/build_depends", json!(["a", "b", "c"])),
            ("/recipe/root_scripts", json!(["post_install"])),
            ("/upstream_since", json!("6.5")),
            ("/conflicts", json!(["y"])),
            ("/oem_sets", json!(["dmi:*"])),
        ];
        for (path, value) in fields {
            let field = path.trim_start_matches('/').replace('/', ".");
            check(
                path,
                value,
                &[&format!("the index record and the manifest differ in {field}")],
            );
        }
    }
}
