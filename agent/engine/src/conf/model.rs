//! The typed meaning of a dkms.conf.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::context::ConfContext;
use super::error::ConfProblem;
use super::exclusive::{Exclusion, Exclusive};
use super::is_name;
use super::raw::RawConf;
use crate::event::{Event, Sink};
use crate::kernel::KernelConfig;
use crate::version;

/// The most modules one package may have; the largest real one has about 70.
const MAX_MODULES: usize = 1024;

/// A dkms.conf, evaluated for one kernel and architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DkmsConf {
    /// PACKAGE_NAME.
    pub package_name: String,
    /// PACKAGE_VERSION.
    pub package_version: String,
    /// The modules in the order of their indexes.
    pub modules: Vec<ModuleSpec>,
    /// MAKE as it matched, without what is added to it; None where the conf leaves it to us.
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
    /// OBSOLETE_BY: the kernel that has it in its own tree.
    pub obsolete_by: Option<String>,
    /// What a person should know about this conf.
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

/// Something in a conf that works, but not as its author thinks.
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
    /// What the conf said on standard error.
    #[error("it says: {0}")]
    Says(String),
}

/// The directives that only warn.
const DEPRECATED: [&str; 6] = [
    "REMAKE_INITRD",
    "MODULES_CONF",
    "MODULES_CONF_OBSOLETES",
    "MODULES_CONF_ALIAS_TYPE",
    "MODULES_CONF_OBSOLETE_ONLY",
    "CLEAN",
];

impl DkmsConf {
    /// Tells `sink` what a person should know about this conf, which was read from `dir`.
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
                ConfWarning::NoModules | ConfWarning::Says(_) => Event::Note(text),
            });
        }
    }

    pub(super) fn from_raw(raw: &RawConf, ctx: &ConfContext, stderr: &str) -> Result<DkmsConf, Vec<ConfProblem>> {
        let mut reader = Reader {
            raw,
            problems: raw.problems.clone(),
        };
        // Whoever calls a package by a name means that one, whatever its conf says of itself.
        let is_named = !ctx.module.is_empty();
        let package_name = reader.name("PACKAGE_NAME", is_named);
        let package_version = reader.name("PACKAGE_VERSION", is_named);
        let conf = DkmsConf {
            modules: reader.modules(&package_name, ctx),
            make: reader.make(),
            clean: reader.scalar("CLEAN"),
            patches: reader.patches(),
            autoinstall: reader.yes_no("AUTOINSTALL"),
            no_weak_modules: reader.yes_no("NO_WEAK_MODULES"),
            build_depends: reader.list("BUILD_DEPENDS"),
            build_depends_rebuild: reader.yes_no("BUILD_DEPENDS_REBUILD"),
            exclusive: reader.exclusive(0),
            scripts: reader.scripts(),
            obsolete_by: reader.scalar("OBSOLETE_BY"),
            warnings: reader.warnings(stderr),
            package_name,
            package_version,
        };
        if reader.problems.is_empty() {
            Ok(conf)
        } else {
            Err(reader.problems)
        }
    }

    /// Why the whole package is not meant for kernel `release`, if it is not: none of its modules may be. OBSOLETE_BY counts where
    /// BUILD_EXCLUSIVE_KERNEL_MAX is not set.
    pub fn excluded(&self, release: &str, config: Option<&KernelConfig>) -> Option<Exclusion> {
        if let Some(why) = self.exclusive.excludes(release, config) {
            return Some(why);
        }
        let obsolete_by = self
            .obsolete_by
            .as_ref()
            .filter(|_| self.exclusive.kernel_max.is_empty());
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

/// Whether a value is what Makefiles and `sed` replace: `@VERSION@`, `#MODULE_VERSION#`, `%VERSION%`, `{{VERSION}}`.
fn is_placeholder(value: &str) -> bool {
    [("@", "@"), ("#", "#"), ("%", "%"), ("__", "__"), ("{", "}"), ("<", ">")]
        .iter()
        .any(|(begin, end)| value.len() > begin.len() + end.len() && value.starts_with(begin) && value.ends_with(end))
}

/// Takes values out of a [`RawConf`] and collects all that is wrong with them.
struct Reader<'a> {
    raw: &'a RawConf,
    problems: Vec<ConfProblem>,
}

impl Reader<'_> {
    fn at(&self, variable: &str, index: usize) -> &str {
        self.raw
            .values
            .get(variable)
            .and_then(|values| values.get(&index))
            .map_or("", String::as_str)
    }

    fn scalar(&self, variable: &str) -> Option<String> {
        Some(self.at(variable, 0).trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// One more than the highest index of a variable: its array may have gaps.
    fn count(&self, variable: &str) -> usize {
        let last = self
            .raw
            .values
            .get(variable)
            .and_then(|values| values.keys().next_back());
        last.map_or(0, |last| last + 1)
    }

    fn list(&self, variable: &str) -> Vec<String> {
        let values = self.raw.values.get(variable);
        values
            .into_iter()
            .flat_map(|values| values.values())
            .flat_map(|v| v.split_whitespace())
            .map(str::to_owned)
            .collect()
    }

    fn name(&mut self, variable: &str, is_named: bool) -> String {
        match self.scalar(variable) {
            None => self.problems.push(ConfProblem::Unset(variable.into())),
            Some(value) if is_named => return value,
            Some(value) if is_placeholder(&value) => {
                self.problems.push(ConfProblem::Placeholder {
                    directive: variable.into(),
                    value,
                });
            }
            Some(value) if !is_name(&value) => {
                self.problems.push(ConfProblem::BadName {
                    directive: variable.into(),
                    value,
                });
            }
            Some(value) => return value,
        }
        String::new()
    }

    fn yes_no(&mut self, variable: &str) -> bool {
        let value = self.scalar(variable).unwrap_or_default();
        match value.to_ascii_lowercase().as_str() {
            "" | "no" | "n" => false,
            "yes" | "y" => true,
            _ => {
                self.problems.push(ConfProblem::NotYesNo {
                    directive: variable.into(),
                    value,
                });
                false
            }
        }
    }

    fn modules(&mut self, package_name: &str, ctx: &ConfContext) -> Vec<ModuleSpec> {
        let arrays = [
            "BUILT_MODULE_NAME",
            "BUILT_MODULE_LOCATION",
            "DEST_MODULE_NAME",
            "DEST_MODULE_LOCATION",
        ];
        let count = arrays.iter().map(|variable| self.count(variable)).max().unwrap_or(0);
        let strip_all = !self.at("STRIP", 0).starts_with(['n', 'N']);
        let modules: Vec<ModuleSpec> = (0..count.min(MAX_MODULES))
            .map(|index| self.module(index, (count == 1).then_some(package_name), strip_all, ctx))
            .collect();
        self.check_duplicates(&modules);
        modules
    }

    /// Of two modules with one name, one would take the place of the other.
    fn check_duplicates(&mut self, modules: &[ModuleSpec]) {
        let (mut built, mut dest) = (BTreeSet::new(), BTreeSet::new());
        for (index, module) in modules.iter().enumerate() {
            let path = format!("{}{}", module.built_location, module.built_name);
            for (variable, value, is_new) in [
                ("BUILT_MODULE_NAME", &path, built.insert(path.clone())),
                (
                    "DEST_MODULE_NAME",
                    &module.dest_name,
                    dest.insert(module.dest_name.clone()),
                ),
            ] {
                if !is_new && !module.built_name.is_empty() {
                    self.problems.push(ConfProblem::Duplicate {
                        directive: format!("{variable}[{index}]"),
                        value: value.clone(),
                    });
                }
            }
        }
    }

    /// `only_name` is PACKAGE_NAME where there is one module, which then needs no name of its own.
    fn module(&mut self, index: usize, only_name: Option<&str>, strip_all: bool, ctx: &ConfContext) -> ModuleSpec {
        let mut built_name = self.at("BUILT_MODULE_NAME", index).to_owned();
        if let Some(package_name) = only_name.filter(|_| built_name.is_empty()) {
            package_name.clone_into(&mut built_name);
        }
        let mut dest_name = self.at("DEST_MODULE_NAME", index).to_owned();
        if dest_name.is_empty() {
            built_name.clone_into(&mut dest_name);
        }
        let mut built_location = self.at("BUILT_MODULE_LOCATION", index).to_owned();
        if !built_location.is_empty() && !built_location.ends_with('/') {
            built_location.push('/');
        }
        let declared_location = self.at("DEST_MODULE_LOCATION", index).to_owned();
        self.check_module_name("BUILT_MODULE_NAME", index, &built_name);
        self.check_module_name("DEST_MODULE_NAME", index, &dest_name);
        self.check_location(index, &built_location, &declared_location);
        let strip = match self.at("STRIP", index).chars().next() {
            Some('n' | 'N') => false,
            Some('y' | 'Y') => true,
            _ => strip_all,
        };
        let dest_location = match (&ctx.addon_modules_dir, ctx.distribution.module_directory()) {
            (Some(dir), _) => format!("/{}", dir.trim_matches('/')),
            (None, Some(dir)) => dir.to_owned(),
            (None, None) => declared_location.trim_end_matches('/').to_owned(),
        };
        let exclusive = if index == 0 {
            Exclusive::default()
        } else {
            self.exclusive(index)
        };
        ModuleSpec {
            built_name,
            built_location,
            dest_name,
            dest_location,
            declared_location,
            strip,
            exclusive,
        }
    }

    fn check_module_name(&mut self, variable: &str, index: usize, value: &str) {
        let directive = format!("{variable}[{index}]");
        let value = value.to_owned();
        if value.is_empty() {
            if variable == "BUILT_MODULE_NAME" {
                self.problems.push(ConfProblem::Unset(directive));
            }
        } else if value.ends_with(".o") || value.ends_with(".ko") {
            self.problems.push(ConfProblem::Suffix { directive, value });
        } else if !is_name(&value) {
            self.problems.push(ConfProblem::BadName { directive, value });
        }
    }

    fn check_location(&mut self, index: usize, built: &str, dest: &str) {
        let leaves = |path: &str| {
            Path::new(path)
                .components()
                .any(|part| part == std::path::Component::ParentDir)
        };
        if leaves(built) || built.starts_with('/') {
            let directive = format!("BUILT_MODULE_LOCATION[{index}]");
            self.problems.push(ConfProblem::Leaves {
                directive,
                value: built.to_owned(),
            });
        }
        let directive = format!("DEST_MODULE_LOCATION[{index}]");
        let value = dest.to_owned();
        if value.is_empty() {
            self.problems.push(ConfProblem::Unset(directive));
        } else if leaves(dest)
            || !["/kernel", "/updates", "/extra"]
                .iter()
                .any(|top| dest.starts_with(top))
        {
            self.problems.push(ConfProblem::BadDestination { directive, value });
        }
    }

    /// Whether the regular expression at an index matched. One that is none matches nothing, as in bash.
    fn matched(&self, variable: &str, index: usize) -> bool {
        let found = self.raw.matches.get(variable).and_then(|all| all.get(&index));
        found.is_some_and(|matched| matched == &Some(true))
    }

    /// The last MAKE whose MAKE_MATCH matches; MAKE[0] counts always if it has none.
    fn make(&self) -> Option<String> {
        let raw = self.raw;
        let mut command = None;
        if self.at("MAKE_MATCH", 0).is_empty() {
            command = self.scalar("MAKE");
        }
        for (&index, value) in raw.values.get("MAKE").into_iter().flatten() {
            let conditional = !self.at("MAKE_MATCH", index).is_empty();
            if conditional && !value.is_empty() && self.matched("MAKE_MATCH", index) {
                command = Some(value.clone());
            }
        }
        command
    }

    fn patches(&self) -> Vec<String> {
        let raw = self.raw;
        let mut patches = Vec::new();
        for (&index, value) in raw.values.get("PATCH").into_iter().flatten() {
            let applies = self.at("PATCH_MATCH", index).is_empty() || self.matched("PATCH_MATCH", index);
            if value.is_empty() || !applies {
                continue;
            }
            patches.push(value.clone());
        }
        patches
    }

    fn exclusive(&self, index: usize) -> Exclusive {
        let text = |reader: &Self, what: &str| reader.at(&format!("BUILD_EXCLUSIVE_{what}"), index).trim().to_owned();
        let (kernel, arch) = (text(self, "KERNEL"), text(self, "ARCH"));
        Exclusive {
            kernel_matches: kernel.is_empty() || self.matched("BUILD_EXCLUSIVE_KERNEL", index),
            arch_matches: arch.is_empty() || self.matched("BUILD_EXCLUSIVE_ARCH", index),
            kernel_min: text(self, "KERNEL_MIN"),
            kernel_max: text(self, "KERNEL_MAX"),
            config: text(self, "CONFIG").split_whitespace().map(str::to_owned).collect(),
            kernel,
            arch,
        }
    }

    fn scripts(&self) -> Scripts {
        Scripts {
            pre_build: self.scalar("PRE_BUILD"),
            post_build: self.scalar("POST_BUILD"),
            post_add: self.scalar("POST_ADD"),
            pre_install: self.scalar("PRE_INSTALL"),
            post_install: self.scalar("POST_INSTALL"),
            post_remove: self.scalar("POST_REMOVE"),
        }
    }

    fn warnings(&self, stderr: &str) -> Vec<ConfWarning> {
        let deprecated = DEPRECATED
            .iter()
            .filter(|variable| self.count(variable) > 0)
            .map(|variable| ConfWarning::Deprecated((*variable).to_owned()));
        let says = stderr.lines().filter(|line| !line.trim().is_empty()).take(20);
        let none = (self.count("DEST_MODULE_LOCATION") == 0 && self.count("BUILT_MODULE_NAME") == 0)
            .then_some(ConfWarning::NoModules);
        let odd = self.raw.matches.iter().flat_map(|(variable, all)| {
            let odd = all.iter().filter(|(_, matched)| matched.is_none());
            odd.map(move |(index, _)| ConfWarning::BadRegex {
                directive: format!("{variable}[{index}]"),
                value: self.at(variable, *index).to_owned(),
            })
        });
        deprecated
            .chain(none)
            .chain(odd)
            .chain(says.map(|line| ConfWarning::Says(line.to_owned())))
            .collect()
    }
}
