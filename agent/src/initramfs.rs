//! Which installed modules the initramfs of a kernel has to have, and the program that makes it.
//!
//! The generators ask for the list (`dkms-fetch initramfs-modules`) through hooks of ours. A run calls the generator at its end, once for each
//! kernel where what is on the list has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dkms_engine::command::{Confined, find_program};
use dkms_engine::package::KernelId;
use dkms_engine::root::Root;
use dkms_engine::tree::{RecordedModule, Tree};

use crate::apply;

/// The kernel's modules on which drivers of disks and of what is between disks and file systems depend.
const STORAGE: [&str; 12] = [
    "dm_mod",
    "libata",
    "libsas",
    "md_mod",
    "nvme_core",
    "raid_class",
    "scsi_mod",
    "scsi_transport_fc",
    "scsi_transport_iscsi",
    "scsi_transport_sas",
    "ufshcd_core",
    "usb_storage",
];

/// How long a generator may take.
const LIMIT: Duration = Duration::from_secs(900);
/// What is kept of its output.
const OUTPUT_MAX_BYTES: u64 = 1 << 20;

/// The names of the modules on the list of a kernel, in order.
pub fn modules(tree: &Tree, kernel: &KernelId) -> BTreeSet<String> {
    List::of(tree, kernel)
        .modules
        .into_iter()
        .map(|module| module.name)
        .collect()
}

/// The names of the modules that would be on the list of a kernel if they were not on trial.
pub fn left_out(tree: &Tree, kernel: &KernelId) -> BTreeSet<String> {
    List::of(tree, kernel).left_out
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

/// The modules that packages have installed for a kernel and that belong into its initramfs: those that depend on the kernel's code for
/// storage, and all of a package whose dkms.conf has `REMAKE_INITRD=yes`.
fn listed(tree: &Tree, kernel: &KernelId) -> Vec<RecordedModule> {
    let mut modules = Vec::new();
    for package in tree.packages().iter().filter(|one| tree.is_installed(one, kernel)) {
        let conf = fs::read_to_string(tree.source_dir(package).join("dkms.conf")).unwrap_or_default();
        let is_asked_for = asks(&conf);
        let recorded = tree.recorded_modules(package, kernel).into_iter();
        modules.extend(recorded.map(|module| (module, is_asked_for)));
    }
    if modules.iter().any(|(_, is_asked_for)| !is_asked_for) {
        let dep = tree.modules_dir(&kernel.release).join("modules.dep");
        let of_storage = for_storage(&fs::read_to_string(dep).unwrap_or_default());
        modules.retain(|(module, is_asked_for)| *is_asked_for || of_storage.contains(&in_kernel(&module.name)));
    }
    modules.into_iter().map(|(module, _)| module).collect()
}

/// Whether a dkms.conf asks for it. The line is read as it stands there: nothing is evaluated for it.
fn asks(conf: &str) -> bool {
    conf.lines().any(|line| {
        let value = line.trim_start().strip_prefix("REMAKE_INITRD=");
        value.is_some_and(|value| value.trim_start_matches(['"', '\'']).starts_with(['y', 'Y']))
    })
}

/// The modules of a `modules.dep` that depend on storage. A line has all that a module needs, also by way of others.
fn for_storage(dep: &str) -> BTreeSet<String> {
    let name = |path: &str| {
        in_kernel(
            path.rsplit('/')
                .next()
                .unwrap_or(path)
                .split(".ko")
                .next()
                .unwrap_or(path),
        )
    };
    let lines = dep.lines().filter_map(|line| line.split_once(':'));
    let of_storage = lines.filter(|(_, needs)| needs.split_whitespace().any(|path| STORAGE.contains(&&*name(path))));
    of_storage.map(|(path, _)| name(path)).collect()
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

/// The command that makes the initramfs of a kernel again; none where there is none, or no program that made it.
pub fn command(root: &Root, release: &str) -> Option<Vec<String>> {
    let image = |name: &str| root.join(Path::new("/boot").join(name)).exists();
    let has = |program: &str| find_program(root, program).is_some();
    let words: &[&str] = match () {
        () if image(&format!("initrd.img-{release}")) && has("update-initramfs") => {
            &["update-initramfs", "-u", "-k", release]
        }
        () if image(&format!("initramfs-{release}.img")) && has("dracut") => &["dracut", "--force", "--kver", release],
        () if root.join("/etc/mkinitcpio.d").is_dir() && has("mkinitcpio") => &["mkinitcpio", "-P"],
        () => return None,
    };
    Some(words.iter().map(|&word| word.to_owned()).collect())
}

/// Runs that command.
///
/// # Errors
/// What it says where it fails.
pub fn make(root: &Root, command: &[String]) -> Result<(), String> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(());
    };
    let output = Confined::new(program)
        .args(arguments)
        .chroot((!root.is_host()).then(|| root.path()))
        .time_limit(LIMIT)
        .output(OUTPUT_MAX_BYTES)
        .map_err(|error| error.to_string())?;
    if output.ended.timed_out {
        return Err(format!("it did not end within {} s", LIMIT.as_secs()));
    }
    if output.ended.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    Err(last.unwrap_or("it says nothing").chars().take(300).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_of_disks_are_known_by_what_they_need() {
        let dep = "kernel/drivers/scsi/scsi_mod.ko.xz: kernel/drivers/scsi/scsi_common.ko.xz\n\
                   updates/dkms/raid-card.ko.xz: kernel/drivers/scsi/scsi_mod.ko.xz kernel/drivers/scsi/scsi_common.ko.xz\n\
                   updates/dkms/wifi.ko: kernel/net/wireless/cfg80211.ko\n\
                   updates/dkms/alone.ko:\n";
        assert_eq!(for_storage(dep), BTreeSet::from(["raid_card".to_owned()]));
    }

    #[test]
    fn a_conf_can_ask() {
        let check = |conf: &str, expected: bool| assert_eq!(asks(conf), expected, "{conf:?}");
        check("REMAKE_INITRD=yes\n", true);
        check("PACKAGE_NAME=a\n  REMAKE_INITRD=\"Y\"\n", true);
        check("REMAKE_INITRD=\"no\"\n", false);
        check("# REMAKE_INITRD=yes\n", false);
        check("", false);
    }

    #[test]
    fn the_program_is_the_one_that_made_the_image() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::at(dir.path());
        let put = |path: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        };
        let check = |expected: Option<&str>| {
            assert_eq!(
                command(&root, "6.1.0").map(|words| words.join(" ")).as_deref(),
                expected
            );
        };
        check(None);
        put("usr/sbin/update-initramfs");
        put("usr/bin/dracut");
        check(None);
        put("boot/initramfs-6.1.0.img");
        check(Some("dracut --force --kver 6.1.0"));
        put("boot/initrd.img-6.1.0");
        check(Some("update-initramfs -u -k 6.1.0"));
        check(Some("update-initramfs -u -k 6.1.0"));
        put("etc/mkinitcpio.d/linux.preset");
        put("usr/bin/mkinitcpio");
        for gone in ["boot/initrd.img-6.1.0", "boot/initramfs-6.1.0.img"] {
            fs::remove_file(dir.path().join(gone)).unwrap();
        }
        check(Some("mkinitcpio -P"));
    }
}
