//! Packages as people name them: `NAME`, `NAME/VERSION`, `NAME=VERSION` as apt has it, `NAME@VERSION` as manifests have it, and
//! `NAME-dkms` as Debian calls its packages.

use std::sync::Arc;

use dkms_index::version;

use super::context::Context;
use super::failure::Failure;
use super::nearest::nearest;
use crate::candidate::{self, Facts, Offer};
use crate::state::index::Index;
use crate::survey::Offers;

/// The name and the version, if one is given.
pub(super) fn parse(text: &str) -> (&str, Option<&str>) {
    match text.split_once(['/', '=', '@']) {
        Some((name, version)) => (name, Some(version)),
        None => (text, None),
    }
}

/// The offers that a person means, the best first: of a repository with priority, proven, then newest. Only admitted ones
/// are taken if there are any, so that the reason for a refusal is that of the best.
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
}
