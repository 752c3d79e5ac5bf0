//! The words that stand without an option, and the names that become directories.

use std::path::{Path, PathBuf};

use clap::ArgMatches;

use crate::dkms_cli::command;
use crate::dkms_cli::usage::UsageError;

/// What a positional word names on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordKind {
    /// Nothing: a verb, a module or a module/version.
    Plain,
    /// A file called dkms.conf.
    ConfFile,
    /// A directory with a dkms.conf in it.
    SourceDirectory,
    /// Any other file.
    File,
}

/// Looks at the file system for what `word` names.
#[must_use]
pub fn word_kind(word: &str) -> WordKind {
    let path = Path::new(word);
    if path.is_file() {
        if word.ends_with("dkms.conf") {
            WordKind::ConfFile
        } else {
            WordKind::File
        }
    } else if path.join("dkms.conf").is_file() {
        WordKind::SourceDirectory
    } else {
        WordKind::Plain
    }
}

/// The positional words and `-m`, `-v`, sorted by what they are.
#[derive(Default)]
pub(super) struct Words {
    pub(super) verb: Option<String>,
    pub(super) module: Option<String>,
    pub(super) version: Option<String>,
    pub(super) directory: Option<PathBuf>,
    pub(super) archive: Option<PathBuf>,
    pub(super) notices: Vec<String>,
}

impl Words {
    pub(super) fn read(matches: &ArgMatches, kind: &dyn Fn(&str) -> WordKind) -> Result<Self, UsageError> {
        let mut words = Self::default();
        if let Some(module) = matches.get_one::<String>("module") {
            words.package(module);
        }
        if let Some(version) = matches.get_one::<String>("module-version") {
            words.version = Some(version.clone());
        }
        for word in matches.get_many::<String>("words").into_iter().flatten() {
            words.positional(word, kind)?;
        }
        for id in ["no-initrd", "no-clean-kernel", "no-prepare-kernel"] {
            if matches.get_flag(id) {
                words.notices.push(format!("--{id} has no effect any more"));
            }
        }
        for (name, what) in [(&words.module, "module"), (&words.version, "module version")] {
            if let Some(name) = name {
                check_component(name, what)?;
            }
        }
        Ok(words)
    }

    fn positional(&mut self, word: &str, kind: &dyn Fn(&str) -> WordKind) -> Result<(), UsageError> {
        if command::VERBS.iter().any(|(verb, _)| *verb == word) {
            if let Some(first) = self.verb.replace(word.to_owned()) {
                return Err(UsageError::TwoActions(first, word.to_owned()));
            }
            return Ok(());
        }
        match kind(word) {
            WordKind::ConfFile => {
                let parent = Path::new(word).parent().filter(|parent| !parent.as_os_str().is_empty());
                self.directory = Some(parent.unwrap_or(Path::new(".")).to_owned());
            }
            WordKind::SourceDirectory => self.directory = Some(word.into()),
            WordKind::File => self.archive = Some(word.into()),
            WordKind::Plain if is_path(word) => self.directory = Some(word.into()),
            WordKind::Plain if self.module.is_none() => self.package(word),
            WordKind::Plain => self
                .notices
                .push(format!("`{word}` is ignored: the module is already named")),
        }
        Ok(())
    }

    /// `module` or `module/version`.
    fn package(&mut self, text: &str) {
        match text.split_once('/') {
            Some((module, version)) => {
                self.module = Some(module.to_owned());
                self.version = Some(version.to_owned());
            }
            None => self.module = Some(text.to_owned()),
        }
    }
}

/// True for a word that can only be a path: no module, version or kernel is written like that.
fn is_path(word: &str) -> bool {
    word.starts_with(['/', '.']) || word.ends_with('/')
}

/// Names become directories: one path component, no `.` or `..`, no blanks or control characters.
pub(super) fn check_component(name: &str, what: &'static str) -> Result<(), UsageError> {
    let fine = !name.is_empty()
        && name.len() <= 200
        && !matches!(name, "." | "..")
        && name.chars().all(|c| !c.is_control() && !c.is_whitespace() && c != '/');
    if fine {
        Ok(())
    } else {
        Err(UsageError::BadName(name.to_owned(), what))
    }
}
