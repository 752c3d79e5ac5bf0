//! What can be wrong with a document. A check finds all of it, not only the first.

use std::collections::BTreeSet;
use std::fmt;

use super::limits::{BUNDLE_MAX_BYTES, LIST_MAX, NAME_MAX_BYTES, TEXT_MAX_BYTES};
use super::{BundleRef, Recipe};
use crate::keys::SHORTEST_ANCHOR_BYTES;
use crate::modalias::VendorId;
use crate::pattern::{Pattern, PatternError};

/// One thing that is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// A name, a version or another word that must be usable as a file name.
    Name {
        /// Field.
        field: &'static str,
        /// As the document has it.
        value: String,
        /// The rule it breaks.
        why: &'static str,
    },
    /// A text that is too long or has control characters.
    Text {
        /// Field.
        field: &'static str,
        /// The rule it breaks.
        why: &'static str,
    },
    /// Not 64 lower-case hexadecimal digits.
    Sha256(String),
    /// A bundle of no bytes or of too many.
    BundleLength(u64),
    /// Neither `curated` nor `by-id/<bus>-<vendor>`.
    Scope(String),
    /// A record whose manifest path is not `<scope>/<name>@<version>.json` of its own name and version.
    ManifestPath(String),
    /// A pattern that is not valid.
    Pattern {
        /// As the document has it.
        pattern: String,
        /// Why it is not valid.
        error: PatternError,
    },
    /// A vendor's manifest claims what is not literally of that vendor.
    OutOfScope {
        /// The pattern.
        pattern: String,
        /// The vendor whose directory it is in.
        vendor: VendorId,
    },
    /// A pattern too short to look up: no [`SHORTEST_ANCHOR_BYTES`] literal bytes in a row. It would be tried on every device.
    TooBroad(String),
    /// A list with too many entries.
    TooMany {
        /// Field.
        field: &'static str,
        /// The number of entries.
        count: usize,
        /// The largest number that is allowed.
        max: usize,
    },
    /// A list is empty that must not be.
    Missing(&'static str),
    /// An entry is there twice.
    Twice {
        /// Field.
        field: &'static str,
        /// The entry.
        value: String,
    },
    /// A path that is absolute, climbs with `..`, or has an empty part.
    Path {
        /// Field.
        field: &'static str,
        /// As the document has it.
        value: String,
    },
    /// Not a day, `YYYY-MM-DD`.
    Day(String),
    /// A rollout to more than 1000 permille of the machines.
    Permille(u16),
    /// An override of neither `package:<name>` nor `kernel:<module>`.
    OverrideSubject(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { field, value, why } => write!(f, "{field} {value:?} {why}"),
            Self::Text { field, why } => write!(f, "{field} {why}"),
            Self::Sha256(value) => write!(f, "{value:?} is not a SHA-256 in 64 lower-case hexadecimal digits"),
            Self::BundleLength(bytes) => write!(f, "a bundle of {bytes} bytes is not possible"),
            Self::Scope(scope) => write!(f, "scope {scope:?} is neither curated nor by-id/<bus>-<vendor>"),
            Self::ManifestPath(path) => write!(f, "manifest {path:?} is not where this version's manifest belongs"),
            Self::Pattern { pattern, error } => write!(f, "pattern {pattern:?}: {error}"),
            Self::OutOfScope { pattern, vendor } => write!(f, "pattern {pattern:?} is not literally of {vendor}"),
            Self::TooBroad(pattern) => write!(f, "pattern {pattern:?} has no three literal bytes in a row"),
            Self::TooMany { field, count, max } => write!(f, "{count} {field}, at most {max} are taken"),
            Self::Missing(field) => write!(f, "no {field}"),
            Self::Twice { field, value } => write!(f, "{field} has {value:?} twice"),
            Self::Path { field, value } => write!(f, "{field} {value:?} is not a plain relative path"),
            Self::Day(day) => write!(f, "{day:?} is not a day of the form YYYY-MM-DD"),
            Self::Permille(n) => write!(f, "{n} is more than 1000 of 1000"),
            Self::OverrideSubject(subject) => write!(f, "{subject:?} is neither package:<name> nor kernel:<module>"),
        }
    }
}

/// Whether `value` can be part of a file name and a URL as it is: letters, digits and `.+-_~`, not beginning with a dot
/// or a dash, at most [`NAME_MAX_BYTES`]. The error says the rule that is broken.
///
/// # Errors
/// The broken rule, as the end of a sentence that begins with the value.
pub fn check_name(value: &str) -> Result<(), &'static str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".+-_~".contains(&b);
    match value {
        "" => Err("is empty"),
        _ if value.len() > NAME_MAX_BYTES => Err("is longer than 80 bytes"),
        _ if value.starts_with(['.', '-']) => Err("begins with a dot or a dash"),
        _ if !value.bytes().all(plain) => Err("has characters other than letters, digits and `.+-_~`"),
        _ => Ok(()),
    }
}

/// More problems of one document help nobody.
const PROBLEMS_MAX: usize = 1000;

/// Gathers problems.
#[derive(Default)]
pub(super) struct Checker {
    pub(super) problems: Vec<Problem>,
}

impl Checker {
    /// Keeps a problem, unless there are [`PROBLEMS_MAX`]: a hostile document has one in each of its bytes.
    pub(super) fn push(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }

    pub(super) fn name(&mut self, field: &'static str, value: &str) {
        if let Err(why) = check_name(value) {
            self.push(Problem::Name {
                field,
                value: value.to_owned(),
                why,
            });
        }
    }

    pub(super) fn text(&mut self, field: &'static str, value: &str) {
        if value.len() > TEXT_MAX_BYTES {
            self.push(Problem::Text {
                field,
                why: "is longer than 1024 bytes",
            });
        } else if value.chars().any(char::is_control) {
            self.push(Problem::Text {
                field,
                why: "has control characters",
            });
        }
    }

    pub(super) fn sha256(&mut self, value: &str) {
        let digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if value.len() != 64 || !value.bytes().all(digit) {
            self.push(Problem::Sha256(value.to_owned()));
        }
    }

    pub(super) fn count(&mut self, field: &'static str, count: usize, max: usize) {
        if count > max {
            self.push(Problem::TooMany { field, count, max });
        }
    }

    /// A list of names, each there once.
    pub(super) fn names(&mut self, field: &'static str, values: &[String]) {
        self.count(field, values.len(), LIST_MAX);
        self.unique(field, values);
        for value in values {
            self.name(field, value);
        }
    }

    pub(super) fn texts(&mut self, field: &'static str, values: &[String]) {
        self.count(field, values.len(), LIST_MAX);
        for value in values {
            self.text(field, value);
        }
    }

    pub(super) fn unique(&mut self, field: &'static str, values: &[String]) {
        let mut seen = BTreeSet::new();
        for value in values {
            if !seen.insert(value) {
                self.push(Problem::Twice {
                    field,
                    value: value.clone(),
                });
            }
        }
    }

    /// A path below some directory: no `/` at its start, no `..`, no empty part, no control characters.
    pub(super) fn path(&mut self, field: &'static str, value: &str) {
        let part = |part: &str| !matches!(part, "" | "." | "..");
        if value.len() > TEXT_MAX_BYTES || value.chars().any(char::is_control) || !value.split('/').all(part) {
            self.push(Problem::Path {
                field,
                value: value.to_owned(),
            });
        }
    }

    /// Checks that a pattern is valid, and that a look-up can find it.
    pub(super) fn pattern(&mut self, text: &str) -> Option<Pattern> {
        match Pattern::parse(text) {
            Ok(pattern) => {
                let short = |stretch: &[u8]| stretch.len() < SHORTEST_ANCHOR_BYTES;
                if short(pattern.literal_prefix()) && pattern.literals().iter().all(|l| short(l)) {
                    self.push(Problem::TooBroad(text.to_owned()));
                }
                Some(pattern)
            }
            Err(error) => {
                self.push(Problem::Pattern {
                    pattern: text.to_owned(),
                    error,
                });
                None
            }
        }
    }

    pub(super) fn bundle(&mut self, bundle: &BundleRef) {
        self.sha256(&bundle.sha256);
        if bundle.length == 0 || bundle.length > BUNDLE_MAX_BYTES {
            self.push(Problem::BundleLength(bundle.length));
        }
    }

    pub(super) fn recipe(&mut self, recipe: &Recipe) {
        let texts = [
            ("recipe.kernel_min", &recipe.kernel_min),
            ("recipe.kernel_max", &recipe.kernel_max),
            ("recipe.kernel_regex", &recipe.kernel_regex),
            ("recipe.arch_regex", &recipe.arch_regex),
        ];
        for (field, value) in texts {
            self.text(field, value.as_deref().unwrap_or_default());
        }
        self.texts("recipe.config", &recipe.config);
        self.names("recipe.build_depends", &recipe.build_depends);
        self.names("recipe.root_scripts", &recipe.root_scripts);
    }

    /// Patterns of the machines (`dmi:…`) a package is meant for.
    pub(super) fn oem_sets(&mut self, sets: &[String]) {
        self.count("oem_sets", sets.len(), LIST_MAX);
        for set in sets {
            self.pattern(set);
        }
    }
}
