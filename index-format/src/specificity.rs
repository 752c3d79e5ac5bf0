//! How exactly a pattern names a device: of two packages for one device, the one with the more exact pattern is preferred.

use std::fmt;

use serde::Serialize;

use crate::modalias::{FieldBus, LAYOUTS};
use crate::pattern::{FieldPattern, FieldValue, Pattern};

/// How exactly a pattern names devices; more exact is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Specificity {
    /// By its bus at most.
    Anything,
    /// By its class.
    Class,
    /// By its vendor.
    Vendor,
    /// By its vendor and class.
    VendorClass,
    /// By its device or product id; on a bus without numbers, by a name.
    Device,
    /// By its subsystem ids too (PCI), or by a release, class or interface of a product (USB).
    Subsystem,
}

impl Specificity {
    /// The specificity of `pattern`, on every bus.
    pub fn of(pattern: &Pattern) -> Self {
        match pattern.fields() {
            Some(fields) => of_fields(&fields),
            None => of_text(pattern),
        }
    }
}

fn of_fields(fields: &FieldPattern) -> Specificity {
    let names = |any_of: &[&str]| {
        let named = |value| matches!(value, Some(FieldValue::Fixed(_) | FieldValue::Partly));
        any_of.iter().any(|name| named(fields.get(name)))
    };
    // The fields that name the device on this bus, those that narrow it down, and those of its class.
    let (device, narrower, class): (&[&str], &[&str], &[&str]) = match fields.kind() {
        FieldBus::Usb => (
            &["p"],
            &["d", "dc", "dsc", "dp", "ic", "isc", "ip", "in"],
            &["dc", "dsc", "dp", "ic", "isc", "ip"],
        ),
        FieldBus::Hid => (&["p"], &[], &["g"]),
        FieldBus::Virtio => (&["d"], &[], &[]),
        FieldBus::Sdio => (&["d"], &[], &["c"]),
        FieldBus::Pci => (&["d"], &["sv", "sd"], &["bc", "sc", "i"]),
    };
    match (names(device), names(&["v"]), names(class)) {
        (true, _, _) if names(narrower) => Specificity::Subsystem,
        (true, _, _) => Specificity::Device,
        (false, true, true) => Specificity::VendorClass,
        (false, true, false) => Specificity::Vendor,
        (false, false, true) => Specificity::Class,
        (false, false, false) => Specificity::Anything,
    }
}

/// On a bus without fields all that stands behind the bus is taken for a name, if it has a letter or a digit.
fn of_text(pattern: &Pattern) -> Specificity {
    let behind_bus = match pattern.bus() {
        Some(bus) => &pattern.as_bytes()[bus.len() + 1..],
        // `acpi*:`, `dmi*:`
        None => pattern.as_bytes().splitn(2, |&b| b == b':').nth(1).unwrap_or_default(),
    };
    if !behind_bus.iter().any(u8::is_ascii_alphanumeric) {
        Specificity::Anything
    } else if LAYOUTS
        .iter()
        .any(|layout| pattern.as_bytes().starts_with(layout.bus.as_bytes()))
    {
        // Another glob than the kernel writes for this bus: it may match many devices, such as `pci:v*sc07*`.
        Specificity::Class
    } else {
        Specificity::Device
    }
}

impl fmt::Display for Specificity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anything => "anything on its bus",
            Self::Class => "its class",
            Self::Vendor => "its vendor",
            Self::VendorClass => "its vendor and class",
            Self::Device => "the device",
            Self::Subsystem => "the device in this very make",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_every_kind() {
        let check = |pattern: &str, expected: Specificity| {
            assert_eq!(Specificity::of(&pattern.parse().unwrap()), expected, "{pattern}");
        };
        check("pci:v000010ECd00008168sv00001043sd*bc*sc*i*", Specificity::Subsystem);
        check("pci:v000010ECd00008168sv*sd*bc*sc*i*", Specificity::Device);
        check("pci:v000010ECd00008168sv*sd*bc02sc00i*", Specificity::Device);
        check("pci:v000015B3d0000A2D[236CF]sv*sd*bc*sc*i*", Specificity::Device);
        check("pci:v000010ECd*sv*sd*bc02sc80i*", Specificity::VendorClass);
        check("pci:v000010ECd*sv*sd*bc*sc*i*", Specificity::Vendor);
        check("pci:v*d*sv*sd*bc02sc80i*", Specificity::Class);
        check("pci:v*d*sv*sd*bc*sc*i*", Specificity::Anything);
        check("usb:v046DpC52Bd*dc*dsc*dp*ic*isc*ip*in*", Specificity::Device);
        check("usb:v046DpC52Bd*dc*dsc*dp*icFFisc*ip*in*", Specificity::Subsystem);
        check("usb:v046DpC52Bd00[0-4]*dc*dsc*dp*ic*isc*ip*in*", Specificity::Subsystem);
        check("usb:v046Dp*d*dc*dsc*dp*icFFisc*ip*in*", Specificity::VendorClass);
        check("usb:v*p*d*dc*dsc*dp*ic03isc*ip*in*", Specificity::Class);
        check("hid:b*g*v*p*", Specificity::Anything);
        check("hid:b0003g*v0000256Cp0000006E", Specificity::Device);
        check("hid:b0003g0004v*p*", Specificity::Class);
        check("sdio:c*v02D0d4324*", Specificity::Device);
        check("sdio:c07v*d*", Specificity::Class);
        check("virtio:d00000001v*", Specificity::Device);
        check("acpi*:PNP0C0A:*", Specificity::Device);
        check("of:N*T*Cfsl,imx6q-uart", Specificity::Device);
        check("dmi:*:svnLENOVO:*", Specificity::Device);
        check("platform:pcspkr", Specificity::Device);
        check("platform:*", Specificity::Anything);
        check("pci:v*sc07*", Specificity::Class);
        check("acpi*:*", Specificity::Anything);
        check("*", Specificity::Anything);
    }

    #[test]
    fn the_order() {
        use Specificity::{Anything, Class, Device, Subsystem, Vendor, VendorClass};
        assert!([Anything, Class, Vendor, VendorClass, Device, Subsystem].is_sorted());
    }
}
