//! A package as it is staged: the two documents that belong together.

use dkms_index::document::Problem;
use dkms_index::document::manifest::Manifest;
use dkms_index::document::record::{PackageRecord, Record};
use serde::{Deserialize, Serialize};

use super::StageError;

/// A name or version longer than this is refused: with both and the hash, the published file name stays below 255.
const NAME_MAX_BYTES: usize = 80;

/// One package version in the staging area.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedPackage {
    /// What an offline role will sign.
    pub manifest: Manifest,
    /// The line of the index.
    pub record: PackageRecord,
}

/// Checks that a package's name or version can be part of a file name and a URL as it is.
pub fn check_name(what: &'static str, value: &str) -> Result<(), StageError> {
    let refuse = |why| {
        Err(StageError::Name {
            what,
            value: value.to_owned(),
            why,
        })
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || ".+-_~".contains(c);
    match value {
        "" => refuse("it is empty"),
        _ if value.len() > NAME_MAX_BYTES => refuse("it is longer than 80 characters"),
        _ if value.starts_with(['.', '-']) => refuse("it starts with a dot or a dash"),
        _ if !value.chars().all(plain) => refuse("it has characters other than letters, digits and `.+-_~`"),
        _ => Ok(()),
    }
}

impl StagedPackage {
    /// Checks what every reader relies on: usable names, and a record that agrees with the manifest.
    pub fn check(&self) -> Result<(), StageError> {
        let (manifest, record) = (&self.manifest, &self.record);
        check_name("name", &manifest.name)?;
        check_name("version", &manifest.version)?;
        let fields = [
            ("name", manifest.name == record.name),
            ("version", manifest.version == record.version),
            ("dkms_version", manifest.dkms_version() == record.dkms_version()),
            ("bundle", manifest.bundle == record.bundle),
            ("manifest path", manifest.target_path() == record.manifest),
        ];
        match fields.iter().find(|(_, equal)| !equal) {
            None => Ok(()),
            Some((field, _)) => Err(StageError::Mismatch {
                name: manifest.name.clone(),
                version: manifest.version.clone(),
                field,
            }),
        }
    }
}

impl StagedPackage {
    /// All problems for which machines would refuse the two documents; a problem of both is listed once.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = self.manifest.problems();
        let of_record = Record::Package(self.record.clone()).problems();
        problems.extend(of_record.into_iter().filter(|p| !self.manifest.problems().contains(p)));
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn names_are_plain_path_segments() {
        fn check(name: &str, usable: bool) {
            assert_eq!(check_name("name", name).is_ok(), usable, "{name:?}");
        }
        check("8812au", true);
        check("0.4.5-1~bpo12+1", true);
        check("", false);
        check("..", false);
        check("a/b", false);
        check("-rf", false);
        check("a b", false);
        check("ä", false);
        check(&"a".repeat(81), false);
    }
}
