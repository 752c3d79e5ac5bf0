//! Compares the aliases of built modules with the manifest of their package and the scope of the role that signed it. udev loads a
//! module for every device that its aliases match, so the role must be allowed to sign them. Pure functions over values.

use std::collections::BTreeSet;

use dkms_index::document::manifest::{Manifest, Scope};
use dkms_index::pattern::Pattern;

/// An alias of a built module that the manifest does not list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Alias {
    /// The module.
    pub(super) module: String,
    /// The pattern, as in the module.
    pub(super) text: String,
}

/// The aliases of the built modules that the manifest does not list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Unlisted {
    /// Those outside the scope of the role that signed the manifest: the package is refused.
    pub(super) outside: BTreeSet<Alias>,
    /// Those within it: device tables differ by kernel.
    pub(super) within: BTreeSet<Alias>,
}

/// Sorts the aliases of built modules, each with the module's name.
pub(super) fn unlisted<'a>(manifest: &Manifest, built: impl IntoIterator<Item = (&'a str, &'a str)>) -> Unlisted {
    let modules = manifest.modules.iter();
    let listed: BTreeSet<&str> = modules
        .flat_map(|module| {
            module
                .aliases
                .iter()
                .chain(&module.declared)
                .chain(&module.other_aliases)
        })
        .map(String::as_str)
        .collect();
    let scope = manifest.scope();
    let mut found = Unlisted::default();
    for (module, text) in built.into_iter().filter(|(_, text)| !listed.contains(text)) {
        let alias = Alias {
            module: module.to_owned(),
            text: text.to_owned(),
        };
        if is_within(scope, text) {
            found.within.insert(alias);
        } else {
            found.outside.insert(alias);
        }
    }
    found
}

/// Whether a role of this scope may sign the alias. A vendor's may sign only what literally names its bus and vendor id.
fn is_within(scope: Option<Scope>, alias: &str) -> bool {
    match scope {
        Some(Scope::Curated) => true,
        Some(Scope::Vendor(vendor)) => Pattern::parse(alias).is_ok_and(|pattern| pattern.vendor_id() == Some(vendor)),
        None => false,
    }
}

/// Some of them for a sentence: the first three, and how many more there are.
pub(super) fn some_of(aliases: &BTreeSet<Alias>) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<&str> = aliases.iter().take(SHOWN).map(|alias| alias.text.as_str()).collect();
    let shown = shown.join(", ");
    match aliases.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::recipe::tests::manifest;

    const LISTED: &str = "pci:v00001234d000011E8sv*sd*bc*sc*i*";

    fn check(scope: &str, alias: &str, outside: bool, within: bool) {
        let modules = serde_json::json!([{"name": "edu", "aliases": [LISTED]}]);
        let manifest = manifest(scope, modules, serde_json::json!({}));
        let found = unlisted(&manifest, [("edu", LISTED), ("edu", alias)]);
        assert_eq!(
            (!found.outside.is_empty(), !found.within.is_empty()),
            (outside, within),
            "{alias} in {scope}"
        );
    }

    #[test]
    fn a_vendors_module_claims_that_vendors_devices_only() {
        let vendor = "by-id/pci-1234";
        check(vendor, LISTED, false, false);
        check(vendor, "pci:v00001234d000011E9sv*sd*bc*sc*i*", false, true);
        check(vendor, "pci:v000010ECd00008168sv*sd*bc*sc*i*", true, false);
        check(vendor, "pci:v*d*sv*sd*bc02sc00i*", true, false);
        check(vendor, "pci:v0000123[34]d*sv*sd*bc*sc*i*", true, false);
        check(vendor, "usb:v1234p0001d*dc*dsc*dp*ic*isc*ip*in*", true, false);
        check(vendor, "virtio:d00000001v*", true, false);
        check(vendor, "fs-ext4", true, false);
        check(vendor, "char-major-10-200", true, false);
        check(vendor, "*", true, false);
        check(vendor, "", true, false);
        check("by-id/..", "pci:v00001234d000011E9sv*sd*bc*sc*i*", true, false);
    }

    #[test]
    fn the_curated_role_may_sign_anything() {
        check("curated", LISTED, false, false);
        check("curated", "pci:v000010ECd00008168sv*sd*bc*sc*i*", false, true);
        check("curated", "fs-ext4", false, true);
    }

    #[test]
    fn aliases_of_no_device_can_be_listed_too() {
        let modules = serde_json::json!([{"name": "edu", "aliases": [LISTED], "other_aliases": ["char-major-10-200"]}]);
        let manifest = manifest("curated", modules, serde_json::json!({}));
        let found = unlisted(&manifest, [("edu", "char-major-10-200"), ("edu", "char-major-10-201")]);
        let texts: Vec<&str> = found.within.iter().map(|alias| alias.text.as_str()).collect();
        assert_eq!((texts, found.outside.len()), (vec!["char-major-10-201"], 0));
    }

    #[test]
    fn a_sentence_has_room_for_three() {
        let aliases = |n: usize| -> BTreeSet<Alias> {
            let alias = |n| Alias {
                module: "m".to_owned(),
                text: format!("a{n}"),
            };
            (0..n).map(alias).collect()
        };
        assert_eq!(some_of(&aliases(1)), "a0");
        assert_eq!(some_of(&aliases(3)), "a0, a1, a2");
        assert_eq!(some_of(&aliases(5)), "a0, a1, a2 and 2 more");
    }
}
