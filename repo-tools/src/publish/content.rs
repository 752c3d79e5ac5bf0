//! The targets of each role, and their files.

use std::collections::BTreeMap;
use std::path::Path;

use dkms_index::document::BundleRef;
use dkms_index::document::manifest::SCHEMA;
use dkms_index::document::record::{OverrideRecord, Record};
use dkms_index::document::revocation::{self, Revocations};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::check::{Problems, Reason};
use super::{PublishError, Published, bundles, segments};
use crate::files;
use crate::repository::Repository;
use crate::roles::{self, INDEX, REVOCATIONS};
use crate::signed::{Delegations, Target};
use crate::stage::{Stage, StageError};

/// The targets of some roles; roles that are absent stay as they are.
#[derive(Debug, Default)]
pub struct Content {
    /// By role, then by target path.
    pub roles: BTreeMap<String, BTreeMap<String, Target>>,
    /// Files of new targets, by path below `targets/`, with the hash in the name.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The bundles that manifests name.
    pub bundles: Vec<BundleRef>,
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
    let mut content = of_revocations(repository)?;
    let delegations = published.delegations();
    for delegation in &delegations.roles {
        // Every role gets an entry, even an empty one, so that packages which are no longer staged are removed from its targets.
        content.roles.entry(delegation.name.clone()).or_default();
    }
    let mut problems = Problems::default();
    let mut records = overrides(repository, &mut problems)?;
    let (public, segment_bytes) = (repository.public_dir(), repository.config().segment_bytes);
    for (title, package) in stage.each()? {
        let package = match package {
            Ok(package) => package,
            Err(StageError::File(error)) => return Err(error.into()),
            Err(error) => {
                problems.push(&title, Reason::Staged(error));
                continue;
            }
        };
        problems.package(&title, &package, segment_bytes);
        let manifest = &package.manifest;
        if let Some(what) = bundles::problem(stage, &public, &manifest.bundle)? {
            let sha256 = manifest.bundle.sha256.clone();
            problems.push(&title, Reason::Bundle { sha256, what });
        }
        match role_of_scope(&delegations, &manifest.scope) {
            Some(role) => {
                let bytes = document(&json!(manifest));
                content.add(role, &manifest.target_path(), Target::of(&bytes, None), bytes);
            }
            // An invalid scope was reported with the problems of the manifest.
            None if manifest.scope().is_some() => problems.push(&title, Reason::NotDelegated(manifest.scope.clone())),
            None => {}
        }
        content.bundles.push(manifest.bundle.clone());
        records.push(Record::Package(package.record));
    }
    segments::sort(&mut records);
    problems.duplicates(&records);
    problems.into_result()?;
    add_index(&mut content, &records, segment_bytes, Some((published, &public)))?;
    Ok(content)
}

/// The list of revocations alone.
pub fn of_revocations(repository: &Repository) -> Result<Content, PublishError> {
    let mut content = Content::default();
    let list = revocations(repository)?;
    check_revocations(&list)?;
    let bytes = document(&json!(list));
    content.add(REVOCATIONS, revocation::TARGET_PATH, Target::of(&bytes, None), bytes);
    Ok(content)
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

fn overrides(repository: &Repository, problems: &mut Problems) -> Result<Vec<Record>, PublishError> {
    let overrides = override_list(repository)?;
    let records: Vec<Record> = overrides.into_iter().map(Record::Override).collect();
    for problem in records.iter().flat_map(Record::problems) {
        problems.push("overrides.json", Reason::Entry(problem));
    }
    Ok(records)
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
    records: &[Record],
    max_bytes: usize,
    published: Option<(&Published, &Path)>,
) -> Result<(), PublishError> {
    let before = published.and_then(|(p, public)| Some((p.roles.get(INDEX)?, public)));
    for (number, segment) in segments::cut(records, max_bytes)?.iter().enumerate() {
        let path = segments::path(number);
        let decoded = segments::decoded_sha256(segment);
        let same = |t: &&Target| {
            t.custom
                .as_ref()
                .is_some_and(|c| c["decoded_sha256"] == decoded.as_str())
        };
        if let Some((role, _)) = before
            && let Some(target) = role.signed.targets.get(&path).filter(same)
        {
            content.refer(INDEX, &path, target.clone());
            let stem = segments::stem(number);
            let deltas = role
                .signed
                .targets
                .iter()
                .filter(|(p, _)| p.starts_with(&stem) && p.ends_with(".delta"));
            deltas.for_each(|(path, target)| content.refer(INDEX, path, target.clone()));
            continue;
        }
        let (target, bytes) = segments::compress(segment)?;
        let length = target.length;
        content.add(INDEX, &path, target, bytes);
        let Some((role, public)) = before else { continue };
        for base in segments::bases(public, &path, role.signed.version) {
            if base.is(&decoded) {
                continue;
            }
            if let Some((path, delta)) = segments::delta(&path, &base, segment, length)? {
                content.add(INDEX, &path, Target::of(&delta, None), delta);
            }
        }
    }
    Ok(())
}

/// A document with sorted keys and a newline at its end.
fn document(value: &serde_json::Value) -> Vec<u8> {
    format!("{value}\n").into_bytes()
}
