//! The modules that the start of this machine needs until its root file system is mounted.
//!
//! sysfs says which drivers the disks below the root file system have (`Documentation/ABI/testing/sysfs-devices-driver` and
//! `sysfs-block` of the kernel). What it does not say, such as which keyboard a passphrase is typed on, makes the answer unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use dkms_engine::root::Root;

/// The modules, in the kernel's spelling; none where they are not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartModules(Option<BTreeSet<String>>);

impl StartModules {
    /// Looks at the disks of the root file system, of `/usr`, and of the image of a hibernated system.
    pub fn of(root: &Root) -> Self {
        let mut chain = Chain {
            root,
            seen: BTreeSet::new(),
            modules: BTreeSet::new(),
        };
        Self(chain.of_file_systems().map(|()| with_dependencies(root, chain.modules)))
    }

    /// Whether the start may need the module. Where it is not known what it needs, it may need every module that is loaded.
    pub fn may_need(&self, root: &Root, module: &str) -> bool {
        let module = module.replace('-', "_");
        match &self.0 {
            Some(modules) => modules.contains(&module),
            None => root.join(format!("/sys/module/{module}")).exists(),
        }
    }
}

/// The devices from a file system down to a bus of the machine.
struct Chain<'a> {
    root: &'a Root,
    seen: BTreeSet<PathBuf>,
    modules: BTreeSet<String>,
}

impl Chain<'_> {
    /// `None` wherever a device is not known down to its bus.
    fn of_file_systems(&mut self) -> Option<()> {
        let mounts = fs::read_to_string(self.root.join("/proc/self/mountinfo")).ok()?;
        let mounts: Vec<Mount<'_>> = mounts.lines().filter_map(Mount::parse).collect();
        // What is mounted last is on top.
        let on = |point: &str| mounts.iter().rev().find(|mount| mount.point == point);
        self.file_system(on("/")?)?;
        if let Some(usr) = on("/usr") {
            self.file_system(usr)?;
        }
        // `MAJOR:MINOR` (Documentation/power/interface.rst); 0:0 is none.
        match fs::read_to_string(self.root.join("/sys/power/resume")) {
            Ok(device) if device.trim() != "0:0" => self.numbered(device.trim()),
            _ => Some(()),
        }
    }

    fn file_system(&mut self, mount: &Mount<'_>) -> Option<()> {
        self.modules.insert(mount.kind.replace('-', "_"));
        if mount.kind == "btrfs" {
            return self.btrfs(mount.source);
        }
        self.numbered(mount.device)
    }

    /// The disks of the btrfs that is mounted from one of them: mountinfo has a number that is not that of a disk.
    fn btrfs(&mut self, source: &str) -> Option<()> {
        let name = self.root.join(source).canonicalize().ok()?;
        let name = name.file_name()?;
        let systems = fs::read_dir(self.root.join("/sys/fs/btrfs")).ok()?;
        let mut devices = systems.flatten().map(|system| system.path().join("devices"));
        let devices = devices.find(|devices| devices.join(name).exists())?;
        for disk in fs::read_dir(devices).ok()?.flatten() {
            self.disk(&disk.path())?;
        }
        Some(())
    }

    fn numbered(&mut self, device: &str) -> Option<()> {
        self.disk(&self.root.join(format!("/sys/dev/block/{device}")))
    }

    /// A disk or partition, and what it is made of.
    fn disk(&mut self, path: &Path) -> Option<()> {
        let path = path.canonicalize().ok()?;
        if !self.seen.insert(path.clone()) {
            return Some(());
        }
        // A passphrase is typed, or a token is asked: with which devices, nothing here says.
        let uuid = fs::read_to_string(path.join("dm/uuid")).unwrap_or_default();
        if uuid.starts_with("CRYPT-") {
            return None;
        }
        let slaves: Vec<PathBuf> = entries(&path.join("slaves")).collect();
        if slaves.is_empty() {
            return self.up(&path).then_some(());
        }
        // Which of its modules maps this disk is not said: any of them may.
        let layer = if path.join("dm").is_dir() { "dm_mod" } else { "md_mod" };
        let users = fs::read_dir(self.root.join(format!("/sys/module/{layer}/holders"))).ok()?;
        self.modules.insert(layer.to_owned());
        self.modules
            .extend(users.flatten().filter_map(|user| user.file_name().into_string().ok()));
        slaves.iter().try_for_each(|slave| self.disk(slave))
    }

    /// The drivers of a device and of all that it hangs on. Whether one of them is on a bus of the machine: a disk of iSCSI has only that of
    /// SCSI, and one of NBD none, and neither says by which network card it is reached.
    fn up(&mut self, device: &Path) -> bool {
        let sys = self.root.join("/sys/devices");
        let sys = sys.canonicalize().unwrap_or(sys);
        let mut is_on_bus = false;
        for device in device
            .ancestors()
            .take_while(|path| **path != sys && path.starts_with(&sys))
        {
            if let Ok(module) = device.join("driver/module").canonicalize() {
                self.modules
                    .extend(module.file_name().map(|name| name.to_string_lossy().into_owned()));
            }
            if device.join("driver").exists() {
                let bus = device.join("subsystem").canonicalize().unwrap_or_default();
                is_on_bus |= !bus.ends_with("scsi");
            }
            // A clock, a regulator, a bridge (Documentation/ABI/testing/sysfs-devices-supplier).
            for link in entries(device).filter(|path| is_supplier(path)) {
                if let Ok(supplier) = link.join("supplier").canonicalize()
                    && self.seen.insert(supplier.clone())
                {
                    self.up(&supplier);
                }
            }
        }
        is_on_bus
    }
}

fn is_supplier(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("supplier:"))
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

/// The modules and all that they depend on.
fn with_dependencies(root: &Root, mut modules: BTreeSet<String>) -> BTreeSet<String> {
    let holders: BTreeMap<String, BTreeSet<String>> = entries(&root.join("/sys/module"))
        .filter_map(|module| {
            let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
            let holders = entries(&module.join("holders"))
                .filter_map(|holder| name(&holder))
                .collect();
            Some((name(&module)?, holders))
        })
        .collect();
    loop {
        let held = holders
            .iter()
            .filter(|(_, by)| !by.is_disjoint(&modules))
            .map(|(name, _)| name);
        let more: Vec<String> = held.filter(|name| !modules.contains(*name)).cloned().collect();
        if more.is_empty() {
            return modules;
        }
        modules.extend(more);
    }
}

/// A line of `mountinfo` (proc_pid_mountinfo(5)).
struct Mount<'a> {
    device: &'a str,
    point: &'a str,
    kind: &'a str,
    source: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (own, system) = line.split_once(" - ")?;
        let mut own = own.split(' ').skip(2);
        let mut system = system.split(' ');
        Some(Self {
            device: own.next()?,
            point: own.nth(1)?,
            kind: system.next()?,
            source: system.next()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A machine's /proc and /sys.
    struct Machine(tempfile::TempDir);

    impl Machine {
        /// With a root file system of `kind` on the device of this number, from `source`.
        fn new(kind: &str, device: &str, source: &str) -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            let line = |device: &str, kind: &str, source: &str| {
                format!("25 1 {device} / / rw shared:1 - {kind} {source} rw\n")
            };
            machine.put(
                "proc/self/mountinfo",
                &(line("0:2", "rootfs", "none") + &line(device, kind, source)),
            );
            machine.put("sys/devices/x", "");
            machine
        }

        fn put(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        /// A link as sysfs has it: a relative one.
        fn link(&self, from: &str, to: &str) {
            fs::create_dir_all(self.0.path().join(to)).unwrap();
            let target = "../".repeat(from.matches('/').count()) + to;
            let from = self.0.path().join(from);
            fs::create_dir_all(from.parent().unwrap()).unwrap();
            symlink(target, from).unwrap();
        }

        /// Binds a device on `bus` to the driver of `module`.
        fn bind(&self, device: &str, bus: &str, module: &str) {
            self.link(&format!("sys/devices/{device}/subsystem"), &format!("sys/bus/{bus}"));
            let driver = format!("sys/bus/{bus}/drivers/{module}");
            self.link(&format!("sys/devices/{device}/driver"), &driver);
            if !self.0.path().join(&driver).join("module").exists() {
                self.link(&format!("{driver}/module"), &format!("sys/module/{module}"));
            }
        }

        fn modules(&self) -> Option<Vec<String>> {
            StartModules::of(&Root::at(self.0.path()))
                .0
                .map(|modules| modules.into_iter().collect())
        }
    }

    const SDA: &str = "pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda";

    /// A disk at a controller on PCI.
    fn with_sda(machine: &Machine) {
        machine.bind("pci0000:00/0000:00:1f.2", "pci", "raid_card");
        machine.bind(
            "pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0",
            "scsi",
            "sd_mod",
        );
        machine.link("sys/module/raid_helper/holders/raid_card", "sys/module/raid_card");
        machine.link("sys/module/scsi_mod/holders/raid_helper", "sys/module/raid_helper");
        machine.link("sys/module/other/holders/wifi", "sys/module/wifi");
    }

    #[test]
    fn a_partition_needs_its_controller_and_what_that_depends_on() {
        let machine = Machine::new("ext4", "8:1", "/dev/sda1");
        with_sda(&machine);
        machine.link("sys/dev/block/8:1", &format!("sys/devices/{SDA}/sda1"));
        assert_eq!(
            machine.modules().unwrap(),
            ["ext4", "raid_card", "raid_helper", "scsi_mod", "sd_mod"]
        );
        let root = Root::at(machine.0.path());
        let start = StartModules::of(&root);
        assert!(start.may_need(&root, "raid-card") && !start.may_need(&root, "wifi"));
    }

    #[test]
    fn what_a_device_is_supplied_by_is_needed() {
        let machine = Machine::new("ext4", "179:1", "/dev/mmcblk0p1");
        machine.bind("platform/soc/mmc@1", "platform", "sdhci_soc");
        machine.bind("platform/soc/i2c/1-0010", "i2c", "regulator_soc");
        machine.link(
            "sys/devices/platform/soc/mmc@1/supplier:i2c:1-0010/supplier",
            "sys/devices/platform/soc/i2c/1-0010",
        );
        machine.link(
            "sys/dev/block/179:1",
            "sys/devices/platform/soc/mmc@1/block/mmcblk0/mmcblk0p1",
        );
        assert_eq!(machine.modules().unwrap(), ["ext4", "regulator_soc", "sdhci_soc"]);
    }

    #[test]
    fn a_mapped_disk_needs_the_disks_below() {
        let machine = Machine::new("xfs", "253:0", "/dev/mapper/vg-root");
        with_sda(&machine);
        machine.link("sys/module/dm_mod/holders/dm_cache", "sys/module/dm_cache");
        machine.put("sys/devices/virtual/block/dm-0/dm/uuid", "LVM-x\n");
        machine.link(
            "sys/devices/virtual/block/dm-0/slaves/sda2",
            &format!("sys/devices/{SDA}/sda2"),
        );
        machine.link("sys/dev/block/253:0", "sys/devices/virtual/block/dm-0");
        let found = machine.modules().unwrap();
        assert_eq!(
            found,
            [
                "dm_cache",
                "dm_mod",
                "raid_card",
                "raid_helper",
                "scsi_mod",
                "sd_mod",
                "xfs"
            ]
        );
        machine.put("sys/devices/virtual/block/dm-0/dm/uuid", "CRYPT-LUKS2-x\n");
        assert_eq!(machine.modules(), None, "a passphrase is typed on something");
    }

    #[test]
    fn a_btrfs_needs_all_its_disks() {
        let machine = Machine::new("btrfs", "0:30", "/dev/sda1");
        with_sda(&machine);
        assert_eq!(machine.modules(), None, "which disks it has is not known");
        machine.put("dev/sda1", "");
        machine.link("sys/fs/btrfs/a/devices/sdb1", "sys/devices/x-not-here");
        assert_eq!(machine.modules(), None);
        machine.link("sys/fs/btrfs/b/devices/sda1", &format!("sys/devices/{SDA}/sda1"));
        machine.bind("platform/ahci@1", "platform", "ahci_platform");
        machine.link("sys/fs/btrfs/b/devices/sdc", "sys/devices/platform/ahci@1/block/sdc");
        let found = machine.modules().unwrap();
        assert!(
            found.iter().any(|one| one == "raid_card") && found.iter().any(|one| one == "ahci_platform"),
            "{found:?}"
        );
    }

    #[test]
    fn a_hibernated_system_needs_its_disk() {
        let machine = Machine::new("ext4", "8:1", "/dev/sda1");
        with_sda(&machine);
        machine.link("sys/dev/block/8:1", &format!("sys/devices/{SDA}/sda1"));
        machine.put("sys/power/resume", "0:0\n");
        assert!(machine.modules().is_some());
        machine.put("sys/power/resume", "259:3\n");
        machine.bind("pci0000:00/0000:01:00.0", "pci", "nvme");
        machine.link(
            "sys/dev/block/259:3",
            "sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1/nvme0n1p3",
        );
        assert!(machine.modules().unwrap().contains(&"nvme".to_owned()));
    }

    /// Where it is not known, what is loaded may be needed.
    #[test]
    fn disks_without_a_bus_are_not_known() {
        for (kind, device, path) in [
            ("overlay", "0:30", "virtual/none"),
            ("ext4", "43:0", "virtual/block/nbd0"),
            ("ext4", "8:0", "platform/host4/session1/target4:0:0/4:0:0:1/block/sda"),
        ] {
            let machine = Machine::new(kind, device, "/dev/x");
            machine.bind("platform/host4/session1/target4:0:0/4:0:0:1", "scsi", "sd_mod");
            if !device.starts_with("0:") {
                machine.link(&format!("sys/dev/block/{device}"), &format!("sys/devices/{path}"));
            }
            assert_eq!(machine.modules(), None, "{path}");
            machine.put("sys/module/wifi/refcnt", "0");
            let root = Root::at(machine.0.path());
            let start = StartModules::of(&root);
            assert!(start.may_need(&root, "wifi") && !start.may_need(&root, "raid"));
        }
        let nothing = tempfile::tempdir().unwrap();
        assert_eq!(StartModules::of(&Root::at(nothing.path())), StartModules(None));
    }
}
