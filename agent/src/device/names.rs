//! Names of devices: from udev's hardware database, or else from the device's own strings.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use dkms_support::terminal::printable;
use udev::Hwdb;

use super::Device;

/// Longer names are cut.
const NAME_MAX_CHARS: usize = 100;

/// The hardware database; without one, devices have no names from it.
pub(super) struct Names(Option<Hwdb>);

impl Names {
    pub(super) fn open() -> Self {
        Self(Hwdb::new().ok())
    }

    /// Fills in the names that hwdb knows for the device's modaliases.
    pub(super) fn fill(&self, device: &mut Device) {
        let Some(hwdb) = &self.0 else { return };
        let modaliases = std::mem::take(&mut device.modaliases);
        for modalias in &modaliases {
            // The udev crate panics on a NUL byte; a modalias has none.
            for entry in hwdb.query(OsStr::from_bytes(modalias.as_bytes())) {
                let (Some(key), Some(value)) = (entry.name().to_str(), entry.value().to_str()) else {
                    continue;
                };
                let slot = match key {
                    "ID_VENDOR_FROM_DATABASE" => &mut device.vendor,
                    "ID_MODEL_FROM_DATABASE" => &mut device.model,
                    "ID_PCI_SUBCLASS_FROM_DATABASE" | "ID_USB_CLASS_FROM_DATABASE" => &mut device.class,
                    "ID_PCI_CLASS_FROM_DATABASE" if device.class.is_none() => &mut device.class,
                    _ => continue,
                };
                *slot = clean(OsStr::new(value));
            }
        }
        device.modaliases = modaliases;
    }
}

/// A name as it may be shown on a terminal: strings of a device can hold control characters.
pub(super) fn clean(name: &OsStr) -> Option<String> {
    let name = name.to_string_lossy();
    let name: String = name
        .trim_matches(|c: char| c.is_whitespace() || c == '"')
        .chars()
        .filter(|c| !c.is_control())
        .take(NAME_MAX_CHARS)
        .collect();
    let name = printable(&name).into_owned();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_made_harmless() {
        let check = |name: &str, expected: Option<&str>| assert_eq!(clean(OsStr::new(name)).as_deref(), expected);
        check(
            "Realtek Semiconductor Co., Ltd.",
            Some("Realtek Semiconductor Co., Ltd."),
        );
        check("\x1b[2Jgone\n", Some("[2Jgone"));
        check("drowssap\u{202e}", Some("drowssap\\u{202e}"));
        check(" \t", None);
        check("\"Yubico YubiKey\"", Some("Yubico YubiKey"));
        check(&"é".repeat(500), Some(&"é".repeat(NAME_MAX_CHARS)));
    }
}
