//! Adding: from a path to a staged package with its bundle. The source is read, its `dkms.conf` evaluated, nothing built.

use std::fs;
use std::path::{Path, PathBuf};

use dkms_engine::conf::{self, ConfContext, ConfError};
use dkms_engine::kernel::KernelTarget;
use dkms_engine::root::Root;
use dkms_index::document::BundleFormat;
use serde::Serialize;

use crate::files::FileError;
use crate::ingest::{self, Bundle, IngestError, Ingested, Limits, SourceTree};
use crate::inputs;
use crate::package::{self, Aliases, Vendors};
use crate::recipe::{Recipe, RecipeError};
use crate::recovery;
use crate::scan::source::{self, Constants};
use crate::stage::{Stage, StageError, StagedPackage};

/// A package that is ready to be staged.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Its documents.
    pub package: StagedPackage,
    /// Its source.
    pub bundle: Bundle,
    /// What a person should know: parts of the package that do not come along, tables that could not be read.
    pub notes: Vec<String>,
    /// Whether it was made from the file alone, so that the same file makes it again.
    pub from_file_alone: bool,
}

/// What adding did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is staged now.
    Added,
    /// It was staged with the same source; build facts are kept.
    Unchanged,
    /// It was staged with another source, whose build facts are removed.
    Replaced,
}

/// Why a package cannot be added.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The file is no usable package.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// Its `dkms.conf` cannot be evaluated.
    #[error("{path:?}: {source}")]
    Conf {
        /// The package.
        path: PathBuf,
        /// What is wrong with its `dkms.conf`.
        source: ConfError,
    },
    /// Its name or version is not filled in.
    #[error("{path:?}: {placeholder}")]
    Placeholder {
        /// The package.
        path: PathBuf,
        /// What is not filled in.
        placeholder: conf::ConfWarning,
    },
    /// It has a version by which no two of its states can be told apart, such as `git`.
    #[error(
        "{path:?}: the version {version:?} has no digit: states of the package can neither be told apart nor put in order"
    )]
    NoVersion {
        /// The package.
        path: PathBuf,
        /// What it says.
        version: String,
    },
    /// The recipe is not usable.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The same version is staged with another source.
    #[error("{name} {version} is staged already, with another source")]
    Differs {
        /// The package.
        name: String,
        /// Its version.
        version: String,
        /// What was to be added.
        path: PathBuf,
    },
    /// The staging area refused.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl IntakeError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Ingest(error) => error.hint(),
            Self::Recipe(error) => error.hint(),
            // The error itself names a copy that is gone by now.
            Self::Conf { path, .. } => Some(format!(
                "correct the dkms.conf in {path:?} and add it again; nothing of it was kept"
            )),
            Self::Placeholder { path, .. } => Some(format!(
                "add the directory that its own Makefile or installer fills, or write the value into the dkms.conf in {path:?}"
            )),
            Self::NoVersion { path, .. } => Some(format!(
                "write the version, such as that of the last tag, into PACKAGE_VERSION in the dkms.conf in {path:?}"
            )),
            Self::Differs { path, .. } => Some(format!(
                "give the new source a version of its own, or replace the old one: dkms-repo add --force {path:?}"
            )),
            Self::Stage(error) => error.hint(),
            Self::File(error) => error.hint(),
        }
    }
}

/// Reads sources with the constants and the `dkms.conf` context of one kernel of this machine, if there is one.
#[derive(Debug)]
pub struct Intake {
    context: ConfContext,
    constants: Constants,
    vendors: Vendors,
    conf: Option<Vec<u8>>,
}

impl Intake {
    /// Prepares for the newest kernel whose headers are on this machine. Without any, a `dkms.conf` is evaluated for no
    /// kernel in particular, and tables that use constants of the kernel's headers stay unread.
    pub fn on_this_machine(vendors: Vendors) -> Self {
        let kernels = KernelTarget::all(&Root::host());
        let mut constants = Constants::builtin();
        let Some(kernel) = kernels.last() else {
            let context = ConfContext::without_kernel("0", std::env::consts::ARCH);
            return Self {
                context,
                constants,
                vendors,
                conf: None,
            };
        };
        // Debian keeps common headers apart; `source` leads to them.
        let places = [kernel.headers.clone(), kernel.modules_dir.join("source")];
        for header in places.iter().map(|dir| dir.join("include/linux/pci_ids.h")) {
            if let Ok(text) = fs::read_to_string(header) {
                constants.add_header(&text);
                break;
            }
        }
        Self {
            context: ConfContext::for_kernel(kernel),
            constants,
            vendors,
            conf: None,
        }
    }

    /// Gives this `dkms.conf` to sources that have none. Those that have one are refused then.
    #[must_use]
    pub fn with_conf(self, conf: Option<Vec<u8>>) -> Self {
        Self { conf, ..self }
    }

    /// Takes in what lies at `path`.
    ///
    /// # Errors
    /// When it is no usable package.
    pub fn prepare(&self, path: &Path) -> Result<Prepared, IntakeError> {
        let taken = match &self.conf {
            None => ingest::ingest(path, Limits::default())?,
            Some(conf) => ingest::ingest_with_conf(path, Limits::default(), conf)?,
        };
        self.complete(path, taken, self.conf.is_none())
    }

    /// Takes in what the recipe at `path` describes.
    ///
    /// # Errors
    /// When its source cannot be had, or is no usable package with its changes.
    pub fn prepare_recipe(&self, path: &Path, recipe: &Recipe) -> Result<Prepared, IntakeError> {
        let source = recipe.source();
        let mut taken = ingest::ingest_changed(&source, Limits::default(), recipe.changes(path)?)?;
        for (ours, given) in [
            (&mut taken.origin.summary, &recipe.summary),
            (&mut taken.origin.license, &recipe.license),
            (&mut taken.origin.homepage, &recipe.homepage),
        ] {
            if !given.is_empty() {
                ours.clone_from(given);
            }
        }
        self.complete(&source, taken, false)
    }

    fn complete(&self, path: &Path, taken: Ingested, from_file_alone: bool) -> Result<Prepared, IntakeError> {
        let conf = self.evaluate(path, &taken.tree)?;
        let is_placeholder = |warning: &&conf::ConfWarning| matches!(warning, conf::ConfWarning::Placeholder { .. });
        if let Some(placeholder) = conf.warnings.iter().find(is_placeholder) {
            return Err(IntakeError::Placeholder {
                path: path.to_owned(),
                placeholder: placeholder.clone(),
            });
        }
        let tables = source::scan(&taken.tree, &self.constants);
        let mut declared: Aliases = source::by_module(&tables, &package::module_names(&conf));
        let modules = package::module_names(&conf);
        for from_metadata in &taken.origin.declared {
            let module = match (from_metadata.module.as_str(), modules.as_slice()) {
                ("", [only]) => only.clone(),
                // Which of several modules they are of is not known, and the build will tell.
                ("", _) => continue,
                (named, _) => named.to_owned(),
            };
            let patterns = package::device_patterns(from_metadata.patterns.iter().map(String::as_str));
            declared.entry(module).or_default().extend(patterns);
        }
        let top = format!("{}-{}", conf.package_name, conf.package_version);
        let bundle = Bundle::pack(&taken.tree, &top).map_err(FileError::on("pack", path))?;
        let package = package::added(&conf, &taken.origin, bundle.reference.clone(), &declared, &self.vendors);
        let version = &package.manifest.version;
        if !version.contains(|c: char| c.is_ascii_digit()) {
            return Err(IntakeError::NoVersion {
                path: path.to_owned(),
                version: version.clone(),
            });
        }
        let mut notes = taken.notes;
        notes.extend(notes_on(&tables));
        if !taken.origin.outside.is_empty() {
            notes.push(format!("leaves out {}", taken.origin.outside.join(", ")));
        }
        Ok(Prepared {
            package,
            bundle,
            notes,
            from_file_alone,
        })
    }

    /// Evaluates the source's `dkms.conf`: a plain one as it is, any other on disk, where bash can see the files next to it.
    fn evaluate(&self, path: &Path, tree: &SourceTree) -> Result<conf::DkmsConf, IntakeError> {
        let mut files = tree.files();
        let text = files.find_map(|(name, text)| (name == "dkms.conf").then_some(text));
        if let Some(conf) = text.and_then(|text| conf::read_plain(text, &self.context)) {
            return Ok(conf);
        }
        let scratch = tempfile::tempdir().map_err(FileError::on("create a directory in", &std::env::temp_dir()))?;
        tree.write_to(scratch.path())
            .map_err(FileError::on("write", scratch.path()))?;
        let first = conf::evaluate_first(scratch.path(), &self.context);
        first.map(|first| first.conf).map_err(|source| IntakeError::Conf {
            path: path.to_owned(),
            source,
        })
    }
}

/// Puts a prepared package into the staging area. Build facts of the same source are kept.
///
/// # Errors
/// When the same version is staged with another source and `force` is not given, or nothing can be written.
pub fn stage(stage: &Stage, prepared: &Prepared, path: &Path, force: bool) -> Result<Outcome, IntakeError> {
    let fresh = &prepared.package;
    Stage::check(fresh)?;
    let _lock = recovery::lock(stage.repository_dir())?;
    let before = match stage.get(&fresh.manifest.name, &fresh.manifest.version) {
        Ok(before) => Some(before),
        Err(StageError::NotStaged { .. }) => None,
        Err(_) if force => None,
        Err(error) => return Err(error.into()),
    };
    let outcome = match &before {
        None => Outcome::Added,
        Some(before) if before.manifest.bundle == fresh.manifest.bundle => Outcome::Unchanged,
        Some(_) if force => Outcome::Replaced,
        Some(_) => {
            return Err(IntakeError::Differs {
                name: fresh.manifest.name.clone(),
                version: fresh.manifest.version.clone(),
                path: path.to_owned(),
            });
        }
    };
    if outcome != Outcome::Unchanged {
        stage.put_bundle(prepared.bundle.bytes.as_slice(), BundleFormat::TarZst)?;
        stage.put(fresh)?;
    }
    if prepared.from_file_alone {
        inputs::note_made(stage, path, &fresh.manifest)?;
    }
    Ok(outcome)
}

fn notes_on(tables: &[source::Table]) -> Vec<String> {
    let unread = tables.iter().filter(|table| !table.unknown.is_empty());
    unread
        .map(|table| {
            let unknown: Vec<&str> = table.unknown.iter().take(5).map(String::as_str).collect();
            format!(
                "cannot read all of the {} table in {}: {}",
                table.bus,
                table.file,
                unknown.join(", ")
            )
        })
        .collect()
}
