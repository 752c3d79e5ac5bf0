//! Packages as people name them: `NAME`, `NAME/VERSION`, `NAME=VERSION` as apt has it, `NAME@VERSION` as manifests have it, and
//! `NAME-dkms` as Debian calls its packages.

use std::collections::BTreeSet;
use std::sync::Arc;

use dkms_engine::tree::Tree;
use dkms_index::version;

use super::context::Context;
use super::failure::Failure;
use super::nearest::nearest;
use crate::candidate::{self, Facts, Offer};
use crate::state::StateError;
use crate::state::index::Index;
use crate::state::records::Records;
use crate::survey::Offers;

/// The name and the version, if one is given.
pub(super) fn parse(text: &str) -> (&str, Option<&str>) {
    match text.split_once(['/', '=', '@']) {
        Some((name, version)) => (name, Some(version)),
        None => (text, None),
    }
}

/// The best of the offers that a person means. With `facts`, an offer that is admitted goes before one that is not, and the one with
/// better trial builds before others; then the priority of the repository decides, then the version.
pub(super) fn find(
    context: &Context,
    index: &Index,
    text: &str,
    facts: Option<Facts<'_>>,
) -> Result<Arc<Offer>, Failure> {
    let (name, wanted) = parse(text);
    let named = |name: &str| Offers::new(index, &context.config.repositories).named(name);
    let mut offers = named(name)?;
    if offers.is_empty()
        && let Some(name) = name.strip_suffix("-dkms")
    {
        offers = named(name)?;
    }
    let is_known = !offers.is_empty();
    offers.retain(|offer| wanted.is_none_or(|v| v == offer.id.version || v == offer.record.dkms_version()));
    let proof = |offer: &Offer| facts.map(|facts| candidate::admit(offer, facts).ok());
    offers.sort_by(|a, b| {
        proof(b)
            .cmp(&proof(a))
            .then_with(|| b.priority.cmp(&a.priority))
            .then_with(|| version::compare(&b.id.version, &a.id.version))
    });
    match offers.into_iter().next() {
        Some(offer) => Ok(offer),
        None if is_known => Err(Failure::UnknownPackage {
            name: text.to_owned(),
            nearest: vec![name.to_owned()],
        }),
        None => Err(Failure::UnknownPackage {
            name: text.to_owned(),
            nearest: nearest(name, &index.names()?),
        }),
    }
}

/// The names of all packages that this machine knows: from its repositories, in its tree, held or quarantined.
///
/// # Errors
/// When the index or the records are damaged.
pub(super) fn known(index: &Index, tree: &Tree, records: &Records) -> Result<BTreeSet<String>, StateError> {
    let mut names = index.names()?;
    names.extend(tree.packages().into_iter().map(|package| package.module));
    names.extend(records.holds()?.into_iter().map(|hold| hold.package));
    names.extend(records.quarantined()?.into_iter().map(|entry| entry.package));
    Ok(names)
}

/// The name among `known` that `text` means: with or without a version, or as Debian calls its package.
///
/// # Errors
/// Names that are near, where `known` does not have this one.
pub(super) fn resolve<'a>(text: &'a str, known: &BTreeSet<String>) -> Result<&'a str, Failure> {
    let name = parse(text).0;
    let without_suffix = name.strip_suffix("-dkms").unwrap_or(name);
    [name, without_suffix]
        .into_iter()
        .find(|name| known.contains(*name))
        .ok_or_else(|| Failure::UnknownPackage {
            name: name.to_owned(),
            nearest: nearest(name, known),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_and_without_a_version() {
        let check = |text: &str, expected: (&str, Option<&str>)| assert_eq!(parse(text), expected);
        check("r8168", ("r8168", None));
        check("r8168/8.051.02-2", ("r8168", Some("8.051.02-2")));
        check("r8168=8.051", ("r8168", Some("8.051")));
        check("r8168@8.051", ("r8168", Some("8.051")));
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn names_are_read_as_people_write_them() {
        let known = names(&["r8168", "foo-dkms"]);
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(resolve(text, &known).ok(), expected, "{text}");
        };
        check("r8168", Some("r8168"));
        check("r8168/8.051", Some("r8168"));
        check("r8168=8.051", Some("r8168"));
        check("r8168@8.051", Some("r8168"));
        check("r8168-dkms", Some("r8168"));
        check("foo-dkms", Some("foo-dkms"));
        check("foo", None);
    }
}
