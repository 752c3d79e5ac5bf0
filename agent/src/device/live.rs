//! This machine's devices, by libudev.
//!
//! This does not wait for udevd: on a first boot, in a container or without `/run/udev` no device is initialized, but `/sys` has
//! all that is needed.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use dkms_index::modalias::Modalias;

use super::names::{Names, clean};
use super::{Binding, Device, DeviceError, bus, never_binds};

/// Every device of this machine that has a modalias, ordered by its place below `/sys`.
///
/// # Errors
/// When libudev does not answer.
pub fn scan() -> Result<Vec<Device>, DeviceError> {
    let failed = |source| DeviceError::Udev { source };
    let names = Names::open();
    let may_ask = !load_hangs(Path::new("/proc"));
    let mut enumerator = udev::Enumerator::new().map_err(failed)?;
    let mut devices: Vec<Device> = enumerator
        .scan_devices()
        .map_err(failed)?
        .filter_map(|device| read(&device, &names, may_ask))
        .collect();
    devices.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(devices)
}

/// Whether a module is being loaded whose driver does not come back from a device. The kernel holds the lock of that device then, and of
/// the one that it hangs on. Whoever reads its `uevent`, or the names that a USB device has, waits for the lock, and cannot be killed.
fn load_hangs(proc: &Path) -> bool {
    let processes = fs::read_dir(proc).into_iter().flatten().flatten();
    let stats = processes.filter_map(|process| fs::read_to_string(process.path().join("stat")).ok());
    // proc_pid_stat(5): the name in parentheses, then the state.
    stats.into_iter().any(|stat| {
        let (name, state) = stat.rsplit_once(") ").unwrap_or_default();
        let name = name.split_once('(').map_or("", |(_, name)| name);
        state.starts_with('D') && LOADERS.contains(&name)
    })
}

/// What loads modules. The kernel cuts the names of processes.
const LOADERS: [&str; 5] = [
    "modprobe",
    "insmod",
    "systemd-udevd",
    "(udev-worker)",
    "systemd-modules",
];

/// The device as a value; `None` if it has no modalias, or was removed meanwhile. `may_ask` is whether names may be read from devices.
fn read(device: &udev::Device, names: &Names, may_ask: bool) -> Option<Device> {
    // The attribute may hold two lines. Processors have the property alone, which is in the `uevent`.
    let text = device.attribute_value("modalias").or_else(|| {
        let is_processor = device.subsystem().is_some_and(|subsystem| subsystem == "cpu");
        is_processor.then(|| device.property_value("MODALIAS"))?
    })?;
    let modaliases = Modalias::from_attribute(text.as_bytes())
        .inspect_err(|e| tracing::warn!(device = %device.syspath().display(), %e, "left out"))
        .ok()?;
    let first = modaliases.first()?;
    let subsystem = device
        .subsystem()
        .map_or_else(|| bus(first), |s| s.to_string_lossy().into_owned());
    let binding = binding(device, first);
    let mut value = Device {
        path: device.devpath().to_string_lossy().into_owned(),
        subsystem,
        modaliases,
        vendor: None,
        model: None,
        class: None,
        binding,
    };
    names.fill(&mut value);
    if may_ask {
        name_itself(device, &mut value);
    }
    Some(value)
}

fn binding(device: &udev::Device, modalias: &Modalias) -> Binding {
    if never_binds(modalias) {
        return Binding::NeverBinds;
    }
    binding_at(device.syspath())
}

/// What is bound to the device at `syspath` now.
pub fn binding_at(syspath: &Path) -> Binding {
    // A firmware node is not bound itself: the device it describes is, as `physical_node`.
    bound(syspath)
        .or_else(|| bound(&syspath.join("physical_node")))
        .unwrap_or(Binding::Unbound)
}

/// The driver at `syspath`. Its name and its module's differ: on a USB serial adapter the driver is `ftdi_sio`,
/// its module `usbserial`.
fn bound(syspath: &Path) -> Option<Binding> {
    let name = |link: &str| {
        let target = fs::read_link(syspath.join(link)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    };
    Some(Binding::Bound {
        driver: name("driver")?,
        module: name("driver/module"),
    })
}

/// Takes names from the device or its parent where hwdb has none.
fn name_itself(device: &udev::Device, value: &mut Device) {
    let clean_option = |name: Option<&OsStr>| name.and_then(clean);
    if value.model.is_none() {
        value.model =
            clean_option(device.property_value("HID_NAME")).or_else(|| clean_option(device.property_value("NAME")));
    }
    if value.subsystem == "usb"
        && let Some(usb) = device.parent()
    {
        if value.vendor.is_none() {
            value.vendor = clean_option(usb.attribute_value("manufacturer"));
        }
        if value.model.is_none() {
            value.model = clean_option(usb.attribute_value("product"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_load_that_hangs_is_seen() {
        let check = |stat: &str, expected: bool| {
            let dir = tempfile::tempdir().unwrap();
            for (pid, stat) in [("1", "1 (systemd) S 0 1"), ("465", stat)] {
                fs::create_dir(dir.path().join(pid)).unwrap();
                fs::write(dir.path().join(pid).join("stat"), stat).unwrap();
            }
            assert_eq!(load_hangs(dir.path()), expected, "{stat}");
        };
        check("465 (modprobe) D 1 465 465 0 -1", true);
        check("465 ((udev-worker)) D 1 465 465 0 -1", true);
        check("465 (modprobe) S 1 465 465 0 -1", false);
        check("465 (jbd2/vda-8) D 1 465 465 0 -1", false);
        check("465 (a (modprobe) D) S 1", false);
        check("nonsense", false);
    }

    /// On any machine, the devices found are those that `/sys/bus` shows.
    #[test]
    fn this_machine_is_what_its_sysfs_says() {
        let found: BTreeSet<String> = scan()
            .expect("libudev answers")
            .into_iter()
            .map(|device| device.path)
            .collect();
        let mut expected = BTreeSet::new();
        for bus in fs::read_dir("/sys/bus").into_iter().flatten().flatten() {
            for link in fs::read_dir(bus.path().join("devices")).into_iter().flatten().flatten() {
                if fs::read(link.path().join("modalias")).is_ok_and(|text| text.len() > 1) {
                    let device = fs::canonicalize(link.path()).expect("a device of a bus is a link");
                    let below = device.strip_prefix("/sys").expect("devices live in /sys");
                    expected.insert(format!("/{}", below.display()));
                }
            }
        }
        assert!(
            expected.is_subset(&found),
            "missed: {:?}",
            expected.difference(&found).collect::<Vec<_>>()
        );
    }
}
