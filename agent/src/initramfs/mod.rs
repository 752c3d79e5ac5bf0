//! Which installed modules the initramfs of a kernel has to have, and the program that makes it.
//!
//! The generators ask for the list (`dkms-fetch initramfs-modules`) through hooks of ours. A run calls the generator at its end, once for each
//! kernel where what is on the list has changed.

mod generator;
mod storage;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use dkms_engine::ko::in_kernel;
use dkms_engine::package::KernelId;
use dkms_engine::tree::{RecordedModule, Tree};

use crate::apply;
use storage::Storage;

pub use generator::Generator;

/// The names of the modules on the list of a kernel, in order.
pub fn modules(tree: &Tree, kernel: &KernelId) -> BTreeSet<String> {
    List::of(tree, kernel)
        .modules
        .into_iter()
        .map(|module| module.name)
        .collect()
}

/// The list of a kernel.
struct List {
    modules: Vec<RecordedModule>,
    /// What the initramfs does not get, nor loads, because it is on trial and this machine starts without it: there a boot that a driver ends
    /// early is not counted.
    left_out: BTreeSet<String>,
}

impl List {
    fn of(tree: &Tree, kernel: &KernelId) -> Self {
        let late = apply::left_out(tree.root(), &kernel.release);
        let is_late = |module: &RecordedModule| late.contains(&in_kernel(&module.name));
        let (left_out, modules): (Vec<_>, Vec<_>) = listed(tree, kernel).into_iter().partition(is_late);
        Self {
            modules,
            left_out: left_out.into_iter().map(|module| module.name).collect(),
        }
    }
}

/// The modules that packages have installed for a kernel and that belong into its initramfs: drivers of disks, and all of a package whose
/// dkms.conf has `REMAKE_INITRD=yes`.
fn listed(tree: &Tree, kernel: &KernelId) -> Vec<RecordedModule> {
    let mut modules = Vec::new();
    let mut storage = None;
    for package in tree.packages().iter().filter(|one| tree.is_installed(one, kernel)) {
        let conf = fs::read_to_string(tree.source_dir(package).join("dkms.conf")).unwrap_or_default();
        let mut recorded = tree.recorded_modules(package, kernel);
        if !asks(&conf) {
            let storage = storage.get_or_insert_with(|| Storage::of(tree, kernel));
            recorded.retain(|module| storage.has(tree, kernel, module));
        }
        modules.extend(recorded);
    }
    modules
}

/// Whether a dkms.conf asks for it. The line is read as it stands there: nothing is evaluated for it.
fn asks(conf: &str) -> bool {
    conf.lines().any(|line| {
        let value = line.trim_start().strip_prefix("REMAKE_INITRD=");
        value.is_some_and(|value| value.trim_start_matches(['"', '\'']).starts_with(['y', 'Y']))
    })
}

/// A file of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SeenFile {
    path: PathBuf,
    length: u64,
    modified: Option<SystemTime>,
}

/// The installed files of modules of a kernel, and the names of those that are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Marks {
    files: Vec<SeenFile>,
    left_out: BTreeSet<String>,
}

impl Marks {
    fn of(tree: &Tree, kernel: &KernelId, modules: &[RecordedModule], left_out: BTreeSet<String>) -> Self {
        let paths = modules.iter().filter_map(|module| tree.installed_file(module, kernel));
        let seen = |path: PathBuf| {
            let about = fs::metadata(&path).ok()?;
            Some(SeenFile {
                path,
                length: about.len(),
                modified: about.modified().ok(),
            })
        };
        Self {
            files: paths.filter_map(seen).collect(),
            left_out,
        }
    }

    /// All modules that packages have installed.
    fn installed(tree: &Tree, kernel: &KernelId) -> Self {
        let packages = tree.packages();
        let installed = packages.iter().filter(|package| tree.is_installed(package, kernel));
        let modules: Vec<RecordedModule> = installed.flat_map(|one| tree.recorded_modules(one, kernel)).collect();
        Self::of(tree, kernel, &modules, apply::left_out(tree.root(), &kernel.release))
    }

    /// The modules on the list. To know them the files of all others are read.
    fn listed(tree: &Tree, kernel: &KernelId) -> Self {
        let List { modules, left_out } = List::of(tree, kernel);
        Self::of(tree, kernel, &modules, left_out)
    }
}

/// What the initramfs of a kernel takes, and all of which it is chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct SeenKernel {
    installed: Marks,
    listed: Marks,
}

/// What was there before a run, by the kernels that packages have installed modules for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen(BTreeMap<String, SeenKernel>);

impl Seen {
    /// Looks at them.
    pub fn of(tree: &Tree) -> Self {
        let seen = |kernel: KernelId| {
            let now = SeenKernel {
                installed: Marks::installed(tree, &kernel),
                listed: Marks::listed(tree, &kernel),
            };
            (kernel.release, now)
        };
        Self(tree.installed_kernels().into_iter().map(seen).collect())
    }

    /// The kernels for which what is on the list has changed since. Where all that is installed is as it was, the list is, too.
    pub fn changed(&self, tree: &Tree) -> Vec<String> {
        let mut changed = BTreeSet::new();
        let mut gone: BTreeSet<&String> = self.0.keys().collect();
        let nothing = SeenKernel::default();
        for kernel in tree.installed_kernels() {
            gone.remove(&kernel.release);
            let before = self.0.get(&kernel.release).unwrap_or(&nothing);
            if Marks::installed(tree, &kernel) != before.installed && Marks::listed(tree, &kernel) != before.listed {
                changed.insert(kernel.release);
            }
        }
        let had_some = gone
            .into_iter()
            .filter(|release| self.0[*release].listed != nothing.listed);
        changed.extend(had_some.cloned());
        changed.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conf_can_ask() {
        let check = |conf: &str, expected: bool| assert_eq!(asks(conf), expected, "{conf:?}");
        check("REMAKE_INITRD=yes\n", true);
        check("PACKAGE_NAME=a\n  REMAKE_INITRD=\"Y\"\n", true);
        check("REMAKE_INITRD=\"no\"\n", false);
        check("# REMAKE_INITRD=yes\n", false);
        check("", false);
    }
}
