//! The names of packages in the DKMS tree and in `/usr/src`. A name is unique there, and two vendors may use one name: the first
//! that is installed gets it, and the role is appended to the name of the other.

use std::collections::BTreeMap;

use crate::candidate::PackageKey;

/// The name of a package in the DKMS tree, where `taken` are the names that packages have already.
pub(super) fn tree_name(package: &PackageKey, taken: &BTreeMap<String, PackageKey>) -> String {
    if let Some((name, _)) = taken.iter().find(|(_, owner)| owner.is_same(package)) {
        return name.clone();
    }
    let role = package.scope.rsplit('/').next().unwrap_or_default();
    let qualified = format!("{}.{role}", package.name);
    let mut names = [package.name.clone(), qualified.clone()]
        .into_iter()
        .chain((2..).map(|n| format!("{qualified}.{n}")));
    names.find(|name| !taken.contains_key(name)).unwrap_or(qualified)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_has_the_name_and_keeps_it() {
        let key = |scope: &str, name: &str| PackageKey {
            scope: scope.into(),
            name: name.into(),
        };
        let check = |package: PackageKey, taken: &[(&str, PackageKey)], expected: &str| {
            let taken = taken.iter().map(|(name, owner)| ((*name).to_owned(), owner.clone()));
            assert_eq!(tree_name(&package, &taken.collect()), expected, "{package:?}");
        };
        let (ours, theirs) = (key("by-id/pci-1234", "edu"), key("by-id/pci-10ec", "edu"));
        check(ours.clone(), &[], "edu");
        check(ours.clone(), &[("edu", ours.clone())], "edu");
        check(theirs.clone(), &[("edu", ours.clone())], "edu.pci-10ec");
        check(
            theirs.clone(),
            &[("edu", ours.clone()), ("edu.pci-10ec", theirs.clone())],
            "edu.pci-10ec",
        );
        // A package with the very name that ours would get.
        let squatter = key("by-id/pci-1234", "edu.pci-10ec");
        check(
            theirs,
            &[("edu", ours.clone()), ("edu.pci-10ec", squatter)],
            "edu.pci-10ec.2",
        );
        // Installed before roles were recorded.
        check(ours, &[("edu", key("", "edu"))], "edu");
    }
}
