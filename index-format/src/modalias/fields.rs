//! The identifiers inside the modaliases of buses that write them as hexadecimal fields.
//!
//! The forms are those of the kernel's `modalias_show` and uevent functions: drivers/pci/pci-sysfs.c,
//! drivers/usb/core/driver.c, drivers/hid/hid-core.c, drivers/mmc/core/sdio_bus.c, drivers/virtio/virtio.c.

use std::fmt;

/// A bus with fields. A match on it lists every bus, so that the compiler reports what a new one lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldBus {
    Pci,
    Usb,
    Hid,
    Sdio,
    Virtio,
}

/// How a bus writes its modaliases: `<bus>:` and then each field's name and value without anything between them.
pub(crate) struct Layout {
    /// Which bus it is.
    pub(crate) kind: FieldBus,
    /// The bus with its colon.
    pub(crate) bus: &'static str,
    /// Name of each field and its number of hexadecimal digits.
    pub(crate) fields: &'static [(&'static str, usize)],
    /// How many fields at least: old kernels leave out the last ones of some buses.
    pub(crate) required: usize,
}

/// The buses with fields.
pub(crate) const LAYOUTS: [Layout; 5] = [
    Layout {
        kind: FieldBus::Pci,
        bus: "pci:",
        fields: &[("v", 8), ("d", 8), ("sv", 8), ("sd", 8), ("bc", 2), ("sc", 2), ("i", 2)],
        required: 7,
    },
    Layout {
        kind: FieldBus::Usb,
        bus: "usb:",
        fields: &[
            ("v", 4),
            ("p", 4),
            ("d", 4),
            ("dc", 2),
            ("dsc", 2),
            ("dp", 2),
            ("ic", 2),
            ("isc", 2),
            ("ip", 2),
            ("in", 2),
        ],
        required: 9,
    },
    Layout {
        kind: FieldBus::Hid,
        bus: "hid:",
        fields: &[("b", 4), ("g", 4), ("v", 8), ("p", 8)],
        required: 4,
    },
    Layout {
        kind: FieldBus::Sdio,
        bus: "sdio:",
        fields: &[("c", 2), ("v", 4), ("d", 4)],
        required: 3,
    },
    Layout {
        kind: FieldBus::Virtio,
        bus: "virtio:",
        fields: &[("d", 8), ("v", 8)],
        required: 2,
    },
];

/// The fields of the modaliases of `bus` in their order: name and number of hexadecimal digits. `None` for a bus whose
/// modaliases are not made of fields.
pub fn field_layout(bus: &str) -> Option<&'static [(&'static str, usize)]> {
    let layout = LAYOUTS.iter().find(|l| l.bus.strip_suffix(':') == Some(bus))?;
    Some(layout.fields)
}

/// The identifiers of a device, as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fields {
    /// A PCI function.
    Pci {
        /// Vendor.
        vendor: u32,
        /// Device.
        device: u32,
        /// Subsystem vendor.
        subvendor: u32,
        /// Subsystem device.
        subdevice: u32,
        /// Base class, subclass and programming interface.
        class: [u8; 3],
    },
    /// One interface of a USB device.
    Usb {
        /// Vendor.
        vendor: u16,
        /// Product.
        product: u16,
        /// Device release, binary-coded decimal.
        release: u16,
        /// Class, subclass and protocol of the whole device.
        device_class: [u8; 3],
        /// Class, subclass and protocol of the interface.
        interface_class: [u8; 3],
        /// Number of the interface, which old kernels leave out.
        interface: Option<u8>,
    },
    /// A HID device of any transport.
    Hid {
        /// Transport: 3 USB, 5 Bluetooth, 0x18 I²C.
        bus: u16,
        /// Group, by which hid-core picks generic drivers.
        group: u16,
        /// Vendor.
        vendor: u32,
        /// Product.
        product: u32,
    },
    /// An SDIO function.
    Sdio {
        /// Class of the function.
        class: u8,
        /// Vendor.
        vendor: u16,
        /// Device.
        device: u16,
    },
    /// A virtio device.
    Virtio {
        /// Kind of device.
        device: u32,
        /// Vendor.
        vendor: u32,
    },
}

impl Fields {
    /// Reads the fields; `None` when `modalias` has not exactly the form of its bus.
    pub(super) fn parse(modalias: &[u8]) -> Option<Self> {
        let layout = LAYOUTS.iter().find(|l| modalias.starts_with(l.bus.as_bytes()))?;
        let v = numbers(layout, &modalias[layout.bus.len()..])?;
        let byte = |i: usize| v.get(i).and_then(|&n| u8::try_from(n).ok());
        let word = |i: usize| v.get(i).and_then(|&n| u16::try_from(n).ok());
        Some(match layout.kind {
            FieldBus::Pci => Self::Pci {
                vendor: v[0],
                device: v[1],
                subvendor: v[2],
                subdevice: v[3],
                class: [byte(4)?, byte(5)?, byte(6)?],
            },
            FieldBus::Usb => Self::Usb {
                vendor: word(0)?,
                product: word(1)?,
                release: word(2)?,
                device_class: [byte(3)?, byte(4)?, byte(5)?],
                interface_class: [byte(6)?, byte(7)?, byte(8)?],
                interface: byte(9),
            },
            FieldBus::Hid => Self::Hid {
                bus: word(0)?,
                group: word(1)?,
                vendor: v[2],
                product: v[3],
            },
            FieldBus::Sdio => Self::Sdio {
                class: byte(0)?,
                vendor: word(1)?,
                device: word(2)?,
            },
            FieldBus::Virtio => Self::Virtio {
                device: v[0],
                vendor: v[1],
            },
        })
    }

    /// The vendor, on the buses whose vendors have numbers given out by a registry.
    pub fn vendor_id(&self) -> Option<VendorId> {
        let (bus, vendor) = match *self {
            Self::Pci { vendor, .. } => ("pci", vendor),
            Self::Usb { vendor, .. } => ("usb", vendor.into()),
            Self::Hid { vendor, .. } => ("hid", vendor),
            Self::Sdio { vendor, .. } => ("sdio", vendor.into()),
            Self::Virtio { .. } => return None,
        };
        VendorId::new(bus, vendor)
    }
}

/// The values of a modalias after its bus. Digits of either case: PCI's interface was lower-case in old kernels.
fn numbers(layout: &Layout, mut rest: &[u8]) -> Option<Vec<u32>> {
    let mut values = Vec::with_capacity(layout.fields.len());
    for &(name, digits) in layout.fields {
        if rest.is_empty() && values.len() >= layout.required {
            break;
        }
        let (value, after) = rest.strip_prefix(name.as_bytes())?.split_at_checked(digits)?;
        values.push(hex(value)?);
        rest = after;
    }
    rest.is_empty().then_some(values)
}

/// The number that `digits` write. Unlike `from_str_radix` it takes no sign.
pub(crate) fn hex(digits: &[u8]) -> Option<u32> {
    digits
        .iter()
        .try_fold(0_u32, |n, &b| Some(n << 4 | char::from(b).to_digit(16)?))
}

/// A vendor on a bus with registered vendor numbers; written `pci-10ec`, as in the path of a vendor's manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VendorId {
    bus: &'static str,
    vendor: u16,
}

/// A text that is not of the form `pci-10ec`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a bus (pci, usb, hid, sdio) and a vendor in four lower-case hexadecimal digits, such as pci-10ec"
)]
pub struct VendorIdError(String);

impl VendorId {
    const BUSES: [&'static str; 4] = ["pci", "usb", "hid", "sdio"];

    /// `None` on a bus without registered vendors, or for a number beyond the 16 bits that registries give out.
    pub(crate) fn new(bus: &str, vendor: u32) -> Option<Self> {
        let bus = Self::BUSES.into_iter().find(|&known| known == bus)?;
        Some(Self {
            bus,
            vendor: u16::try_from(vendor).ok()?,
        })
    }

    /// `pci`, `usb`, `hid` or `sdio`.
    pub fn bus(&self) -> &'static str {
        self.bus
    }

    /// The vendor's number.
    pub fn vendor(&self) -> u16 {
        self.vendor
    }
}

impl fmt::Display for VendorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:04x}", self.bus, self.vendor)
    }
}

impl std::str::FromStr for VendorId {
    type Err = VendorIdError;

    fn from_str(text: &str) -> Result<Self, VendorIdError> {
        text.split_once('-')
            .filter(|(_, digits)| digits.len() == 4 && !digits.bytes().any(|b| b.is_ascii_uppercase()))
            .and_then(|(bus, digits)| Self::new(bus, hex(digits.as_bytes())?))
            .ok_or_else(|| VendorIdError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(modalias: &str, expected: Option<Fields>) {
        assert_eq!(Fields::parse(modalias.as_bytes()), expected, "{modalias}");
    }

    #[test]
    fn fields_of_every_bus_that_has_them() {
        check(
            "pci:v00008086d000027DFsv000017AAsd0000200Cbc01sc01i8a",
            Some(Fields::Pci {
                vendor: 0x8086,
                device: 0x27df,
                subvendor: 0x17aa,
                subdevice: 0x200c,
                class: [1, 1, 0x8a],
            }),
        );
        let mouse = |interface| Fields::Usb {
            vendor: 0x046d,
            product: 0xc03e,
            release: 0x2000,
            device_class: [0, 0, 0],
            interface_class: [3, 1, 2],
            interface,
        };
        check("usb:v046DpC03Ed2000dc00dsc00dp00ic03isc01ip02", Some(mouse(None)));
        check(
            "usb:v046DpC03Ed2000dc00dsc00dp00ic03isc01ip02in00",
            Some(mouse(Some(0))),
        );
        check(
            "hid:b0003g0001v00001050p00000120",
            Some(Fields::Hid {
                bus: 3,
                group: 1,
                vendor: 0x1050,
                product: 0x120,
            }),
        );
        check(
            "sdio:c00v02D0d4324",
            Some(Fields::Sdio {
                class: 0,
                vendor: 0x2d0,
                device: 0x4324,
            }),
        );
        check(
            "virtio:d00000001v00001AF4",
            Some(Fields::Virtio {
                device: 1,
                vendor: 0x1af4,
            }),
        );
    }

    #[test]
    fn a_bus_with_fields_has_a_layout() {
        assert_eq!(field_layout("virtio"), Some(&[("d", 8), ("v", 8)][..]));
        assert_eq!(field_layout("acpi"), None);
        assert_eq!(field_layout("virtio:"), None);
    }

    #[test]
    fn what_has_not_the_form_of_its_bus_stays_plain_text() {
        check("pci:v00008086", None);
        check("pci:v00008086d000027DFsv000017AAsd0000200Cbc01sc01i8a-", None);
        check("pci:v+0008086d000027DFsv000017AAsd0000200Cbc01sc01i8a", None);
        check("usb:v046DpC03Ed2000dc00dsc00dp00ic03isc01", None);
        check("acpi:PNP0C0A:", None);
        check("dmi:bvnLENOVO:", None);
    }

    #[test]
    fn a_vendor_is_a_bus_and_four_digits() {
        let check = |text: &str, good: bool| match text.parse::<VendorId>() {
            Ok(id) => assert!(good && id.to_string() == text, "{text}: {id:?}"),
            Err(_) => assert!(!good, "{text}"),
        };
        check("pci-10ec", true);
        check("usb-046d", true);
        check("pci-10EC", false);
        check("pci-10e", false);
        check("pci-+10e", false);
        check("virtio-1af4", false);
        check("../x-10ec", false);
    }
}
