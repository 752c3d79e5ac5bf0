//! Revocations: documents that can only deny.

use serde::{Deserialize, Serialize};

use super::DocumentError;
use super::limits::REVOCATIONS_MAX_BYTES;
use super::problem::{Checker, Problem};
use crate::version;

/// The TUF target path of the list of revocations.
pub const TARGET_PATH: &str = "revocations/revocations.json";

/// The whole list, replaced with every publication.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocations {
    /// [`super::manifest::SCHEMA`].
    pub schema: u32,
    /// All that is denied.
    pub revoked: Vec<Revocation>,
}

/// A revocation of one bundle, or of some versions of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// What is denied.
    pub subject: Subject,
    /// Why, for people.
    pub reason: String,
    /// What the agent does about it.
    pub action: Action,
}

/// What a revocation names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// One bundle, by its SHA-256 in lower-case hex.
    Bundle(String),
    /// Versions of a package, both ends included; an absent end is open.
    Package {
        /// `PACKAGE_NAME`.
        name: String,
        /// Lowest version.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// Highest version.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
}

/// What the agent does about a revoked package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Never install it.
    Block,
    /// Never install it, and remove it where it is.
    Uninstall,
}

impl Revocations {
    /// Reads and checks the list. A list with a faulty entry is refused as a whole: an agent that took a part of it could install
    /// what is denied.
    ///
    /// # Errors
    /// When it is too large, not JSON of this shape, of another schema, or has [`Revocations::problems`].
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let what = "list of revocations";
        let revocations: Self = super::read(what, bytes, REVOCATIONS_MAX_BYTES)?;
        super::checked_schema(what, revocations.schema)?;
        let problems = revocations.problems();
        if problems.is_empty() {
            Ok(revocations)
        } else {
            Err(DocumentError::Invalid {
                subject: what.to_owned(),
                problems,
            })
        }
    }

    /// All that is wrong with it.
    pub fn problems(&self) -> Vec<Problem> {
        let mut check = Checker::default();
        for revocation in &self.revoked {
            check.text("reason", &revocation.reason);
            match &revocation.subject {
                Subject::Bundle(sha256) => check.sha256(sha256),
                Subject::Package { name, from, to } => {
                    check.name("name", name);
                    for end in [from, to].into_iter().flatten() {
                        check.name("version", end);
                    }
                }
            }
        }
        check.problems
    }

    /// The revocation of a package version or its bundle; of several the one with the stronger action.
    ///
    /// Versions compare as in [`crate::version`]; both the version in the index and `PACKAGE_VERSION` count.
    pub fn denies(&self, name: &str, versions: &[&str], bundle_sha256: &str) -> Option<&Revocation> {
        self.revoked
            .iter()
            .filter(|revocation| revocation.subject.covers(name, versions, bundle_sha256))
            .max_by_key(|revocation| revocation.action)
    }
}

impl Subject {
    fn covers(&self, name: &str, versions: &[&str], bundle_sha256: &str) -> bool {
        match self {
            Self::Bundle(sha256) => sha256 == bundle_sha256,
            Self::Package {
                name: revoked,
                from,
                to,
            } => {
                let within = |v: &&str| {
                    from.as_deref().is_none_or(|from| version::compare(v, from).is_ge())
                        && to.as_deref().is_none_or(|to| version::compare(v, to).is_le())
                };
                revoked == name && versions.iter().any(within)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::canonical;

    fn range(from: Option<&str>, to: Option<&str>) -> Subject {
        Subject::Package {
            name: "evil".into(),
            from: from.map(Into::into),
            to: to.map(Into::into),
        }
    }

    fn list(subjects: Vec<(Subject, Action)>) -> Revocations {
        let revoked = subjects
            .into_iter()
            .map(|(subject, action)| Revocation {
                subject,
                reason: "backdoor".into(),
                action,
            })
            .collect();
        Revocations {
            schema: super::super::manifest::SCHEMA,
            revoked,
        }
    }

    #[test]
    fn a_range_denies_with_both_ends() {
        let check = |from, to, version: &str, expected: bool| {
            let list = list(vec![(range(from, to), Action::Block)]);
            assert_eq!(
                list.denies("evil", &[version], "").is_some(),
                expected,
                "{from:?} {to:?} {version}"
            );
            assert!(list.denies("good", &[version], "").is_none());
        };
        check(None, None, "1", true);
        check(Some("1.2"), Some("1.10"), "1.2", true);
        check(Some("1.2"), Some("1.10"), "1.10", true);
        check(Some("1.2"), Some("1.10"), "1.9", true);
        check(Some("1.2"), Some("1.10"), "1.10.1", false);
        check(Some("1.2"), None, "1.1", false);
        check(None, Some("2"), "3", false);
    }

    #[test]
    fn bundles_are_denied_by_hash_and_the_stronger_action_wins() {
        let sha256 = "0".repeat(64);
        let list = list(vec![
            (range(None, None), Action::Block),
            (Subject::Bundle(sha256.clone()), Action::Uninstall),
            (range(None, None), Action::Block),
        ]);
        assert_eq!(list.denies("good", &["1"], &sha256).unwrap().action, Action::Uninstall);
        assert_eq!(list.denies("evil", &["1"], &sha256).unwrap().action, Action::Uninstall);
        assert_eq!(list.denies("evil", &["1"], "").unwrap().action, Action::Block);
        let again = Revocations::parse(&canonical::to_bytes(&list).unwrap()).unwrap();
        assert_eq!(again, list);
    }

    #[test]
    fn a_faulty_list_is_refused_as_a_whole() {
        let faulty = list(vec![
            (range(None, None), Action::Block),
            (Subject::Bundle("xyz".into()), Action::Block),
        ]);
        let error = Revocations::parse(&canonical::to_bytes(&faulty).unwrap()).unwrap_err();
        assert!(matches!(error, DocumentError::Invalid { .. }), "{error}");
    }
}
