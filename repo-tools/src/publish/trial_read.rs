//! Reads a release with the code that machines run, before it becomes visible.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use dkms_index::trust::{Answer, Expiry, Kept, Refresh, SegmentWant};
use jiff::Timestamp;

use super::PublishError;
use super::content::Content;
use super::release::Release;
use crate::files::FileError;
use crate::verify::{Tree, VerifyError};

/// Reads the tree at `public` as a machine would once the release's root and timestamp are in it; its other files are
/// there already. One manifest of every role that was signed again is fetched, too.
///
/// Expired metadata that could not be signed again because keys are missing is reported elsewhere and does not stop a release.
pub fn trial_read(public: &Path, content: &Content, release: &Release, now: Timestamp) -> Result<(), PublishError> {
    let mut overlay = BTreeMap::new();
    if let Some((name, bytes)) = &release.root {
        overlay.insert(format!("metadata/{name}"), bytes.clone());
    }
    if let Some(bytes) = &release.timestamp {
        overlay.insert("metadata/timestamp.json".to_owned(), bytes.clone());
    }
    let tree = Tree::with_overlay(public, overlay);
    read(&tree, content, now).map_err(|error| PublishError::Unreadable(Box::new(error)))
}

fn read(tree: &Tree, content: &Content, now: Timestamp) -> Result<(), VerifyError> {
    let pinned = tree.root(1)?;
    let mut refresh = Refresh::start(&pinned, Kept::new(), now, Expiry::AllowStale)?;
    tree.drive(&mut refresh)?;
    let mut metadata = refresh.finish()?;

    let mut fetch = metadata.fetch_index(&[])?;
    while let Some(SegmentWant::Download(want)) = fetch.want()? {
        let bytes = tree.get(&want)?;
        let segment = fetch.feed(bytes.as_deref().map_or(Answer::Absent, Answer::Bytes))?;
        // Its bytes are the signed ones; each line of them was read when it was made or published.
        if content.read.contains(&segment.info().decoded_sha256) {
            continue;
        }
        if let Some(Err(error)) = segment.records().find(Result::is_err) {
            return Err(VerifyError::Record(error));
        }
    }
    let _whole = fetch.finish()?;

    let mut asked = BTreeSet::new();
    let offline = |role: &&String| !super::is_of_index(role);
    for role in content.roles.keys().filter(offline) {
        let Some(path) = content.roles[role].keys().next() else {
            continue;
        };
        if asked.insert(path) {
            let mut fetch = metadata.fetch_manifest(path);
            tree.drive(&mut fetch)?;
            fetch.finish()?;
        }
    }
    Ok(())
}

impl Tree {
    /// The root with this version.
    fn root(&self, version: u64) -> Result<Vec<u8>, FileError> {
        let path = format!("metadata/{version}.root.json");
        self.read(&path)
    }
}
