//! From the entries of device tables to alias patterns, bus by bus, as the kernel's scripts/mod/file2alias.c writes them.

use super::entry::Source::{Argument, Pasted, PastedBoth, Value};
use super::entry::{IdMacro, Layout, Values};
use super::lexer::Macros;
use super::spelling::{end_open, field};
use super::usb;

/// A bus whose tables are understood.
#[derive(Debug)]
pub(super) struct Bus {
    /// The first argument of `MODULE_DEVICE_TABLE`.
    pub(super) name: &'static str,
    pub(super) layout: Layout,
    /// The patterns of one entry, or the constant that is not known.
    pub(super) patterns: fn(&Values, &Macros) -> Result<Vec<String>, String>,
}

/// Every bus whose tables are understood.
pub(super) const BUSES: [Bus; 11] = [
    Bus {
        name: "pci",
        layout: PCI,
        patterns: pci,
    },
    Bus {
        name: "usb",
        layout: usb::LAYOUT,
        patterns: usb::patterns,
    },
    Bus {
        name: "hid",
        layout: HID,
        patterns: hid,
    },
    Bus {
        name: "acpi",
        layout: ACPI,
        patterns: acpi,
    },
    Bus {
        name: "pnp",
        layout: names(&["id", "driver_data"]),
        patterns: pnp,
    },
    Bus {
        name: "i2c",
        layout: names(&["name", "driver_data"]),
        patterns: |values, macros| Ok(vec![format!("i2c:{}", values.text("name", macros)?)]),
    },
    Bus {
        name: "spi",
        layout: names(&["name", "driver_data"]),
        patterns: |values, macros| Ok(vec![format!("spi:{}", values.text("name", macros)?)]),
    },
    Bus {
        name: "platform",
        layout: names(&["name", "driver_data"]),
        patterns: |values, macros| Ok(vec![format!("platform:{}", values.text("name", macros)?)]),
    },
    Bus {
        name: "of",
        layout: names(&["name", "type", "compatible", "data"]),
        patterns: of,
    },
    Bus {
        name: "sdio",
        layout: SDIO,
        patterns: sdio,
    },
    Bus {
        name: "virtio",
        layout: names(&["device", "vendor"]),
        patterns: virtio,
    },
];

const ANY_32: u64 = 0xFFFF_FFFF;

const PCI: Layout = Layout {
    fields: &[
        "vendor",
        "device",
        "subvendor",
        "subdevice",
        "class",
        "class_mask",
        "driver_data",
        "override_only",
    ],
    macros: &[
        IdMacro {
            name: "PCI_DEVICE",
            sets: &[
                ("vendor", Argument(0)),
                ("device", Argument(1)),
                ("subvendor", Value(ANY_32)),
                ("subdevice", Value(ANY_32)),
            ],
        },
        IdMacro {
            name: "PCI_DEVICE_SUB",
            sets: &[
                ("vendor", Argument(0)),
                ("device", Argument(1)),
                ("subvendor", Argument(2)),
                ("subdevice", Argument(3)),
            ],
        },
        IdMacro {
            name: "PCI_DEVICE_CLASS",
            sets: &[
                ("class", Argument(0)),
                ("class_mask", Argument(1)),
                ("vendor", Value(ANY_32)),
                ("device", Value(ANY_32)),
                ("subvendor", Value(ANY_32)),
                ("subdevice", Value(ANY_32)),
            ],
        },
        IdMacro {
            name: "PCI_VDEVICE",
            sets: &[
                ("vendor", Pasted("PCI_VENDOR_ID_", 0)),
                ("device", Argument(1)),
                ("subvendor", Value(ANY_32)),
                ("subdevice", Value(ANY_32)),
                ("class", Value(0)),
                ("class_mask", Value(0)),
            ],
        },
        IdMacro {
            name: "PCI_DEVICE_DATA",
            sets: &[
                ("vendor", Pasted("PCI_VENDOR_ID_", 0)),
                ("device", PastedBoth("PCI_DEVICE_ID_")),
                ("subvendor", Value(ANY_32)),
                ("subdevice", Value(ANY_32)),
                ("class", Value(0)),
                ("class_mask", Value(0)),
                ("driver_data", Argument(2)),
            ],
        },
    ],
};

const HID: Layout = Layout {
    fields: &["bus", "group", "vendor", "product", "driver_data"],
    macros: &[
        IdMacro {
            name: "HID_USB_DEVICE",
            sets: &[("bus", Value(0x03)), ("vendor", Argument(0)), ("product", Argument(1))],
        },
        IdMacro {
            name: "HID_BLUETOOTH_DEVICE",
            sets: &[("bus", Value(0x05)), ("vendor", Argument(0)), ("product", Argument(1))],
        },
        IdMacro {
            name: "HID_I2C_DEVICE",
            sets: &[("bus", Value(0x18)), ("vendor", Argument(0)), ("product", Argument(1))],
        },
        IdMacro {
            name: "HID_DEVICE",
            sets: &[
                ("bus", Argument(0)),
                ("group", Argument(1)),
                ("vendor", Argument(2)),
                ("product", Argument(3)),
            ],
        },
    ],
};

const ACPI: Layout = Layout {
    fields: &["id", "driver_data", "cls", "cls_msk"],
    macros: &[IdMacro {
        name: "ACPI_DEVICE_CLASS",
        sets: &[("cls", Argument(0)), ("cls_msk", Argument(1))],
    }],
};

const SDIO: Layout = Layout {
    fields: &["class", "vendor", "device", "driver_data"],
    macros: &[
        IdMacro {
            name: "SDIO_DEVICE",
            sets: &[("class", Value(0xFF)), ("vendor", Argument(0)), ("device", Argument(1))],
        },
        IdMacro {
            name: "SDIO_DEVICE_CLASS",
            sets: &[
                ("class", Argument(0)),
                ("vendor", Value(0xFFFF)),
                ("device", Value(0xFFFF)),
            ],
        },
    ],
};

const fn names(fields: &'static [&'static str]) -> Layout {
    Layout { fields, macros: &[] }
}

fn pci(values: &Values, macros: &Macros) -> Result<Vec<String>, String> {
    let id = |name: &str| {
        let value = values.number(name, macros)? & ANY_32;
        Ok::<_, String>((value != ANY_32).then_some(value))
    };
    let class = values.number("class", macros)?;
    let mask = values.number("class_mask", macros)?;
    // Each byte of the class counts or does not: file2alias knows no half bytes.
    let byte = |shift: u32| (mask >> shift & 0xFF == 0xFF).then_some(class >> shift & 0xFF);
    let mut pattern = match values.number("override_only", macros) {
        Ok(1) => "vfio_pci:".to_owned(),
        _ => "pci:".to_owned(),
    };
    field(&mut pattern, "v", id("vendor")?, 8);
    field(&mut pattern, "d", id("device")?, 8);
    field(&mut pattern, "sv", id("subvendor")?, 8);
    field(&mut pattern, "sd", id("subdevice")?, 8);
    field(&mut pattern, "bc", byte(16), 2);
    field(&mut pattern, "sc", byte(8), 2);
    field(&mut pattern, "i", byte(0), 2);
    end_open(&mut pattern);
    Ok(vec![pattern])
}

fn hid(values: &Values, macros: &Macros) -> Result<Vec<String>, String> {
    let number = |name: &str, any: u64| {
        let value = values.number(name, macros)? & ANY_32;
        Ok::<_, String>((value != any).then_some(value))
    };
    let mut pattern = "hid:".to_owned();
    field(&mut pattern, "b", number("bus", 0xFFFF)?, 4);
    field(&mut pattern, "g", number("group", 0)?, 4);
    field(&mut pattern, "v", number("vendor", ANY_32)?, 8);
    field(&mut pattern, "p", number("product", ANY_32)?, 8);
    Ok(vec![pattern])
}

fn acpi(values: &Values, macros: &Macros) -> Result<Vec<String>, String> {
    let id = values.text("id", macros)?;
    if !id.is_empty() {
        return Ok(vec![format!("acpi*:{id}:*")]);
    }
    let class = values.number("cls", macros)?;
    let mask = values.number("cls_msk", macros)?;
    let bytes: String = [16, 8, 0]
        .map(|shift| match mask >> shift & 0xFF {
            0 => "??".to_owned(),
            _ => format!("{:02x}", class >> shift & 0xFF),
        })
        .concat();
    Ok(vec![format!("acpi*:{bytes}:*")])
}

fn pnp(values: &Values, macros: &Macros) -> Result<Vec<String>, String> {
    let id = values.text("id", macros)?;
    Ok(vec![
        format!("pnp:d{id}*"),
        format!("acpi*:{}:*", id.to_ascii_uppercase()),
    ])
}

fn of(values: &Values, macros: &Macros) -> Result<Vec<String>, String> {
    let part = |name: &str| values.text(name, macros).map(|text| text.replace(' ', "_"));
    let (name, kind, compatible) = (part("name")?, part("type")?, part("compatible")?);
    let or_any = |text: &str| {
        if text.is_empty() {
            "*".to_owned()
        } else {
            text.to_owned()
        }
    };
    let mut pattern = format!("of:N{}T{}", or_any(&name), or_any(&kind));
    if !compatible.is_empty() {
        let between = if kind.is_empty() { "" } else { "*" };
        pattern.push_str(&format!("{between}C{compatible}"));
    }
    Ok(vec![pattern.clone(), format!("{pattern}C*")])
}

fn sdio(values: &Values, macros: &Macros) -> Result<Vec<String>, String> {
    let number = |name: &str, any: u64| {
        let value = values.number(name, macros)? & any;
        Ok::<_, String>((value != any).then_some(value))
    };
    let mut pattern = "sdio:".to_owned();
    field(&mut pattern, "c", number("class", 0xFF)?, 2);
    field(&mut pattern, "v", number("vendor", 0xFFFF)?, 4);
    field(&mut pattern, "d", number("device", 0xFFFF)?, 4);
    end_open(&mut pattern);
    Ok(vec![pattern])
}

fn virtio(values: &Values, macros: &Macros) -> Result<Vec<String>, String> {
    let number = |name: &str| {
        let value = values.number(name, macros)? & ANY_32;
        Ok::<_, String>((value != ANY_32).then_some(value))
    };
    let mut pattern = "virtio:".to_owned();
    field(&mut pattern, "d", number("device")?, 8);
    field(&mut pattern, "v", number("vendor")?, 8);
    end_open(&mut pattern);
    Ok(vec![pattern])
}
