//! What the packaging around a source says about it.

use super::tree::{Entry, RawTree};

/// Facts from a distribution's package; all empty for a plain source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The distribution's version, without its epoch.
    pub version: Option<String>,
    /// One line for people.
    pub summary: String,
    /// Address of the home page.
    pub homepage: String,
    /// SPDX expression.
    pub license: String,
    /// Alias patterns in the package's metadata.
    pub declared: Vec<Declared>,
    /// Files the package installs outside of its source and of /usr/share, such as a modprobe blacklist: they do not
    /// come along.
    pub outside: Vec<String>,
}

/// Alias patterns that a package's metadata claims for a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// The module's name, `-` written as `_`; empty where the package does not say which of its modules they are of.
    pub module: String,
    /// Patterns as written.
    pub patterns: Vec<String>,
}

/// The files of a package outside of its source and of /usr/share.
pub(super) fn outside(files: &RawTree) -> Vec<String> {
    files
        .paths()
        .filter(|path| !path.starts_with("usr/src/") && !path.starts_with("usr/share/"))
        .filter(|path| !matches!(files.get(path), Some(Entry::Directory)))
        .map(|path| format!("/{path}"))
        .collect()
}
