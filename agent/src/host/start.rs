//! Whether this machine may need a module until its root file system is mounted, by what the module drives now.
//!
//! sysfs has the devices of a driver with all that is below them (`Documentation/ABI/testing/sysfs-devices-driver` of the kernel). What
//! cannot be told by them counts as needed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use dkms_engine::ko::in_kernel;
use dkms_engine::root::Root;
use rustix::fs::OFlags;
use rustix::io::Errno;
use walkdir::WalkDir;

/// File systems of the root that are reached by a network, or by something else than a disk.
const OVER_A_NETWORK: [&str; 8] = ["nfs", "nfs4", "cifs", "smb3", "ceph", "afs", "9p", "virtiofs"];

/// Where there is something while disks are reached by a network: sessions of iSCSI, and remote ports of SRP and of Fibre Channel over Ethernet.
const REMOTE_DISKS: [&str; 3] = [
    "/sys/class/iscsi_session",
    "/sys/class/srp_remote_ports",
    "/sys/bus/fcoe/devices",
];

/// How deep below a device is looked, and how many entries of sysfs in all.
const DEPTH_MAX: usize = 16;
const ENTRIES_MAX: usize = 100_000;

/// Whether the start of this machine may need the module. One that is not loaded is not needed: the machine has started without it.
pub fn may_need(root: &Root, module: &str) -> bool {
    let mut look = Look {
        root,
        seen: BTreeSet::new(),
    };
    look.at_module(&in_kernel(module))
}

struct Look<'a> {
    root: &'a Root,
    seen: BTreeSet<PathBuf>,
}

impl Look<'_> {
    fn at_module(&mut self, module: &str) -> bool {
        let dir = self.root.join(format!("/sys/module/{module}"));
        if !dir.is_dir() || !self.seen.insert(dir.clone()) {
            return false;
        }
        let users = names(&dir.join("holders"));
        let drivers = entries(&dir.join("drivers"));
        // A file system, a target of the device mapper, a transport: nothing says what it serves.
        if users.is_empty() && drivers.is_empty() {
            return true;
        }
        users.iter().any(|user| self.at_module(user)) || drivers.iter().any(|driver| self.at_driver(driver))
    }

    fn at_driver(&mut self, driver: &Path) -> bool {
        let Ok(driver) = driver.canonicalize() else {
            return false;
        };
        let links = entries(&driver).into_iter().filter(|path| path.is_symlink());
        let devices = links.filter(|path| {
            path.file_name()
                .is_some_and(|name| name != "module" && name != "subsystem")
        });
        devices.into_iter().any(|device| self.at_device(&device))
    }

    /// A device, all below it, and the devices that it supplies with power, clocks and the like.
    fn at_device(&mut self, device: &Path) -> bool {
        let Ok(device) = device.canonicalize() else {
            return false;
        };
        if !self.seen.insert(device.clone()) {
            return false;
        }
        let below = WalkDir::new(&device).max_depth(DEPTH_MAX).min_depth(1).into_iter();
        for (count, entry) in below.flatten().enumerate() {
            if count > ENTRIES_MAX {
                return true;
            }
            let name = entry.file_name().to_string_lossy();
            if name.starts_with("consumer:") && self.at_device(&entry.path().join("consumer")) {
                return true;
            }
            if !entry.file_type().is_dir() {
                continue;
            }
            let subsystem = fs::read_link(entry.path().join("subsystem")).unwrap_or_default();
            let is_needed = match subsystem.file_name().and_then(|name| name.to_str()).unwrap_or_default() {
                "block" => is_in_use(self.root, entry.path()),
                // Flash without a controller: what is mounted from it has no disk.
                "mtd" => true,
                "net" | "infiniband" => needs_network(self.root),
                // Whatever a passphrase is typed on, and what has the key instead.
                "input" | "hidraw" | "tpm" => has_encrypted_disk(self.root),
                _ => false,
            };
            if is_needed {
                return true;
            }
        }
        false
    }
}

/// Whether the system uses a disk or partition, or may begin to when all parts of something are there.
fn is_in_use(root: &Root, disk: &Path) -> bool {
    let is_held = !entries(&disk.join("holders")).is_empty();
    is_held || is_member(root, disk) || is_claimed(root, disk)
}

/// Whether udev has seen on it a part of something larger: of LVM, of a RAID, of an encrypted disk, of a file system over several disks.
fn is_member(root: &Root, part: &Path) -> bool {
    let number = fs::read_to_string(part.join("dev")).unwrap_or_default();
    let known = fs::read_to_string(root.join(format!("/run/udev/data/b{}", number.trim()))).unwrap_or_default();
    known.lines().any(|line| {
        matches!(
            line,
            "E:ID_FS_USAGE=raid"
                | "E:ID_FS_USAGE=crypto"
                | "E:ID_FS_TYPE=btrfs"
                | "E:ID_FS_TYPE=bcachefs"
                | "E:ID_FS_TYPE=bcache"
                | "E:ID_FS_TYPE=zfs_member"
        )
    })
}

/// Whether somebody has claimed it for a file system, swap space, or a disk above: then it cannot be opened exclusively (open(2), `O_EXCL`).
fn is_claimed(root: &Root, part: &Path) -> bool {
    let Some(name) = part.file_name().and_then(|name| name.to_str()) else {
        return true;
    };
    // The kernel writes the slashes of a device's name so.
    let node = root.join(Path::new("/dev").join(name.replace('!', "/")));
    let flags = OFlags::EXCL | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match File::options()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(node)
    {
        Ok(_) => false,
        Err(error) => !is_empty_drive(&error),
    }
}

/// A drive without a medium.
fn is_empty_drive(error: &io::Error) -> bool {
    [Errno::NOMEDIUM, Errno::NXIO]
        .iter()
        .any(|one| error.raw_os_error() == Some(one.raw_os_error()))
}

/// Whether the root file system, or a disk, is reached by a network, or an encrypted disk may be opened over one.
fn needs_network(root: &Root) -> bool {
    let mounts = fs::read_to_string(root.join("/proc/self/mountinfo")).unwrap_or_default();
    // proc_pid_mountinfo(5): the mount point is the fifth field, the type of the file system the one after the hyphen.
    let kinds = mounts.lines().filter_map(|line| {
        let (own, system) = line.split_once(" - ")?;
        let point = own.split(' ').nth(4)?;
        ["/", "/usr"]
            .contains(&point)
            .then(|| system.split(' ').next().unwrap_or_default())
    });
    let kinds: Vec<&str> = kinds.collect();
    let is_remote = |kind: &&str| OVER_A_NETWORK.contains(kind) || kind.starts_with("fuse");
    kinds.is_empty()
        || kinds.iter().any(is_remote)
        || REMOTE_DISKS.iter().any(|dir| !entries(&root.join(dir)).is_empty())
        || has_nvme_over_fabrics(root)
        || has_network_block_device(root)
        || has_encrypted_disk(root)
}

fn has_nvme_over_fabrics(root: &Root) -> bool {
    let controllers = entries(&root.join("/sys/class/nvme"));
    let transports = controllers
        .iter()
        .map(|one| fs::read_to_string(one.join("transport")).unwrap_or_default());
    transports
        .into_iter()
        .any(|transport| !transport.is_empty() && transport.trim() != "pcie")
}

fn has_network_block_device(root: &Root) -> bool {
    let is_one = |name: &str| ["nbd", "rbd", "drbd"].iter().any(|kind| name.starts_with(kind));
    let disks = names(&root.join("/sys/block")).into_iter().filter(|name| is_one(name));
    // Those of a module that is only loaded have no size.
    let sizes = disks.map(|name| fs::read_to_string(root.join(format!("/sys/block/{name}/size"))).unwrap_or_default());
    sizes.into_iter().any(|size| size.trim() != "0")
}

fn has_encrypted_disk(root: &Root) -> bool {
    let mapped = entries(&root.join("/sys/block"));
    let uuids = mapped
        .iter()
        .filter_map(|disk| fs::read_to_string(disk.join("dm/uuid")).ok());
    uuids.into_iter().any(|uuid| uuid.starts_with("CRYPT-"))
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A machine's /proc, /sys and /dev, with a disk `sda` at a controller of its own.
    struct Machine(tempfile::TempDir);

    const CARD: &str = "sys/devices/pci0000:00/0000:03:00.0";
    const DISK: &str = "sys/devices/pci0000:00/0000:03:00.0/host4/target4:0:0/4:0:0:0/block/sdb";

    impl Machine {
        fn new() -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            machine.mount("/", "ext4");
            machine
        }

        fn mount(&self, point: &str, kind: &str) {
            let line = format!("25 1 8:1 / {point} rw shared:1 - {kind} /dev/sda1 rw\n");
            self.put("proc/self/mountinfo", &line);
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

        fn is_of(&self, subsystem: &str, device: &str) {
            self.link(&format!("{device}/subsystem"), &format!("sys/class/{subsystem}"));
        }

        /// Binds the device at `device` to the driver of a module.
        fn bind(&self, device: &str, module: &str) {
            let driver = format!("sys/bus/pci/drivers/{module}");
            self.link(&format!("{driver}/{}", device.rsplit('/').next().unwrap()), device);
            self.link(&format!("{driver}/module"), &format!("sys/module/{module}"));
            self.link(&format!("sys/module/{module}/drivers/pci:{module}"), &driver);
        }

        /// A disk with a partition at a card that `raid_card` drives; nobody uses it.
        fn with_disk(self) -> Self {
            self.bind(CARD, "raid_card");
            self.is_of("block", DISK);
            self.is_of("block", &format!("{DISK}/sdb1"));
            self.put(&format!("{DISK}/dev"), "8:16\n");
            self.put(&format!("{DISK}/sdb1/dev"), "8:17\n");
            self.put("dev/sdb", "");
            self.put("dev/sdb1", "");
            self
        }

        fn needs(&self, module: &str) -> bool {
            may_need(&Root::at(self.0.path()), module)
        }
    }

    #[test]
    fn what_is_not_loaded_is_not_needed() {
        assert!(!Machine::new().needs("raid_card"));
        assert!(!Machine(tempfile::tempdir().unwrap()).needs("raid_card"));
    }

    #[test]
    fn a_controller_is_needed_while_one_of_its_disks_is_used() {
        let machine = Machine::new().with_disk();
        assert!(!machine.needs("raid-card"), "nobody uses the disk");
        // A part of LVM that is not active: all parts have to be there before it is.
        let seen = |what: &str| {
            let machine = Machine::new().with_disk();
            machine.put(
                "run/udev/data/b8:17",
                &format!("I:1\nE:ID_FS_USAGE=filesystem\n{what}\n"),
            );
            machine.needs("raid_card")
        };
        assert!(seen("E:ID_FS_USAGE=raid") && seen("E:ID_FS_TYPE=btrfs"));
        assert!(!seen("E:ID_FS_TYPE=ext4"));
        machine.link(&format!("{DISK}/sdb1/holders/dm-0"), "sys/devices/virtual/block/dm-0");
        assert!(machine.needs("raid_card"));
        // One of which nothing can be told.
        let machine = Machine::new().with_disk();
        fs::remove_file(machine.0.path().join("dev/sdb1")).unwrap();
        assert!(machine.needs("raid_card"));
    }

    /// Below a device of a class there is no directory `block`.
    #[test]
    fn a_disk_of_nvme_is_found() {
        let machine = Machine::new();
        machine.bind("sys/devices/pci0000:00/0000:06:00.0", "nvme");
        let disk = "sys/devices/pci0000:00/0000:06:00.0/nvme/nvme0/nvme0n1";
        machine.is_of("block", disk);
        machine.put("dev/nvme0n1", "");
        assert!(!machine.needs("nvme"));
        machine.link(&format!("{disk}/holders/dm-0"), "sys/devices/virtual/block/dm-0");
        assert!(machine.needs("nvme"));
    }

    /// The real thing: a disk of this machine is used, as far as it has one.
    #[test]
    fn a_disk_that_is_mounted_cannot_be_claimed() {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let disk = mounts
            .lines()
            .find_map(|line| line.strip_prefix("/dev/")?.split(' ').next());
        match disk {
            Some(disk) if !disk.contains('/') => assert!(is_claimed(&Root::host(), Path::new(disk)), "{disk}"),
            _ => eprintln!("no file system of this machine is on a disk that can be looked at"),
        }
    }

    #[test]
    fn what_a_needed_module_uses_is_needed() {
        let machine = Machine::new().with_disk();
        machine.link("sys/module/raid_helper/holders/raid_card", "sys/module/raid_card");
        assert!(!machine.needs("raid_helper"));
        machine.link(&format!("{DISK}/holders/md0"), "sys/devices/virtual/block/md0");
        assert!(machine.needs("raid_helper"));
        // A file system, a transport such as ib_srp: it has no devices, and nothing uses it.
        machine.put("sys/module/ib_srp/refcnt", "0\n");
        assert!(machine.needs("ib_srp"));
    }

    #[test]
    fn what_supplies_a_controller_is_needed_with_it() {
        let machine = Machine::new().with_disk();
        let regulator = "sys/devices/platform/regulator";
        machine.bind(regulator, "regulator_soc");
        machine.link(&format!("{regulator}/consumer:pci:0000:03:00.0/consumer"), CARD);
        assert!(!machine.needs("regulator_soc"));
        machine.link(&format!("{DISK}/holders/md0"), "sys/devices/virtual/block/md0");
        assert!(machine.needs("regulator_soc"));
    }

    #[test]
    fn a_network_card_is_needed_where_something_is_reached_by_it() {
        let card = || {
            let machine = Machine::new();
            machine.bind("sys/devices/pci0000:00/0000:04:00.0", "nic");
            machine.is_of("net", "sys/devices/pci0000:00/0000:04:00.0/net/eth0");
            machine
        };
        assert!(!card().needs("nic"));
        let check = |change: fn(&Machine)| {
            let machine = card();
            change(&machine);
            assert!(machine.needs("nic"));
        };
        check(|machine| machine.mount("/", "nfs4"));
        check(|machine| machine.mount("/srv", "ext4"));
        check(|machine| machine.put("sys/class/iscsi_session/session1/state", ""));
        check(|machine| machine.put("sys/class/nvme/nvme0/transport", "tcp\n"));
        check(|machine| machine.put("sys/block/nbd0/size", "2048\n"));
        check(|machine| machine.put("sys/block/dm-0/dm/uuid", "CRYPT-LUKS2-x\n"));
        let machine = card();
        machine.put("sys/class/nvme/nvme0/transport", "pcie\n");
        machine.put("sys/block/nbd0/size", "0\n");
        machine.put("sys/block/dm-0/dm/uuid", "LVM-x\n");
        assert!(!machine.needs("nic"));
    }

    #[test]
    fn a_keyboard_is_needed_where_a_passphrase_is_typed() {
        let machine = Machine::new();
        machine.bind("sys/devices/pci0000:00/0000:05:00.0", "host_controller");
        machine.is_of(
            "input",
            "sys/devices/pci0000:00/0000:05:00.0/usb1/1-1/1-1:1.0/input/input3",
        );
        assert!(!machine.needs("host_controller"));
        machine.put("sys/block/dm-0/dm/uuid", "CRYPT-LUKS2-x\n");
        assert!(machine.needs("host_controller"));
    }
}
