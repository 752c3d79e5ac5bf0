//! The typed meaning of a dkms.conf.

use std::cmp::Ordering;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::exclusive::{Exclusion, Exclusive};
use crate::event::{Event, Sink};
use crate::kernel::KernelConfig;
use crate::version;

/// A dkms.conf, evaluated for one kernel and architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DkmsConf {
    /// PACKAGE_NAME.
    pub package_name: String,
    /// PACKAGE_VERSION.
    pub package_version: String,
    /// The modules in the order of their indexes.
    pub modules: Vec<ModuleSpec>,
    /// The MAKE that matches this kernel, without the options that are added to it; None where the conf does not set it.
    pub make: Option<String>,
    /// CLEAN, as written.
    pub clean: Option<String>,
    /// The patches to apply to this kernel, in order; names below `patches/`.
    pub patches: Vec<String>,
    /// AUTOINSTALL.
    pub autoinstall: bool,
    /// NO_WEAK_MODULES.
    pub no_weak_modules: bool,
    /// The packages whose modules must be installed first.
    pub build_depends: Vec<String>,
    /// BUILD_DEPENDS_REBUILD: build again when one of those was.
    pub build_depends_rebuild: bool,
    /// The conditions for the whole package (index 0).
    pub exclusive: Exclusive,
    /// The scripts it brings.
    pub scripts: Scripts,
    /// OBSOLETE_BY: the first kernel whose own tree has the driver.
    pub obsolete_by: Option<String>,
    /// What is reported to the user about this conf.
    pub warnings: Vec<ConfWarning>,
}

/// One module of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleSpec {
    /// The name of the built file, without `.ko`.
    pub built_name: String,
    /// Where in the source it is built: empty, or ending in `/`.
    pub built_location: String,
    /// The name of the installed file, without `.ko`.
    pub dest_name: String,
    /// Where it is installed, below `/lib/modules/K`; begins with `/`.
    pub dest_location: String,
    /// DEST_MODULE_LOCATION as the conf has it, where the distribution says otherwise.
    pub declared_location: String,
    /// Whether debug symbols are removed.
    pub strip: bool,
    /// The conditions for this module alone; empty for the first, whose conditions are the package's.
    pub exclusive: Exclusive,
}

/// Scripts with their arguments, as written in the conf.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scripts {
    /// PRE_BUILD, in the build directory.
    pub pre_build: Option<String>,
    /// POST_BUILD, in the build directory.
    pub post_build: Option<String>,
    /// POST_ADD, in the source.
    pub post_add: Option<String>,
    /// PRE_INSTALL, in the source.
    pub pre_install: Option<String>,
    /// POST_INSTALL, in the source.
    pub post_install: Option<String>,
    /// POST_REMOVE, in the source.
    pub post_remove: Option<String>,
}

/// A mistake in a conf that does not stop a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ConfWarning {
    /// A directive that has no effect any more.
    #[error("{0} is deprecated and has no effect")]
    Deprecated(String),
    /// There is nothing to install.
    #[error("it names no modules")]
    NoModules,
    /// Something that bash cannot take as a regular expression.
    #[error("{directive} is {value:?}, which is no regular expression and matches nothing")]
    BadRegex {
        /// The directive.
        directive: String,
        /// Its value.
        value: String,
    },
    /// A placeholder that the package's own installation replaces.
    #[error("{directive} is {value:?}, a placeholder that the package's own installation replaces")]
    Placeholder {
        /// The directive.
        directive: String,
        /// Its value.
        value: String,
    },
    /// A line that the conf wrote to standard error.
    #[error("it says: {0}")]
    Says(String),
}

/// Suggested fix for a source in `dir` that its own installation would have completed.
pub(crate) fn placeholder_hint(dir: &Path) -> String {
    format!(
        "install it as {}/README or its Makefile says, or copy it to /usr/src/NAME-VERSION and run `dkms add NAME/VERSION`",
        dir.display()
    )
}

impl DkmsConf {
    /// Reports the warnings about this conf, which was read from `dir`.
    pub(crate) fn tell_warnings(&self, dir: &Path, sink: &dyn Sink) {
        let path = dir.join("dkms.conf");
        for warning in &self.warnings {
            let text = format!("{}: {warning}", path.display());
            sink.emit(match warning {
                ConfWarning::Deprecated(_) => Event::Advice {
                    text,
                    hint: Some(format!("remove it from {}", path.display())),
                },
                ConfWarning::BadRegex { .. } => Event::Warning {
                    text,
                    hint: Some(format!("edit {}", path.display())),
                },
                ConfWarning::Placeholder { .. } => Event::Warning {
                    text,
                    hint: Some(placeholder_hint(dir)),
                },
                ConfWarning::NoModules | ConfWarning::Says(_) => Event::Note(text),
            });
        }
    }

    /// Why the package is not built for kernel `release`: a condition of the whole package, or those of every module, exclude it.
    /// OBSOLETE_BY counts only where neither the package nor a module sets BUILD_EXCLUSIVE_KERNEL_MAX.
    pub fn excluded(&self, release: &str, config: Option<&KernelConfig>) -> Option<Exclusion> {
        if let Some(why) = self.exclusive.excludes(release, config) {
            return Some(why);
        }
        let of_modules = self.modules.iter().map(|module| &module.exclusive);
        let has_max = of_modules
            .chain([&self.exclusive])
            .any(|exclusive| !exclusive.kernel_max.is_empty());
        let obsolete_by = self.obsolete_by.as_ref().filter(|_| !has_max);
        if let Some(since) = obsolete_by.filter(|since| version::compare(release, since) != Ordering::Less) {
            return Some(Exclusion::Obsolete(since.clone()));
        }
        let mut each = self
            .modules
            .iter()
            .map(|module| module.exclusive.excludes(release, config));
        let first = each.next()??;
        each.all(|why| why.is_some()).then_some(first)
    }

    /// The modules that are meant for kernel `release`.
    pub fn modules_for(&self, release: &str, config: Option<&KernelConfig>) -> Vec<&ModuleSpec> {
        self.modules
            .iter()
            .filter(|module| module.exclusive.excludes(release, config).is_none())
            .collect()
    }

    /// The command that builds: MAKE, or kbuild's own on `build_dir`.
    pub fn make_command(&self, kernel_source_dir: &Path, build_dir: &Path) -> String {
        self.make
            .clone()
            .unwrap_or_else(|| format!("make -C {} M={}", kernel_source_dir.display(), build_dir.display()))
    }
}
