//! What the last publication knew of each staged package, so that the next one reads only what changed.
//!
//! `cache/published` of the working directory. It decides nothing but whether a package is still what was published: the target of its
//! manifest is taken from the published role and its line from the published index, where both have the hashes that are noted here.
//! So the worst that a wrong entry could do is to leave a published state of a package as it is. Whatever does not fit makes a
//! publication read and check all, as the first one does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;

use dkms_index::document::BundleRef;
use dkms_index::document::manifest::Manifest;
use serde::{Deserialize, Serialize};

use super::segments::{Index, decoded_sha256};
use super::{PublishError, Published};
use crate::files::{self, Directory, FileError, Stamp};
use crate::repository::Repository;
use crate::signed::Target;
use crate::stage::PackageStamp;

/// The revision of the checks of a publication. Raised with every change of what is refused, so that all is checked again.
const REVISION: u32 = 1;

/// What is known, and the state of the index that it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// Who checked the packages.
    program: String,
    /// `segment_bytes`, which bounds the length of a line.
    segment_bytes: usize,
    /// The hashes of the lines of each segment.
    segments: Vec<String>,
    /// In the order of their lines, which are the first ones of the index.
    packages: Vec<Entry>,
    /// The directories of names all versions of which are in `packages`.
    directories: BTreeMap<String, Stamp>,
}

/// What is known of one package version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    name: String,
    version: String,
    /// The directory of its manifest.
    pub(super) scope: String,
    /// The manifest's hash and length.
    sha256: String,
    length: u64,
    pub(super) bundle: BundleRef,
    /// The two staged documents; none if they may change without another stamp.
    staged: Option<PackageStamp>,
    /// The manifest in the published tree.
    published: Option<Stamp>,
}

impl Entry {
    /// That of a package whose documents had this stamp before they were read.
    pub(super) fn of(manifest: &Manifest, target: &Target, staged: Option<PackageStamp>) -> Self {
        Self {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            scope: manifest.scope.clone(),
            sha256: target.sha256().to_owned(),
            length: target.length,
            bundle: manifest.bundle.clone(),
            staged,
            published: None,
        }
    }

    /// The target path of the manifest.
    pub(super) fn path(&self) -> String {
        format!("{}/{}@{}.json", self.scope, self.name, self.version)
    }

    /// The manifest's target, if the published role still has it.
    pub(super) fn target_in<'a>(&self, published: &'a Published, role: &str) -> Option<&'a Target> {
        let target = published.roles.get(role)?.signed.targets.get(&self.path())?;
        (target.sha256() == self.sha256 && target.length == self.length && target.custom.is_none()).then_some(target)
    }

    fn stamp_in(&self, public: &Directory) -> Option<Stamp> {
        let file = format!(
            "targets/{}/{}.{}@{}.json",
            self.scope, self.sha256, self.name, self.version
        );
        public.stamp(&file).ok()?
    }
}

/// What is known of the published index: the lines are those of its segments.
#[derive(Default)]
pub(super) struct Lines<'a> {
    /// By name and version.
    packages: HashMap<String, BTreeMap<String, (Entry, &'a [u8])>>,
    directories: BTreeMap<String, Stamp>,
}

impl Lines<'_> {
    /// The versions of a name whose directory has this stamp, if they are known.
    pub(super) fn versions(&self, name: &str, directory: Option<&Stamp>) -> Option<Vec<String>> {
        let is_same = directory.is_some() && self.directories.get(name) == directory;
        is_same.then(|| {
            self.packages
                .get(name)
                .into_iter()
                .flat_map(BTreeMap::keys)
                .cloned()
                .collect()
        })
    }

    /// What is known of a package version whose staged documents have this stamp, with its line, if that is still true and its manifest
    /// is in the tree as it was written.
    pub(super) fn unchanged(
        &self,
        name: &str,
        version: &str,
        staged: Option<&PackageStamp>,
        public: &Directory,
    ) -> Option<(&Entry, &[u8])> {
        let (entry, line) = self.packages.get(name)?.get(version)?;
        let is_same = staged.is_some() && entry.staged.as_ref() == staged;
        (is_same && entry.published.is_some() && entry.published == entry.stamp_in(public)).then_some((entry, line))
    }
}

impl Known {
    /// Nothing yet.
    pub(super) fn new(repository: &Repository) -> Self {
        Self {
            program: format!("{} {REVISION}", env!("CARGO_PKG_VERSION")),
            segment_bytes: repository.config().segment_bytes,
            segments: Vec::new(),
            packages: Vec::new(),
            directories: BTreeMap::new(),
        }
    }

    /// What is known of the packages in `index`; nothing where another index was published since.
    pub(super) fn of<'a>(repository: &Repository, index: &'a Index) -> Result<Lines<'a>, FileError> {
        let mut lines = Lines::default();
        if let Some(known) = Self::load(repository)?
            && index.state().is_some_and(|state| known.segments == state)
        {
            for (entry, line) in known.packages.into_iter().zip(index.lines()) {
                let versions = lines.packages.entry(entry.name.clone()).or_default();
                versions.insert(entry.version.clone(), (entry, line));
            }
            lines.directories = known.directories;
        }
        Ok(lines)
    }

    /// The segments all lines of which were read as a machine does by this revision of the program.
    pub(super) fn read_before(repository: &Repository) -> Result<BTreeSet<String>, FileError> {
        Ok(Self::load(repository)?
            .map(|known| known.segments.into_iter().collect())
            .unwrap_or_default())
    }

    /// Remembers the directory of a name, as it was before its versions were listed. If one of them is not remembered, neither is it.
    pub(super) fn directory(&mut self, name: String, stamp: Option<Stamp>) {
        self.directories.extend(stamp.map(|stamp| (name, stamp)));
    }

    /// Says that a version of this name is not remembered, though its directory is there.
    pub(super) fn leaves_out(&mut self, name: &str) {
        self.directories.remove(name);
    }

    /// Remembers a package.
    pub(super) fn keep(&mut self, entry: Entry) {
        self.packages.push(entry);
    }

    /// Says which index the packages are in.
    pub(super) fn is_of(&mut self, segments: Vec<String>) {
        self.segments = segments;
        self.packages
            .sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    }

    fn load(repository: &Repository) -> Result<Option<Self>, FileError> {
        let Some(bytes) = files::read_if_exists(&repository.known_file())? else {
            return Ok(None);
        };
        // Anything but what this program wrote last is as good as nothing.
        let known = || {
            let (sha256, rest) = bytes.split_at_checked(64)?;
            let is_whole = decoded_sha256(rest).as_bytes() == sha256;
            let known: Self = is_whole.then(|| serde_json::from_slice(rest).ok())??;
            let expected = Self::new(repository);
            ((&known.program, known.segment_bytes) == (&expected.program, expected.segment_bytes)).then_some(known)
        };
        Ok(known())
    }

    /// Writes it, after all of it was published under the lock of this run.
    pub(super) fn save(mut self, repository: &Repository) -> Result<(), PublishError> {
        let (public, begin) = (Directory::open(&repository.public_dir())?, repository.lock_file());
        let begin = fs::metadata(&begin).map_err(FileError::on("read", &begin))?;
        // The lock was written when this run began.
        let begin = (begin.mtime(), begin.mtime_nsec());
        self.directories.retain(|_, stamp| stamp.is_settled(begin));
        for entry in &mut self.packages {
            entry.staged.take_if(|stamp| !stamp.is_settled(begin));
            if entry.published.is_none() {
                entry.published = entry.stamp_in(&public);
            }
        }
        let text = serde_json::to_vec(&self).unwrap_or_default();
        let bytes = [decoded_sha256(&text).as_bytes(), &text].concat();
        let path = repository.known_file();
        if files::read_if_exists(&path)?.is_none_or(|old| old != bytes) {
            files::write_atomic(&path, &bytes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
