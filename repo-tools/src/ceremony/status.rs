//! How far the signatures of prepared documents are, as it is printed.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use super::document::Document;
use super::need::Need;
use crate::signed::SignError;

/// One document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Its file.
    pub file: PathBuf,
    /// Its role.
    pub role: String,
    /// Its version.
    pub version: u64,
    /// The end of its lifetime.
    pub expires: Timestamp,
    /// What it changes, in sentences.
    pub changes: Vec<String>,
    /// Who has to sign it.
    pub needs: Vec<NeedStatus>,
    /// Whether all have signed without whom it cannot be published.
    pub complete: bool,
}

/// One of those who have to sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NeedStatus {
    /// Which metadata says so.
    pub of: String,
    /// How many have to sign.
    pub threshold: usize,
    /// The ids of the keys that have.
    pub signed: Vec<String>,
    /// The ids of the keys that have not.
    pub missing: Vec<String>,
    /// Whether nothing can be published without them.
    pub required: bool,
}

/// A prepared change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SetStatus {
    /// Its number.
    pub number: u64,
    /// Its directory.
    pub directory: PathBuf,
    /// The command that prepared it.
    pub what: String,
    /// Its documents.
    pub documents: Vec<Status>,
}

impl NeedStatus {
    /// How many more have to sign.
    pub fn lacking(&self) -> usize {
        self.threshold.saturating_sub(self.signed.len())
    }
}

impl Status {
    /// How far `document` in `file` is.
    ///
    /// # Errors
    /// When it has no canonical form.
    pub(super) fn of(
        file: PathBuf,
        document: &Document,
        needs: &[Need],
        changes: Vec<String>,
    ) -> Result<Self, SignError> {
        let message = document.message()?;
        let needs: Vec<NeedStatus> = needs
            .iter()
            .map(|need| {
                let signed = need.signed_by(&message, document);
                let missing = need.keys.keyids.iter().filter(|id| !signed.contains(*id));
                NeedStatus {
                    of: need.of.clone(),
                    threshold: need.keys.threshold,
                    missing: missing.cloned().collect(),
                    signed: signed.into_iter().collect(),
                    required: need.is_required,
                }
            })
            .collect();
        Ok(Self {
            file,
            role: document.role.clone(),
            version: document.body.version(),
            expires: document.body.expires(),
            changes,
            complete: !needs.is_empty() && needs.iter().all(|need| !need.required || need.lacking() == 0),
            needs,
        })
    }
}

impl SetStatus {
    /// Whether it can be published: all signatures are there that have to be, and with `bridged` also those that spare machines a refusal.
    pub(super) fn is_complete(&self, bridged: bool) -> bool {
        let mut needs = self.documents.iter().flat_map(|document| &document.needs);
        self.documents.iter().all(|document| document.complete) && needs.all(|need| need.lacking() == 0 || !bridged)
    }
}
