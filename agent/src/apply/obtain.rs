//! From an offer of the index to a verified source on disk. The index is a hint: here its manifest, which is the authority, is
//! fetched and compared with it.

use std::path::PathBuf;

use dkms_index::document::manifest::Manifest;
use dkms_index::pattern::Pattern;
use dkms_index::trust::{TrustedManifest, TrustedMetadata};
use dkms_support::chain;

use super::{Cause, Failure};
use crate::candidate::Offer;
use crate::device::Device;
use crate::disk_full::is_disk_full;
use crate::fetch::{self, FetchError, SourceTree, Store};
use crate::plan::Step;
use crate::report::progress::{ProgressEvent, Reporter};
use crate::sync::Session;

/// Gets sources: the repositories of this run, and the store.
pub struct Obtain<'s, 'a> {
    /// Each repository with its verified metadata.
    pub repositories: Vec<(&'s Session<'a>, &'s mut TrustedMetadata)>,
    /// The bundles on this machine.
    pub store: Store,
    /// Where sources are unpacked before they are added.
    pub scratch: PathBuf,
}

/// A verified source.
#[derive(Debug)]
pub struct Obtained {
    /// What the manifest says.
    pub manifest: Manifest,
    /// The unpacked source.
    pub source: SourceTree,
}

impl Obtain<'_, '_> {
    /// The verified manifest of `offer`, which is to serve `devices`.
    ///
    /// # Errors
    /// What went wrong and where its cause lies.
    pub(super) async fn manifest(&mut self, offer: &Offer, devices: &[&Device]) -> Result<TrustedManifest, Failure> {
        let found = self
            .repositories
            .iter_mut()
            .find(|(session, _)| is_from(offer, session));
        let Some((session, metadata)) = found else {
            return Err(unreachable_repository(offer));
        };
        let trusted = session
            .manifest(metadata, &offer.record.manifest)
            .await
            .map_err(|e| failure(&e.into()))?;
        agrees(offer, trusted.manifest(), devices)?;
        Ok(trusted)
    }

    /// The source that a manifest names. Several can be fetched side by side.
    ///
    /// # Errors
    /// What went wrong and where its cause lies.
    pub(super) async fn source(
        &self,
        offer: &Offer,
        trusted: &TrustedManifest,
        reporter: &Reporter,
    ) -> Result<Obtained, Failure> {
        let found = self.repositories.iter().find(|(session, _)| is_from(offer, session));
        let Some((session, _)) = found else {
            return Err(unreachable_repository(offer));
        };
        let length = trusted.manifest().bundle.length;
        reporter.report(ProgressEvent::Fetching {
            package: offer.id.clone(),
            length,
        });
        let mut progress = |received: u64| reporter.received(&offer.id, received, length);
        let bundle = self
            .store
            .bundle(trusted, session, &mut progress)
            .await
            .map_err(|e| failure(&e))?;
        reporter.report(ProgressEvent::Fetched {
            package: offer.id.clone(),
        });
        let source = fetch::unpack(&bundle, &self.scratch).map_err(|e| failure(&e))?;
        Ok(Obtained {
            manifest: trusted.manifest().clone(),
            source,
        })
    }
}

fn is_from(offer: &Offer, session: &Session<'_>) -> bool {
    session.repository().name.as_str() == offer.id.repository
}

fn unreachable_repository(offer: &Offer) -> Failure {
    let reason = format!("repository {} could not be reached", offer.id.repository);
    Failure::of(Cause::Network, reason)
}

/// Whether the manifest says all that the index record says, and claims every device that the package is to serve.
fn agrees(offer: &Offer, manifest: &Manifest, devices: &[&Device]) -> Result<(), Failure> {
    let record = &offer.record;
    let refuse = |what: &str| {
        let reason = format!(
            "the signed manifest of {} does not agree with the index: {what}",
            offer.id
        );
        let hint = Some("tell the publisher of the repository; nothing of it was used".to_owned());
        Err(Failure {
            hint,
            ..Failure::of(Cause::Trust, reason)
        })
    };
    if let Some(disagreement) = manifest.disagreements(record).first() {
        return refuse(&disagreement.to_string());
    }
    let patterns: Vec<Pattern> = manifest.patterns().filter_map(|text| text.parse().ok()).collect();
    let claims = |device: &&Device| device.modaliases.iter().any(|m| patterns.iter().any(|p| p.matches(m)));
    match devices.iter().find(|device| !claims(device)) {
        Some(device) => refuse(&format!("it does not claim {}", device.title())),
        None => Ok(()),
    }
}

/// The steps that are there only for others, none of which has a verified manifest: an index record alone asks for them. `is_verified`
/// says whether the manifest of the step of a number is.
pub(super) fn unneeded(steps: &[Step], is_verified: impl Fn(usize) -> bool) -> Vec<usize> {
    let mut is_needed = vec![false; steps.len()];
    for (number, step) in steps.iter().enumerate().rev() {
        let is_own_goal = !step.serves.is_empty() || !steps.iter().any(|other| other.after.contains(&number));
        // Each step comes after those it needs, so that whoever needs this one was looked at already.
        is_needed[number] |= is_own_goal;
        if is_needed[number] && is_verified(number) {
            for &need in &step.after {
                if let Some(needed) = is_needed.get_mut(need) {
                    *needed = true;
                }
            }
        }
    }
    (0..steps.len())
        .filter(|&number| is_verified(number) && !is_needed[number])
        .collect()
}

/// The failure for a source that could not be fetched.
fn failure(error: &FetchError) -> Failure {
    let cause = match error {
        error if error.is_trust() => Cause::Trust,
        error if is_disk_full(error) => Cause::NoSpace,
        FetchError::Io { .. } => Cause::Machine,
        _ => Cause::Network,
    };
    let reason = chain(error);
    Failure {
        hint: error.hint(),
        ..Failure::of(cause, reason)
    }
}
