//! From an offer of the index to a verified source on disk. The index is a hint: here its manifest, which is the authority, is
//! fetched and has to say the same.

use std::path::PathBuf;

use dkms_index::document::manifest::Manifest;
use dkms_index::pattern::Pattern;
use dkms_index::trust::TrustedMetadata;

use super::{Cause, Failure};
use crate::candidate::Offer;
use crate::device::Device;
use crate::error_chain::{chain, is_disk_full};
use crate::fetch::{self, FetchError, SourceTree, Store};
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
    /// The verified source of `offer`, which is to serve `devices`.
    ///
    /// # Errors
    /// What went wrong and where its cause lies.
    pub async fn package(
        &mut self,
        offer: &Offer,
        devices: &[&Device],
        reporter: &Reporter,
    ) -> Result<Obtained, Failure> {
        let found = self
            .repositories
            .iter_mut()
            .find(|(s, _)| s.repository().name.as_str() == offer.id.repository);
        let Some((session, metadata)) = found else {
            let reason = format!("repository {} could not be reached", offer.id.repository);
            return Err(Failure::of(Cause::Network, reason));
        };
        let trusted = session
            .manifest(metadata, &offer.record.manifest)
            .await
            .map_err(|e| failure(&e.into()))?;
        agrees(offer, trusted.manifest(), devices)?;
        let length = trusted.manifest().bundle.length;
        reporter.report(ProgressEvent::Fetching {
            package: offer.id.clone(),
            length,
        });
        let mut progress = |received: u64| reporter.received(&offer.id, received, length);
        let bundle = self
            .store
            .bundle(&trusted, session, &mut progress)
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

/// Whether the authority says what the index said: the same package from the same bytes, for every device it is to serve.
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
    if (&manifest.name, &manifest.version) != (&record.name, &record.version) {
        return refuse("it is of another package");
    }
    if manifest.dkms_version() != record.dkms_version() {
        return refuse("the version in the DKMS tree differs");
    }
    if manifest.bundle != record.bundle {
        return refuse("the bundle differs");
    }
    if manifest
        .recipe
        .root_scripts
        .iter()
        .any(|script| !record.recipe.root_scripts.contains(script))
    {
        return refuse("it runs more scripts as root");
    }
    let patterns: Vec<Pattern> = manifest.patterns().filter_map(|text| text.parse().ok()).collect();
    let claims = |device: &&Device| device.modaliases.iter().any(|m| patterns.iter().any(|p| p.matches(m)));
    match devices.iter().find(|device| !claims(device)) {
        Some(device) => refuse(&format!("it does not claim {}", device.title())),
        None => Ok(()),
    }
}

/// Where the cause of it lies that a source could not be had.
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
