//! A machine that synchronises with the published tree.

use std::path::Path;

use dkms_index::trust::{Answer, Exchange, Expiry, Kept, Refresh, SegmentWant};

use super::now;
use crate::files;
use crate::verify::{Tree, VerifyError};

/// What a machine has: the root it was shipped with, and what it kept.
#[derive(Clone)]
pub(super) struct Machine {
    pinned: Vec<u8>,
    kept: Kept,
}

impl Machine {
    pub(super) fn fresh(path: &Path) -> Self {
        Self {
            pinned: files::read(&path.join("public/metadata/1.root.json")).unwrap(),
            kept: Kept::new(),
        }
    }

    /// One that synchronised with the repository as it is.
    pub(super) fn synced(path: &Path) -> Self {
        let mut machine = Self::fresh(path);
        let tree = Tree::at(&path.join("public"));
        let mut refresh = Refresh::start(&machine.pinned, Kept::new(), now(), Expiry::Enforce).unwrap();
        while let Some(want) = refresh.want() {
            let bytes = tree.get(&want).unwrap();
            refresh
                .feed(bytes.as_deref().map_or(Answer::Absent, Answer::Bytes))
                .unwrap();
            for change in refresh.changes() {
                change.apply(&mut machine.kept);
            }
        }
        machine
    }
}

/// Synchronises with a tree that becomes another one after so many requests, and lists the versions on offer.
pub(super) fn versions(
    machine: &Machine,
    first: &Tree,
    then: &Tree,
    requests: usize,
) -> Result<Vec<String>, VerifyError> {
    let mut count = 0;
    let mut get = |want: &dkms_index::trust::Want| {
        count += 1;
        let tree = if count <= requests { first } else { then };
        tree.get(want)
    };
    let mut refresh = Refresh::start(&machine.pinned, machine.kept.clone(), now(), Expiry::Enforce)?;
    while let Some(want) = refresh.want() {
        let bytes = get(&want)?;
        refresh.feed(bytes.as_deref().map_or(Answer::Absent, Answer::Bytes))?;
    }
    let mut metadata = refresh.finish()?;
    let mut records = Vec::new();
    let mut fetch = metadata.fetch_index(&[])?;
    while let Some(SegmentWant::Download(want)) = fetch.want()? {
        let bytes = get(&want)?;
        let segment = fetch.feed(bytes.as_deref().map_or(Answer::Absent, Answer::Bytes))?;
        records.extend(segment.records().map(Result::unwrap));
    }
    fetch.finish()?;
    let mut versions = Vec::new();
    for record in records {
        let dkms_index::document::record::Record::Package(package) = record else {
            continue;
        };
        let mut fetch = metadata.fetch_manifest(&package.manifest);
        while let Some(want) = fetch.want() {
            let bytes = get(&want)?;
            fetch.feed(bytes.as_deref().map_or(Answer::Absent, Answer::Bytes))?;
        }
        versions.push(fetch.finish()?.manifest().version.clone());
    }
    Ok(versions)
}
