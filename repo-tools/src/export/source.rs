//! What a distribution's package is made from, and what comes out.

use std::collections::BTreeSet;

use dkms_index::document::manifest::Manifest;
use dkms_support::columns;

use super::compiled::Compiled;
use super::error::ExportError;
use super::names;
use crate::ingest::SourceTree;

/// The time in packages where none is given, which is that of all files in bundles: 2000-01-01 00:00:00 UTC.
pub const DEFAULT_TIME_S: u32 = 946_684_800;

/// A package version.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// What is known about it.
    pub manifest: &'a Manifest,
    /// Its source.
    pub tree: &'a SourceTree,
    /// Names of all packages that can be made into packages of the distribution as well.
    pub known: &'a BTreeSet<String>,
}

/// What the maker of the packages decides.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The revision of the packaging, behind the version.
    pub revision: String,
    /// `NAME <ADDRESS>`.
    pub maintainer: String,
    /// The time of all files, in seconds since 1970.
    pub time_s: u32,
}

/// A finished package.
#[derive(Debug, Clone)]
pub struct Made {
    /// Its name in the distribution.
    pub package: String,
    /// Its version in the distribution, with the revision.
    pub version: String,
    /// The usual name of its file.
    pub file_name: String,
    /// The file.
    pub bytes: Vec<u8>,
    /// What a person should know.
    pub notes: Vec<String>,
}

impl Source<'_> {
    /// Refuses what could not be published: its names become names of files and words of shell scripts.
    pub(super) fn check(&self) -> Result<(), ExportError> {
        let Some(problem) = self.manifest.problems().into_iter().next() else {
            return Ok(());
        };
        Err(ExportError::Invalid {
            name: self.manifest.name.clone(),
            version: self.manifest.version.clone(),
            problem: problem.to_string(),
        })
    }

    /// Why its package could not be written.
    pub(super) fn not_written(
        &self,
        format: &'static str,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> ExportError {
        ExportError::Archive {
            format,
            name: self.manifest.name.clone(),
            version: self.manifest.version.clone(),
            source: error.into(),
        }
    }

    /// The packages that have to be there before this one is built, and those that may have another name in the distribution.
    pub(super) fn needs(&self, package_of: fn(&str) -> String) -> Needs {
        let needs = &self.manifest.recipe.build_depends;
        let (known, unknown): (Vec<&String>, Vec<&String>) = needs.iter().partition(|name| self.known.contains(*name));
        Needs {
            known: known.iter().map(|name| package_of(name)).collect(),
            unknown: unknown.iter().map(|name| package_of(name)).collect(),
        }
    }

    /// The line that describes it.
    pub(super) fn summary(&self) -> String {
        match self.manifest.summary.trim() {
            "" => format!("kernel driver {} (DKMS source)", self.manifest.name),
            summary => summary.to_owned(),
        }
    }

    /// What it brings, in lines that every tool shows whole.
    pub(super) fn description(&self) -> Vec<String> {
        let modules: Vec<&str> = self
            .manifest
            .modules
            .iter()
            .map(|module| module.name.as_str())
            .collect();
        let modules = named(&modules);
        let text = format!("This package has the source of {modules}. DKMS builds and installs it for each kernel.");
        columns::wrap(&text, 76)
    }

    /// The line that describes a package of modules for a kernel.
    pub(super) fn summary_of_modules(&self) -> String {
        match self.manifest.summary.trim() {
            "" => format!("Kernel driver {}", self.manifest.name),
            summary => names::capitalized(&names::one_line(summary)),
        }
    }

    /// What a package of modules brings.
    pub(super) fn description_of_modules(&self, compiled: &Compiled) -> Vec<String> {
        let modules: Vec<&str> = compiled
            .modules
            .iter()
            .map(|module| module.info.name.as_str())
            .collect();
        let text = format!(
            "This package has {}, built for the kernel {}.",
            named(&modules),
            compiled.kernel.release
        );
        columns::wrap(&text, 76)
    }

    /// The directory of the source on a machine, without a slash at its beginning.
    pub(super) fn directory(&self) -> String {
        format!("usr/src/{}-{}", self.manifest.name, self.manifest.dkms_version())
    }

    /// The home page, if it is an address.
    pub(super) fn homepage(&self) -> Option<&str> {
        let homepage = self.manifest.homepage.as_str();
        let is_address = homepage.starts_with("https://") || homepage.starts_with("http://");
        (is_address && !homepage.contains(char::is_whitespace)).then_some(homepage)
    }

    /// The license; distributions want some text.
    pub(super) fn license(&self) -> &str {
        match self.manifest.license.as_str() {
            "" => "unknown",
            license => license,
        }
    }
}

fn named(modules: &[&str]) -> String {
    match modules {
        [one] => format!("the kernel module {one}"),
        many => format!("the kernel modules {}", many.join(", ")),
    }
}

/// Packages that another one needs.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// Those of the repository.
    pub(super) known: Vec<String>,
    /// Those that are not in the repository.
    pub(super) unknown: Vec<String>,
}

impl Needs {
    /// A note for each package whose name in the distribution is a guess.
    pub(super) fn notes(&self) -> Vec<String> {
        let note = |package: &String| format!("only recommends {package}: what it needs is not in the repository");
        self.unknown.iter().map(note).collect()
    }
}

/// The checks of [`Settings`] that all formats share.
impl Settings {
    /// The maintainer in one line.
    pub(super) fn maintainer(&self) -> String {
        names::one_line(&self.maintainer)
    }
}
