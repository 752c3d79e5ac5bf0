//! Whether what is staged may be published: nothing that a machine would refuse or pass over. Finds all of it at once.

use std::fmt;

use dkms_index::document::limits::{LINE_MAX_BYTES, MANIFEST_MAX_BYTES};
use dkms_index::document::manifest::SCHEMA;
use dkms_index::document::record::Record;
use dkms_index::document::{Disagreement, DocumentError, Problem, canonical};

use super::PublishError;
use super::lines::Line;
use crate::stage::{StageError, StagedPackage};

/// One thing that stands in the way of a publication.
#[derive(Debug)]
pub struct PublishProblem {
    /// Package and version, or the list that it is about.
    pub subject: String,
    /// What is wrong.
    pub why: Reason,
}

impl fmt::Display for PublishProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.why)
    }
}

/// What is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// It cannot be read.
    #[error(transparent)]
    Staged(StageError),
    /// A machine would refuse the manifest.
    #[error("its manifest: {0}")]
    Manifest(Problem),
    /// The manifest has another schema than this program writes.
    #[error("its manifest has schema {0}, this program writes {SCHEMA}")]
    Schema(u32),
    /// A machine would pass over the line of the index.
    #[error("its record: {0}")]
    Record(Problem),
    /// Machines refuse a package whose index record says otherwise than its manifest.
    #[error(transparent)]
    Disagreement(Disagreement),
    /// A document that is longer than machines accept.
    #[error("its {what} has {bytes} bytes, at most {max} are read")]
    TooLong {
        /// `manifest` or `record`.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// No role is delegated this directory yet.
    #[error("no role is delegated {0}/*")]
    NotDelegated(String),
    /// The bundle is not there, or is not what its hash says.
    #[error("its bundle {sha256} is {what}")]
    Bundle {
        /// As the manifest has it.
        sha256: String,
        /// `missing` or `damaged`.
        what: &'static str,
    },
    /// An entry of a list that people edit.
    #[error("{0}")]
    Entry(Problem),
    /// A machine would not read its line of the index.
    #[error("its line of the index cannot be read: {0}")]
    Unread(String),
    /// The same line twice.
    #[error("it is there twice")]
    Twice,
}

impl Reason {
    /// Suggested fix.
    fn hint(&self) -> Option<String> {
        match self {
            Self::Staged(e) => e.hint(),
            Self::NotDelegated(scope) => {
                let vendor = scope.rsplit('/').next().unwrap_or_default();
                Some(format!(
                    "`dkms-repo delegate {vendor}`, or give the package the scope `curated`"
                ))
            }
            Self::Manifest(Problem::OutOfScope { .. } | Problem::Scope(_)) => {
                Some("give it the scope `curated`, or correct its patterns".to_owned())
            }
            Self::Bundle { .. } => Some("add the package again with `dkms-repo add --force`".to_owned()),
            Self::TooLong { .. } => {
                Some("split the package, or raise segment_bytes in repo.toml where it is below 16777216".to_owned())
            }
            Self::Manifest(_) | Self::Schema(_) | Self::Record(_) | Self::Disagreement(_) | Self::Unread(_) => Some(
                "correct manifest.json and record.json in the staging area, or add the package again with \
                 `dkms-repo add --force`"
                    .to_owned(),
            ),
            Self::Entry(_) | Self::Twice => Some("correct the list in the repository's directory".to_owned()),
        }
    }
}

/// Gathers problems.
#[derive(Debug, Default)]
pub struct Problems(Vec<PublishProblem>);

impl Problems {
    /// Adds one.
    pub fn push(&mut self, subject: &str, why: Reason) {
        self.0.push(PublishProblem {
            subject: subject.to_owned(),
            why,
        });
    }

    /// Adds all that is wrong with the two documents of a package.
    pub fn package(&mut self, title: &str, package: &StagedPackage, segment_bytes: usize) {
        let (manifest, record) = (&package.manifest, &package.record);
        if manifest.schema != SCHEMA {
            self.push(title, Reason::Schema(manifest.schema));
        }
        for problem in manifest.problems() {
            self.push(title, Reason::Manifest(problem));
        }
        let line = Record::Package(record.clone());
        // A rule that both documents break in the same field is listed once.
        let known = manifest.problems();
        for problem in line.problems().into_iter().filter(|p| !known.contains(p)) {
            self.push(title, Reason::Record(problem));
        }
        for disagreement in manifest.disagreements(record) {
            self.push(title, Reason::Disagreement(disagreement));
        }
        let lengths = [
            ("manifest", canonical::to_bytes(manifest), MANIFEST_MAX_BYTES),
            ("record", canonical::to_bytes(&line), segment_bytes.min(LINE_MAX_BYTES)),
        ];
        for (what, bytes, max) in lengths {
            // Both end in a line feed where they are written.
            let bytes = bytes.map_or(usize::MAX, |bytes| bytes.len() + 1);
            if bytes > max {
                self.push(title, Reason::TooLong { what, bytes, max });
            }
        }
    }

    /// The line of a record, as it will be in the index. Adds what a machine that reads it would pass it over for.
    pub fn line<'a>(&mut self, title: &str, record: &Record) -> Result<Line<'a>, PublishError> {
        let line = Line::of(record)?;
        let text = line.bytes.strip_suffix(b"\n").unwrap_or(&line.bytes);
        match Record::parse(text) {
            Ok(read) if read == *record => {}
            // Found in the record itself.
            Err(DocumentError::Invalid { .. }) => {}
            Err(DocumentError::TooLong { .. }) if matches!(record, Record::Package(_)) => {}
            Ok(_) => self.push(title, Reason::Unread("it reads as another record".to_owned())),
            Err(error) => self.push(title, Reason::Unread(error.to_string())),
        }
        Ok(line)
    }

    /// Adds lines of the index that are there twice, among `lines` in the order of the index.
    pub fn duplicates(&mut self, lines: &[Line<'_>]) {
        for pair in lines.windows(2) {
            if let [one, other] = pair
                && one.place == other.place
            {
                let (_, name, rest) = &one.place;
                self.push(&format!("{name} {rest}"), Reason::Twice);
            }
        }
    }

    /// An error, if there is any.
    pub fn into_result(self) -> Result<(), PublishError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(PublishError::Invalid(self.0))
        }
    }
}

/// The suggested fixes of all of them, each once.
pub(super) fn hints(problems: &[PublishProblem]) -> Option<String> {
    let mut hints: Vec<String> = Vec::new();
    for hint in problems.iter().filter_map(|problem| problem.why.hint()) {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    (!hints.is_empty()).then(|| hints.join("\nhint: "))
}

/// One problem a line.
pub(super) fn list(problems: &[PublishProblem]) -> String {
    let lines: Vec<String> = problems.iter().map(|problem| format!("\n  {problem}")).collect();
    lines.concat()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn staged(change: impl FnOnce(&mut serde_json::Value, &mut serde_json::Value)) -> StagedPackage {
        let bundle = json!({"sha256": "a".repeat(64), "length": 1, "format": "tar-zst"});
        let pattern = "pci:v00001234d000011E8sv*sd*bc*sc*i*";
        let mut manifest = json!({
            "schema": 1, "name": "x", "version": "1", "scope": "curated", "bundle": bundle,
            "modules": [{"name": "x", "aliases": [pattern]}]
        });
        let mut record = json!({
            "name": "x", "version": "1", "manifest": "curated/x@1.json", "bundle": bundle,
            "modules": ["x"], "patterns": [pattern]
        });
        change(&mut manifest, &mut record);
        StagedPackage {
            manifest: serde_json::from_value(manifest).unwrap(),
            record: serde_json::from_value(record).unwrap(),
        }
    }

    #[test]
    fn all_that_a_machine_would_refuse_is_found() {
        fn check(change: impl FnOnce(&mut serde_json::Value, &mut serde_json::Value), expected: &[&str]) {
            let mut problems = Problems::default();
            problems.package("x 1", &staged(change), 4096);
            let found: Vec<String> = problems.0.iter().map(|problem| problem.why.to_string()).collect();
            assert_eq!(found, expected);
            assert_eq!(hints(&problems.0).is_some(), !expected.is_empty());
        }
        check(|_, _| {}, &[]);
        check(
            |m, _| m["schema"] = json!(2),
            &["its manifest has schema 2, this program writes 1"],
        );
        check(
            |m, r| {
                m["summary"] = json!("\u{7}");
                r["summary"] = json!("\u{7}");
                r["builds"] =
                    json!([{"kernel": "6.1", "arch": "x86_64", "compiler": "gcc", "date": "now", "outcome": "built"}]);
                m["firmware"] = json!(["/etc/x"]);
            },
            &[
                "its manifest: summary has control characters",
                "its manifest: firmware \"/etc/x\" is not a plain relative path",
                "its record: \"now\" is not a day of the form YYYY-MM-DD",
            ],
        );
        check(
            |m, r| {
                m["modules"][0]["aliases"] = json!(["*"]);
                r["patterns"] = json!(["*"]);
            },
            &["its manifest: pattern \"*\" has no three literal bytes in a row"],
        );
        check(
            |_, r| r["patterns"] = json!(["usb:v1234p*"]),
            &["the index record claims the pattern usb:v1234p*, the manifest does not"],
        );
        check(
            |m, _| m["recipe"] = json!({"root_scripts": ["post_install"]}),
            &["the index record and the manifest differ in recipe.root_scripts"],
        );
        check(
            |_, r| {
                r["builds"] = json!(vec![
                    json!({"kernel": "6.1", "arch": "x86_64", "compiler": "gcc", "date": "2026-01-01", "outcome": "built"});
                    60
                ])
            },
            &["its record has 5593 bytes, at most 4096 are read"],
        );
    }
}
