//! A prepared change as it is kept: `prepared/N` of the repository. The same directory is what people carry to those who sign.
//!
//! ```text
//! 5.root.json, 9.targets.json   what is to be signed, with the signatures so far
//! change.json                   what it is for
//! summary.txt                   for people
//! published/                    what is published: what it replaces, and who has to sign
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::around::Around;
use super::document::{Document, name_parts};
use super::error::CeremonyError;
use super::sentences::sentences;
use super::status::{SetStatus, Status};
use crate::files::{self, FileError};
use crate::publish::Published;
use crate::repository::Repository;

/// The directory of what is published, in that of a prepared change.
pub(super) const PUBLISHED: &str = "published";
const CHANGE: &str = "change.json";

/// What a prepared change is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Purpose {
    /// The words of the command that prepared it.
    pub(super) what: String,
    /// Whether all that is staged is published with it.
    pub(super) publishes_staged: bool,
}

/// A prepared change.
#[derive(Debug, Clone)]
pub(super) struct Set {
    pub(super) number: u64,
    pub(super) dir: PathBuf,
    pub(super) purpose: Purpose,
    pub(super) documents: Vec<Document>,
}

/// Where all of them are.
pub(super) fn home(repository: &Repository) -> PathBuf {
    repository.path().join("prepared")
}

impl Set {
    /// All prepared changes, by number.
    pub(super) fn all(repository: &Repository) -> Result<Vec<Self>, CeremonyError> {
        let home = home(repository);
        let entries = match fs::read_dir(&home) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(FileError::on("list", &home)(error).into()),
        };
        let mut sets = Vec::new();
        for entry in entries {
            let dir = entry.map_err(FileError::on("list", &home))?.path();
            let number = dir.file_name().and_then(|name| name.to_str()?.parse().ok());
            if let Some(number) = number {
                sets.push(Self::load(number, dir)?);
            }
        }
        sets.sort_by_key(|set| set.number);
        Ok(sets)
    }

    fn load(number: u64, dir: PathBuf) -> Result<Self, CeremonyError> {
        let path = dir.join(CHANGE);
        let purpose = serde_json::from_slice(&files::read(&path)?);
        let purpose = purpose.map_err(|error| CeremonyError::Malformed {
            path,
            why: error.to_string(),
        })?;
        Ok(Self {
            number,
            documents: documents_in(&dir)?,
            dir,
            purpose,
        })
    }

    /// Keeps a new one, in one step, with what `published` has that those who sign compare it with.
    pub(super) fn create(
        repository: &Repository,
        number: u64,
        purpose: Purpose,
        documents: Vec<Document>,
        published: &Published,
        now: Timestamp,
    ) -> Result<Self, CeremonyError> {
        let set = Self {
            number,
            dir: home(repository).join(number.to_string()),
            purpose,
            documents,
        };
        let status = set.status(published, now)?;
        let mut content = vec![
            (
                CHANGE.to_owned(),
                serde_json::json!(set.purpose).to_string().into_bytes(),
            ),
            ("summary.txt".to_owned(), summary(&status).into_bytes()),
        ];
        content.extend(
            set.documents
                .iter()
                .map(|document| (document.name(), document.to_bytes())),
        );
        let metadata = repository.public_dir().join("metadata");
        let roots = (1..=published.root.signed.version).map(|version| format!("{version}.root.json"));
        let roles = published.roles.iter().filter(|(role, _)| {
            let is_signed_again = set.documents.iter().any(|document| document.role == **role);
            is_signed_again || *role == crate::roles::TARGETS
        });
        let roles = roles.map(|(role, signed)| format!("{}.{role}.json", signed.signed.version));
        for name in roots.chain(roles) {
            if let Some(bytes) = files::read_if_exists(&metadata.join(&name))? {
                content.push((format!("{PUBLISHED}/{name}"), bytes));
            }
        }
        files::create_whole_dir(&set.dir, content)?;
        Ok(set)
    }

    /// How far its signatures are.
    pub(super) fn status(&self, published: &Published, now: Timestamp) -> Result<SetStatus, CeremonyError> {
        let around = self.around(published);
        let documents = self.documents.iter().map(|document| {
            let before = around.before(&document.role);
            let changes = sentences(&document.role, before.as_ref(), &document.body, now);
            Status::of(
                self.dir.join(document.name()),
                document,
                &around.needs(document),
                changes,
            )
        });
        Ok(SetStatus {
            number: self.number,
            directory: self.dir.clone(),
            what: self.purpose.what.clone(),
            documents: documents.collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn around(&self, published: &Published) -> Around {
        Around::published(published).with(&self.documents)
    }

    pub(super) fn document(&self, role: &str) -> Option<&Document> {
        self.documents.iter().find(|document| document.role == role)
    }

    /// Removes it.
    pub(super) fn remove(&self, repository: &Repository) -> Result<(), FileError> {
        files::remove_dir(&self.dir, &home(repository))
    }
}

/// The documents that lie in a directory of a prepared change.
pub(super) fn documents_in(dir: &Path) -> Result<Vec<Document>, CeremonyError> {
    let mut documents = Vec::new();
    for entry in fs::read_dir(dir).map_err(FileError::on("list", dir))? {
        let path = entry.map_err(FileError::on("list", dir))?.path();
        if name_parts(&path).is_some() {
            documents.push(Document::read(&path)?);
        }
    }
    documents.sort_by_key(Document::name);
    Ok(documents)
}

/// What was prepared, and what people do with it.
fn summary(status: &SetStatus) -> String {
    let mut text = format!("Prepared by `dkms-repo {}`.\n", status.what);
    for document in &status.documents {
        let name = format!("{}.{}.json", document.version, document.role);
        text.push_str(&format!("\n{name}\n"));
        for line in &document.changes {
            text.push_str(&format!("  {line}\n"));
        }
        for need in &document.needs {
            text.push_str(&format!("  {} of these keys sign, by {}:\n", need.threshold, need.of));
            for key in need.signed.iter().chain(&need.missing) {
                text.push_str(&format!("    {key}\n"));
            }
        }
        if document.complete {
            text.push_str("  It is signed by all who have to.\n");
        } else {
            text.push_str(&format!("  To sign it: dkms-repo sign {name} --key KEY.pem\n"));
        }
    }
    text
}
