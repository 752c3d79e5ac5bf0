//! The machine's devices: every one that has a modalias, with its name and the driver bound to it now.
//!
//! - [`scan`]: this machine's, by libudev.
//! - [`recorded::read`]: a machine that is not here, from a file.

pub mod hotplug;
mod listing;
mod live;
mod modaliases;
mod names;
pub mod recorded;
mod umockdev;

use std::path::PathBuf;

use dkms_index::modalias::{Fields, Modalias};
use serde::{Deserialize, Serialize};

pub use live::{binding_at, scan};

/// A device that has a modalias. Two identical devices are two devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its place below `/sys`, `/devices/pci0000:00/…`; for a line of a recorded list `recorded:<number>`.
    pub path: String,
    /// The kernel's subsystem, such as `pci`; in a plain list the modalias's own prefix.
    pub subsystem: String,
    /// Its modaliases, at least one. An ACPI device may have two: `acpi:…` and `of:…`.
    #[serde(with = "modaliases")]
    pub modaliases: Vec<Modalias>,
    /// The maker's name, from hwdb or the device itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// The product's name, from hwdb or the device itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What kind of thing it is, from hwdb: `Ethernet controller`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Whether a driver serves it now.
    #[serde(default)]
    pub binding: Binding,
}

/// Whether a driver is bound to a device. A match or a loaded module is not a bound device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Binding {
    /// A driver is bound.
    Bound {
        /// The driver, such as `ftdi_sio`.
        driver: String,
        /// The module that contains it, such as `usbserial`; absent when it is built in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        module: Option<String>,
    },
    /// No driver is bound.
    Unbound,
    /// Nothing ever binds to a device of this kind; its modalias only loads modules (`input:`, `dmi:`).
    NeverBinds,
    /// The recording does not say.
    #[default]
    Unknown,
}

impl Device {
    /// A device of which only the modaliases are known.
    pub(crate) fn unnamed(path: String, modaliases: Vec<Modalias>) -> Self {
        let first = modaliases.first();
        let binding = match first {
            Some(modalias) if never_binds(modalias) => Binding::NeverBinds,
            _ => Binding::Unknown,
        };
        Self {
            path,
            subsystem: first.map(bus).unwrap_or_default(),
            modaliases,
            vendor: None,
            model: None,
            class: None,
            binding,
        }
    }

    /// What to call it: maker and product, or its class, or its modalias.
    pub fn title(&self) -> String {
        match (&self.vendor, &self.model, &self.class) {
            (Some(vendor), Some(model), _) => format!("{vendor} {model}"),
            (Some(vendor), None, Some(class)) => format!("{vendor} {class}"),
            (None, Some(one), _) | (Some(one), None, None) | (None, None, Some(one)) => one.clone(),
            (None, None, None) => self.modaliases.first().map(ToString::to_string).unwrap_or_default(),
        }
    }
}

impl Device {
    /// The short identifier that people look for: `10ec:8168`; none on buses without vendor and device.
    pub fn short_id(&self) -> Option<String> {
        let (vendor, device) = ids(self.modaliases.first()?)?;
        Some(format!("{vendor:04x}:{device:04x}"))
    }

    /// Whether it is on a bus whose devices name their vendor. Those of firmware and platform buses do not, and are many on any machine.
    pub fn is_on_id_bus(&self) -> bool {
        matches!(self.subsystem.as_str(), "pci" | "usb" | "hid" | "sdio")
    }
}

/// Vendor and device as one number each; none on buses without them.
pub(crate) fn ids(modalias: &Modalias) -> Option<(u32, u32)> {
    Some(match modalias.fields()? {
        Fields::Pci { vendor, device, .. } => (vendor, device),
        Fields::Hid { vendor, product, .. } => (vendor, product),
        Fields::Usb { vendor, product, .. } => (vendor.into(), product.into()),
        Fields::Sdio { vendor, device, .. } => (vendor.into(), device.into()),
        _ => return None,
    })
}

/// The machine's own modalias (`dmi:…`) among `devices`: it chooses OEM sets.
pub fn dmi(devices: &[Device]) -> Option<&Modalias> {
    devices
        .iter()
        .flat_map(|device| &device.modaliases)
        .find(|modalias| modalias.bus() == b"dmi")
}

/// The bus of a modalias, for people.
fn bus(modalias: &Modalias) -> String {
    String::from_utf8_lossy(modalias.bus()).into_owned()
}

/// Devices of these kinds live in `/sys/class`: modules are loaded for them, drivers are not bound to them.
fn never_binds(modalias: &Modalias) -> bool {
    matches!(modalias.bus(), b"input" | b"dmi")
}

/// Why a machine's devices could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// libudev does not answer.
    #[error("libudev cannot list the devices of this machine: {source}")]
    Udev {
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The file of a recorded machine cannot be read.
    #[error("the recorded machine {} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The file is too big to be a recorded machine.
    #[error("the recorded machine {} has more than {limit} {unit}", path.display())]
    TooBig {
        /// The file.
        path: PathBuf,
        /// The largest number that is allowed.
        limit: usize,
        /// What is counted: bytes or devices.
        unit: &'static str,
    },
    /// A line of the file is not understood.
    #[error("the recorded machine {} is not valid in line {line}: {why}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The file names no device.
    #[error("no device is in the recorded machine {}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

impl DeviceError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Udev { .. } => Some("is /sys mounted? `mount -t sysfs sysfs /sys`".to_owned()),
            Self::Read { .. } => None,
            Self::TooBig { .. } | Self::Line { .. } | Self::Empty { .. } => Some(
                "record a machine with `find /sys/devices -name modalias -exec cat {} + > FILE`, `lspci -nn > FILE`, \
                 `lsusb > FILE` or `umockdev-record --all > FILE`"
                    .to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_fall_back_to_what_is_known() {
        let check = |vendor: Option<&str>, model: Option<&str>, class: Option<&str>, expected: &str| {
            let mut device = Device::unnamed("recorded:1".into(), vec!["pci:v1".parse().unwrap()]);
            device.vendor = vendor.map(str::to_owned);
            device.model = model.map(str::to_owned);
            device.class = class.map(str::to_owned);
            assert_eq!(device.title(), expected);
        };
        check(Some("Intel"), Some("82540EM"), Some("Ethernet"), "Intel 82540EM");
        check(
            Some("Intel"),
            None,
            Some("Ethernet controller"),
            "Intel Ethernet controller",
        );
        check(None, Some("82540EM"), None, "82540EM");
        check(Some("Intel"), None, None, "Intel");
        check(None, None, Some("Bridge"), "Bridge");
        check(None, None, None, "pci:v1");
    }

    #[test]
    fn the_machine_itself_is_found_by_its_dmi_string() {
        let list = |modaliases: &[&str]| -> Vec<Device> {
            modaliases
                .iter()
                .map(|m| Device::unnamed(String::new(), vec![m.parse().unwrap()]))
                .collect()
        };
        let expected: Modalias = "dmi:bvnX:".parse().unwrap();
        assert_eq!(dmi(&list(&["pci:v1", "dmi:bvnX:"])), Some(&expected));
        assert_eq!(dmi(&list(&["pci:v1"])), None);
    }
}
