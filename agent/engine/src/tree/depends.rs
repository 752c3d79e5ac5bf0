//! What packages need of each other: BUILD_DEPENDS.

use std::fs;
use std::path::{Path, PathBuf};

use super::Tree;
use crate::conf::{evaluate, override_files};
use crate::package::{DkmsId, KernelId};

/// Whether a package that needs another one is built again with each version of that: BUILD_DEPENDS_REBUILD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Follows(bool);

impl Tree {
    /// The version of `module` that a build for `kernel` finds: the installed one, else the newest that is built.
    pub(crate) fn version_to_build_with(&self, module: &str, kernel: &KernelId) -> Option<String> {
        let newest_built = || {
            let packages = self.packages();
            let built = packages.into_iter().rev();
            built
                .filter(|package| package.module == module)
                .find(|package| self.is_built(package, kernel))
                .map(|package| package.version)
        };
        self.installed_version(module, kernel).or_else(newest_built)
    }

    /// `.dep_NAME` in the directory of a build: the version of the package `name` that it was made with, for BUILD_DEPENDS_REBUILD.
    pub(crate) fn version_note(built_dir: &Path, name: &str) -> PathBuf {
        built_dir.join(format!(".dep_{name}"))
    }

    /// The packages that have to be built again because of `needed` (BUILD_DEPENDS_REBUILD): those that were built for `kernel` with another
    /// version than the one that is there now, or all of them where that was built again.
    pub(crate) fn followers(&self, needed: &str, kernel: &KernelId, was_built: bool) -> Vec<DkmsId> {
        let version = self.version_to_build_with(needed, kernel);
        let follows = |package: &DkmsId| self.needs(package, kernel, needed) == Some(Follows(true));
        let has_other = |package: &DkmsId| {
            let note = Tree::version_note(&self.built_dir(package, kernel), needed);
            fs::read_to_string(note).ok().map(|text| text.trim().to_owned()) != version
        };
        let packages = self.packages().into_iter();
        packages
            .filter(|package| package.module != needed && self.is_built(package, kernel))
            .filter(|package| (was_built || has_other(package)) && follows(package))
            .collect()
    }

    /// The packages that are installed for `kernel` and need some version of `module` there.
    pub fn dependents(&self, module: &str, kernel: &KernelId) -> Vec<DkmsId> {
        let packages = self.packages().into_iter();
        packages
            .filter(|package| package.module != module && self.is_installed(package, kernel))
            .filter(|package| self.needs(package, kernel, module).is_some())
            .collect()
    }

    /// How `package` needs `needed`, by the record of its build for `kernel`, else by its conf. None where it does not.
    fn needs(&self, package: &DkmsId, kernel: &KernelId, needed: &str) -> Option<Follows> {
        let (names, follows) = match self.record(package, kernel) {
            Some(record) => (record.build_depends, record.build_depends_rebuild),
            None => {
                let (source, context) = (self.source_dir(package), self.context(package, kernel));
                // Few packages need another one. No bash is started for those that never say so.
                let confs = std::iter::once(source.join("dkms.conf")).chain(override_files(&context));
                let says_so = |path: PathBuf| {
                    fs::read(path).is_ok_and(|text| String::from_utf8_lossy(&text).contains("BUILD_DEPENDS"))
                };
                if !confs.into_iter().any(says_so) {
                    return None;
                }
                let conf = evaluate(&source, &context).ok()?;
                (conf.build_depends, conf.build_depends_rebuild)
            }
        };
        names.iter().any(|name| name == needed).then_some(Follows(follows))
    }
}
