//! Which modules drive disks, or what is between disks and the root file system.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use dkms_engine::ko::{ModuleInfo, in_kernel, module_name};
use dkms_engine::package::KernelId;
use dkms_engine::tree::{RecordedModule, Tree};

/// The kernel's modules on which such modules depend.
const MODULES: [&str; 12] = [
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

/// What such modules call: many kernels have the modules above built in, and `modules.dep` does not have those.
const SYMBOLS: [&str; 14] = [
    "__blk_alloc_disk",
    "__blk_mq_alloc_disk",
    "ata_host_activate",
    "ata_host_register",
    "device_add_disk",
    "dm_register_target",
    "mmc_add_host",
    "nvme_init_ctrl",
    "register_filesystem",
    "register_md_personality",
    "sas_register_ha",
    "scsi_add_host_with_dma",
    "ufshcd_init",
    "usb_stor_probe1",
];

/// The modules of a kernel that depend on the code for disks.
pub(super) struct Storage(BTreeSet<String>);

impl Storage {
    /// By its `modules.dep`.
    pub(super) fn of(tree: &Tree, kernel: &KernelId) -> Self {
        let dep = tree.modules_dir(&kernel.release).join("modules.dep");
        Self(dependent(&fs::read_to_string(dep).unwrap_or_default()))
    }

    /// Whether an installed module is one of them.
    pub(super) fn has(&self, tree: &Tree, kernel: &KernelId, module: &RecordedModule) -> bool {
        if self.0.contains(&in_kernel(&module.name)) {
            return true;
        }
        let file = tree.installed_file(module, kernel);
        let info = file.and_then(|file| ModuleInfo::read(&file).ok());
        info.is_some_and(|info| SYMBOLS.iter().any(|symbol| info.imports.contains(*symbol)))
    }
}

/// The modules of a `modules.dep` that depend on storage. A line has all that a module needs, also by way of others.
fn dependent(dep: &str) -> BTreeSet<String> {
    let name = |path: &str| module_name(Path::new(path)).map(in_kernel);
    let is_storage = |path: &str| name(path).is_some_and(|name| MODULES.contains(&&*name));
    let lines = dep.lines().filter_map(|line| line.split_once(':'));
    let of_storage = lines.filter(|(_, needs)| needs.split_whitespace().any(is_storage));
    of_storage.filter_map(|(path, _)| name(path)).collect()
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
        assert_eq!(dependent(dep), BTreeSet::from(["raid_card".to_owned()]));
    }
}
