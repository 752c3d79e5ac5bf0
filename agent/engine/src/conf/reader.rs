//! From the values that bash printed to the typed [`DkmsConf`].

use std::collections::BTreeSet;
use std::path::Path;

use super::context::ConfContext;
use super::error::ConfProblem;
use super::exclusive::Exclusive;
use super::is_name;
use super::model::{ConfWarning, DkmsConf, ModuleSpec, Scripts};
use super::raw::RawConf;

/// The most modules one package may have; the largest real one has about 70.
const MAX_MODULES: usize = 1024;

/// The directives that only warn.
const DEPRECATED: [&str; 6] = [
    "REMAKE_INITRD",
    "MODULES_CONF",
    "MODULES_CONF_OBSOLETES",
    "MODULES_CONF_ALIAS_TYPE",
    "MODULES_CONF_OBSOLETE_ONLY",
    "CLEAN",
];

/// Converts the values that bash printed to a typed conf. The error holds all problems.
pub(super) fn read_conf(raw: &RawConf, ctx: &ConfContext, stderr: &str) -> Result<DkmsConf, Vec<ConfProblem>> {
    let mut reader = Reader {
        raw,
        problems: raw.problems.clone(),
    };
    // A package that the caller names keeps that name, whatever its conf says.
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
        warnings: reader.warnings(stderr, is_named),
        package_name,
        package_version,
    };
    if reader.problems.is_empty() {
        Ok(conf)
    } else {
        Err(reader.problems)
    }
}

/// Whether a value is what Makefiles and `sed` replace: `@VERSION@`, `#MODULE_VERSION#`, `%VERSION%`, `{{VERSION}}`, `DKMS_VERSION`.
fn is_placeholder(value: &str) -> bool {
    [("@", "@"), ("#", "#"), ("%", "%"), ("__", "__"), ("{", "}"), ("<", ">")]
        .iter()
        .any(|(begin, end)| value.len() > begin.len() + end.len() && value.starts_with(begin) && value.ends_with(end))
        || value.ends_with("_VERSION") && value.chars().all(|c| c.is_ascii_uppercase() || c == '_')
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
            Some(value) if !is_name(&value) => {
                let directive = variable.into();
                self.problems.push(if is_placeholder(&value) {
                    ConfProblem::Placeholder { directive, value }
                } else {
                    ConfProblem::BadName { directive, value }
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

    /// Whether the regular expression at an index matched. An invalid one matches nothing, as in bash.
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
        let value = |what: &str| self.at(&format!("BUILD_EXCLUSIVE_{what}"), index);
        let text = |what: &str| value(what).trim().to_owned();
        // A regular expression of blanks is one that no release matches.
        let (kernel, arch) = (value("KERNEL").to_owned(), value("ARCH").to_owned());
        Exclusive {
            kernel_matches: kernel.is_empty() || self.matched("BUILD_EXCLUSIVE_KERNEL", index),
            arch_matches: arch.is_empty() || self.matched("BUILD_EXCLUSIVE_ARCH", index),
            kernel_min: text("KERNEL_MIN"),
            kernel_max: text("KERNEL_MAX"),
            config: text("CONFIG").split_whitespace().map(str::to_owned).collect(),
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

    fn warnings(&self, stderr: &str, is_named: bool) -> Vec<ConfWarning> {
        let deprecated = DEPRECATED
            .iter()
            .filter(|variable| self.count(variable) > 0)
            .map(|variable| ConfWarning::Deprecated((*variable).to_owned()));
        let says = stderr.lines().filter(|line| !line.trim().is_empty()).take(20);
        let none = (self.count("DEST_MODULE_LOCATION") == 0 && self.count("BUILT_MODULE_NAME") == 0)
            .then_some(ConfWarning::NoModules);
        // Whoever is called by name has another version than this.
        let placeholders = ["PACKAGE_NAME", "PACKAGE_VERSION"]
            .into_iter()
            .filter(|_| !is_named)
            .filter_map(|variable| Some((variable, self.scalar(variable)?)))
            .filter(|(_, value)| is_placeholder(value))
            .map(|(variable, value)| ConfWarning::Placeholder {
                directive: variable.to_owned(),
                value,
            });
        let odd = self.raw.matches.iter().flat_map(|(variable, all)| {
            let odd = all.iter().filter(|(_, matched)| matched.is_none());
            odd.map(move |(index, _)| ConfWarning::BadRegex {
                directive: format!("{variable}[{index}]"),
                value: self.at(variable, *index).to_owned(),
            })
        });
        deprecated
            .chain(none)
            .chain(placeholders)
            .chain(odd)
            .chain(says.map(|line| ConfWarning::Says(line.to_owned())))
            .collect()
    }
}
