//! The targets of each role, and their files.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use dkms_index::document::BundleRef;
use dkms_index::document::manifest::SCHEMA;
use dkms_index::document::record::{OverrideRecord, Record};
use dkms_index::document::revocation::{self, Revocations};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::check::{Problems, Reason};
use super::known::{Entry, Known, Lines};
use super::lines::Line;
use super::segments::{Deltas, Index, Segment};
use super::{PublishError, Published, bundles, segments};
use crate::files::{self, Directory};
use crate::repository::Repository;
use crate::roles::{self, INDEX, REVOCATIONS};
use crate::signed::{Delegations, Target};
use crate::stage::{Stage, StageError, Stamps};

/// The targets of some roles; roles that are absent stay as they are.
#[derive(Debug, Default)]
pub struct Content {
    /// By role, then by target path.
    pub roles: BTreeMap<String, BTreeMap<String, Target>>,
    /// Files of targets that are new, or not known to be in the tree, by path below `targets/`, with the hash in the name.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The bundles that manifests name and that are not published yet.
    pub bundles: Vec<BundleRef>,
    /// Segments all lines of which this program has read as a machine does, by the hash of the lines.
    pub read: BTreeSet<String>,
    /// What to remember of the staged packages once this is published; none where only a part of it is.
    pub(super) remember: Option<Known>,
}

impl Content {
    fn add(&mut self, role: &str, path: &str, target: Target, bytes: Vec<u8>) {
        self.files.insert(target.file_path(path), bytes);
        self.refer(role, path, target);
    }

    /// Adds the index of an empty repository.
    pub fn index_of_nothing(&mut self, max_bytes: usize) -> Result<(), PublishError> {
        add_index(self, &[], max_bytes, None)
    }

    fn refer(&mut self, role: &str, path: &str, target: Target) {
        self.roles
            .entry(role.to_owned())
            .or_default()
            .insert(path.to_owned(), target);
    }
}

/// All that is staged: manifests, index and revocations.
pub fn of_stage(repository: &Repository, stage: &Stage, published: &Published) -> Result<Content, PublishError> {
    let mut content = Content::default();
    add_revocations(repository, &mut content)?;
    let delegations = published.delegations();
    for delegation in &delegations.roles {
        // Every role gets an entry, even an empty one, so that packages which are no longer staged are removed from its targets.
        content.roles.entry(delegation.name.clone()).or_default();
    }
    let mut problems = Problems::default();
    let public = Directory::open(&repository.public_dir())?;
    let stamps = stage.stamps()?;
    let index = index_of(published, public.path());
    let known = Known::of(repository, &index)?;
    let mut remember = Known::new(repository);
    let mut lines = overrides(repository, &mut problems)?;
    for (name, version) in versions(stage, &stamps, &known, &mut remember)? {
        let stamp = stamps.of(&name, &version)?;
        let kept = known.unchanged(&name, &version, stamp.as_ref(), &public);
        if let Some((entry, line)) = kept
            && let Some(role) = role_of_scope(&delegations, &entry.scope)
            && let Some(target) = entry.target_in(published, role)
            && bundles::is_published(&public, &entry.bundle)
        {
            content.refer(role, &entry.path(), target.clone());
            lines.push(Line {
                place: (false, name, version),
                bytes: Cow::Borrowed(line),
            });
            remember.keep(entry.clone());
            continue;
        }
        let title = format!("{name} {version}");
        let package = match stage.get(&name, &version) {
            Ok(package) => package,
            // A directory in which a writer is about to put the first documents.
            Err(StageError::NotStaged { .. }) => {
                remember.leaves_out(&name);
                continue;
            }
            Err(StageError::File(error)) => return Err(error.into()),
            Err(error) => {
                problems.push(&title, Reason::Staged(error));
                continue;
            }
        };
        problems.package(&title, &package, repository.config().segment_bytes);
        let manifest = &package.manifest;
        if let Some(what) = bundles::problem(stage, &public, &manifest.bundle)? {
            let sha256 = manifest.bundle.sha256.clone();
            problems.push(&title, Reason::Bundle { sha256, what });
        }
        match role_of_scope(&delegations, &manifest.scope) {
            Some(role) => {
                let bytes = document(&json!(manifest));
                let target = Target::of(&bytes, None);
                remember.keep(Entry::of(manifest, &target, stamp));
                content.add(role, &manifest.target_path(), target, bytes);
            }
            // An invalid scope was reported with the problems of the manifest.
            None if manifest.scope().is_some() => problems.push(&title, Reason::NotDelegated(manifest.scope.clone())),
            None => {}
        }
        if !bundles::is_published(&public, &manifest.bundle) {
            content.bundles.push(manifest.bundle.clone());
        }
        lines.push(problems.line(&title, &Record::Package(package.record))?);
    }
    lines.sort_by(|a, b| a.place.cmp(&b.place));
    problems.duplicates(&lines);
    problems.into_result()?;
    add_index(
        &mut content,
        &lines,
        repository.config().segment_bytes,
        Some((published, public.path(), &index)),
    )?;
    remember.is_of(segment_states(&content));
    content.remember = Some(remember);
    Ok(content)
}

/// All staged names and versions; the directories that are as they were are not listed again.
fn versions(
    stage: &Stage,
    stamps: &Stamps,
    known: &Lines<'_>,
    remember: &mut Known,
) -> Result<Vec<(String, String)>, PublishError> {
    let mut all = Vec::new();
    for name in stage.names()? {
        let stamp = stamps.of_name(&name)?;
        let versions = match known.versions(&name, stamp.as_ref()) {
            Some(versions) => versions,
            None => stage.versions_of(&name)?,
        };
        all.extend(versions.into_iter().map(|version| (name.clone(), version)));
        remember.directory(name, stamp);
    }
    Ok(all)
}

/// The published index, as far as it is good.
fn index_of(published: &Published, public: &Path) -> Index {
    let role = published.roles.get(INDEX);
    role.map_or_else(Index::default, |role| Index::read(public, &role.signed))
}

/// The hashes of the lines of each segment.
fn segment_states(content: &Content) -> Vec<String> {
    let Some(targets) = content.roles.get(INDEX) else {
        return Vec::new();
    };
    let segments = (0..).map_while(|number| targets.get(&segments::path(number)));
    segments
        .filter_map(|target| Some(segments::decoded_of(target)?.0.to_owned()))
        .collect()
}

/// Nothing but what the last publication of all has read already.
pub fn of_nothing(repository: &Repository) -> Result<Content, PublishError> {
    Ok(Content {
        read: Known::read_before(repository)?,
        ..Content::default()
    })
}

/// The list of revocations alone.
pub fn of_revocations(repository: &Repository) -> Result<Content, PublishError> {
    let mut content = of_nothing(repository)?;
    add_revocations(repository, &mut content)?;
    Ok(content)
}

fn add_revocations(repository: &Repository, content: &mut Content) -> Result<(), PublishError> {
    let list = revocations(repository)?;
    check_revocations(&list)?;
    let bytes = document(&json!(list));
    content.add(REVOCATIONS, revocation::TARGET_PATH, Target::of(&bytes, None), bytes);
    Ok(())
}

/// Checks a list as a whole: machines refuse a whole list for one invalid entry.
pub fn check_revocations(list: &Revocations) -> Result<(), PublishError> {
    let mut problems = Problems::default();
    for problem in list.problems() {
        problems.push("revocations.json", Reason::Entry(problem));
    }
    problems.into_result()
}

/// The list that `dkms-repo revoke` keeps: `revocations.json` of the working directory.
pub fn revocations(repository: &Repository) -> Result<Revocations, PublishError> {
    let empty = Revocations {
        schema: SCHEMA,
        revoked: Vec::new(),
    };
    Ok(source(repository, "revocations.json")?.unwrap_or(empty))
}

/// Aliases to be taken out of matching: `overrides.json` of the working directory, a list that people write.
pub fn override_list(repository: &Repository) -> Result<Vec<OverrideRecord>, PublishError> {
    Ok(source(repository, "overrides.json")?.unwrap_or_default())
}

fn overrides<'a>(repository: &Repository, problems: &mut Problems) -> Result<Vec<Line<'a>>, PublishError> {
    let overrides = override_list(repository)?;
    let records: Vec<Record> = overrides.into_iter().map(Record::Override).collect();
    for problem in records.iter().flat_map(Record::problems) {
        problems.push("overrides.json", Reason::Entry(problem));
    }
    records
        .iter()
        .map(|record| problems.line("overrides.json", record))
        .collect()
}

fn source<T: DeserializeOwned>(repository: &Repository, name: &str) -> Result<Option<T>, PublishError> {
    let path = repository.path().join(name);
    let Some(bytes) = files::read_if_exists(&path)? else {
        return Ok(None);
    };
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|source| PublishError::Source {
        file: path.display().to_string(),
        source,
    })
}

fn role_of_scope<'a>(delegations: &'a Delegations, scope: &str) -> Option<&'a str> {
    let paths = roles::paths_of_scope(scope);
    delegations
        .roles
        .iter()
        .find(|d| d.paths.contains(&paths))
        .map(|d| d.name.as_str())
}

/// Adds the segments; one whose lines did not change keeps its published file and deltas.
fn add_index(
    content: &mut Content,
    lines: &[Line<'_>],
    max_bytes: usize,
    published: Option<(&Published, &Path, &Index)>,
) -> Result<(), PublishError> {
    let nothing = Index::default();
    let index = published.map_or(&nothing, |(_, _, index)| index);
    let before = published.and_then(|(p, public, _)| Some((&p.roles.get(INDEX)?.signed, public)));
    for (number, run) in segments::cut(lines, max_bytes)?.into_iter().enumerate() {
        let (path, lines) = (segments::path(number), &lines[run]);
        if let Some((role, _)) = before
            && let Some(decoded) = index.state_with(number, lines)
            && let Some(target) = role.targets.get(&path)
        {
            content.read.insert(decoded.to_owned());
            content.refer(INDEX, &path, target.clone());
            let stem = segments::stem(number);
            let deltas = role
                .targets
                .iter()
                .filter(|(p, _)| p.starts_with(&stem) && p.ends_with(".delta"));
            deltas.for_each(|(path, target)| content.refer(INDEX, path, target.clone()));
            continue;
        }
        let segment = Segment::of(lines);
        content.read.insert(segment.sha256().to_owned());
        let (target, bytes) = segment.compress(index)?;
        let length = target.length;
        content.add(INDEX, &path, target, bytes);
        let Some((role, public)) = before else { continue };
        let deltas = Deltas::of(public, &path, role.version, segment.sha256(), index);
        for (path, delta) in deltas.to(&segment, length)? {
            content.add(INDEX, &path, Target::of(&delta, None), delta);
        }
    }
    Ok(())
}

/// A document with sorted keys and a newline at its end.
fn document(value: &serde_json::Value) -> Vec<u8> {
    format!("{value}\n").into_bytes()
}
