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

/// The kernel's spelling of a module's name.
fn in_kernel(module: &str) -> String {
    module.replace('-', "_")
}

/// A file of a module on the list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SeenFile {
    path: PathBuf,
    length: u64,
    modified: Option<SystemTime>,
}

/// The files of the modules on the list and the names of those that are left out, by the kernels that packages have installed modules for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen(BTreeMap<String, (Vec<SeenFile>, BTreeSet<String>)>);

impl Seen {
    /// Looks at them.
    pub fn of(tree: &Tree) -> Self {
        let mut kernels = BTreeMap::new();
        for kernel in tree.installed_kernels() {
            let mut files = Vec::new();
            let list = List::of(tree, &kernel);
            for module in list.modules {
                let Some(path) = tree.installed_file(&module, &kernel) else {
                    continue;
                };
                if let Ok(about) = fs::metadata(&path) {
                    files.push(SeenFile {
                        path,
                        length: about.len(),
                        modified: about.modified().ok(),
                    });
                }
            }
            if !files.is_empty() || !list.left_out.is_empty() {
                kernels.insert(kernel.release, (files, list.left_out));
            }
        }
        Self(kernels)
    }

    /// The kernels for which something has changed since `before`.
    pub fn changed_since(&self, before: &Self) -> Vec<String> {
        let releases: BTreeSet<&String> = self.0.keys().chain(before.0.keys()).collect();
        let changed = releases
            .into_iter()
            .filter(|release| self.0.get(*release) != before.0.get(*release));
        changed.cloned().collect()
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
