//! USB tables: entries match by flags, and device releases (bcdDevice) by ranges.

use super::entry::Source::{Argument, Value};
use super::entry::{IdMacro, Layout, Values};
use super::lexer::Macros;
use super::spelling::{end_open, field};

// USB_DEVICE_ID_MATCH_* of include/linux/mod_devicetable.h.
const VENDOR: u64 = 0x0001;
const PRODUCT: u64 = 0x0002;
const DEV_LO: u64 = 0x0004;
const DEV_HI: u64 = 0x0008;
const DEV_CLASS: u64 = 0x0010;
const DEV_SUBCLASS: u64 = 0x0020;
const DEV_PROTOCOL: u64 = 0x0040;
const INT_CLASS: u64 = 0x0080;
const INT_SUBCLASS: u64 = 0x0100;
const INT_PROTOCOL: u64 = 0x0200;
const INT_NUMBER: u64 = 0x0400;
const DEVICE: u64 = VENDOR | PRODUCT;
const INT_INFO: u64 = INT_CLASS | INT_SUBCLASS | INT_PROTOCOL;

pub(super) const LAYOUT: Layout = Layout {
    fields: &[
        "match_flags",
        "idVendor",
        "idProduct",
        "bcdDevice_lo",
        "bcdDevice_hi",
        "bDeviceClass",
        "bDeviceSubClass",
        "bDeviceProtocol",
        "bInterfaceClass",
        "bInterfaceSubClass",
        "bInterfaceProtocol",
        "bInterfaceNumber",
        "driver_info",
    ],
    macros: &[
        IdMacro {
            name: "USB_DEVICE",
            sets: &[
                ("match_flags", Value(DEVICE)),
                ("idVendor", Argument(0)),
                ("idProduct", Argument(1)),
            ],
        },
        IdMacro {
            name: "USB_DEVICE_VER",
            sets: &[
                ("match_flags", Value(DEVICE | DEV_LO | DEV_HI)),
                ("idVendor", Argument(0)),
                ("idProduct", Argument(1)),
                ("bcdDevice_lo", Argument(2)),
                ("bcdDevice_hi", Argument(3)),
            ],
        },
        IdMacro {
            name: "USB_DEVICE_INTERFACE_CLASS",
            sets: &[
                ("match_flags", Value(DEVICE | INT_CLASS)),
                ("idVendor", Argument(0)),
                ("idProduct", Argument(1)),
                ("bInterfaceClass", Argument(2)),
            ],
        },
        IdMacro {
            name: "USB_DEVICE_INTERFACE_PROTOCOL",
            sets: &[
                ("match_flags", Value(DEVICE | INT_PROTOCOL)),
                ("idVendor", Argument(0)),
                ("idProduct", Argument(1)),
                ("bInterfaceProtocol", Argument(2)),
            ],
        },
        IdMacro {
            name: "USB_DEVICE_INTERFACE_NUMBER",
            sets: &[
                ("match_flags", Value(DEVICE | INT_NUMBER)),
                ("idVendor", Argument(0)),
                ("idProduct", Argument(1)),
                ("bInterfaceNumber", Argument(2)),
            ],
        },
        IdMacro {
            name: "USB_DEVICE_INFO",
            sets: &[
                ("match_flags", Value(DEV_CLASS | DEV_SUBCLASS | DEV_PROTOCOL)),
                ("bDeviceClass", Argument(0)),
                ("bDeviceSubClass", Argument(1)),
                ("bDeviceProtocol", Argument(2)),
            ],
        },
        IdMacro {
            name: "USB_INTERFACE_INFO",
            sets: &[
                ("match_flags", Value(INT_INFO)),
                ("bInterfaceClass", Argument(0)),
                ("bInterfaceSubClass", Argument(1)),
                ("bInterfaceProtocol", Argument(2)),
            ],
        },
        IdMacro {
            name: "USB_DEVICE_AND_INTERFACE_INFO",
            sets: &[
                ("match_flags", Value(DEVICE | INT_INFO)),
                ("idVendor", Argument(0)),
                ("idProduct", Argument(1)),
                ("bInterfaceClass", Argument(2)),
                ("bInterfaceSubClass", Argument(3)),
                ("bInterfaceProtocol", Argument(4)),
            ],
        },
        IdMacro {
            name: "USB_VENDOR_AND_INTERFACE_INFO",
            sets: &[
                ("match_flags", Value(VENDOR | INT_INFO)),
                ("idVendor", Argument(0)),
                ("bInterfaceClass", Argument(1)),
                ("bInterfaceSubClass", Argument(2)),
                ("bInterfaceProtocol", Argument(3)),
            ],
        },
    ],
};

/// The patterns of one entry: one for each piece of its release range.
pub(super) fn patterns(values: &Values, macros: &Macros) -> Result<Vec<String>, String> {
    let flags = values.number("match_flags", macros)?;
    let if_set = |flag: u64, name: &str| match flags & flag {
        0 => Ok(None),
        _ => values.number(name, macros).map(Some),
    };
    let mut head = "usb:".to_owned();
    field(&mut head, "v", if_set(VENDOR, "idVendor")?, 4);
    field(&mut head, "p", if_set(PRODUCT, "idProduct")?, 4);
    let mut tail = String::new();
    for (tag, flag, name) in [
        ("dc", DEV_CLASS, "bDeviceClass"),
        ("dsc", DEV_SUBCLASS, "bDeviceSubClass"),
        ("dp", DEV_PROTOCOL, "bDeviceProtocol"),
        ("ic", INT_CLASS, "bInterfaceClass"),
        ("isc", INT_SUBCLASS, "bInterfaceSubClass"),
        ("ip", INT_PROTOCOL, "bInterfaceProtocol"),
        ("in", INT_NUMBER, "bInterfaceNumber"),
    ] {
        field(&mut tail, tag, if_set(flag, name)?, 2);
    }
    end_open(&mut tail);
    let low = if_set(DEV_LO, "bcdDevice_lo")?.unwrap_or(0);
    let high = if_set(DEV_HI, "bcdDevice_hi")?.unwrap_or(0xFFFF);
    Ok(releases(low & 0xFFFF, high & 0xFFFF)
        .into_iter()
        .map(|release| format!("{head}d{release}{tail}"))
        .collect())
}

/// `low..=high`, four binary-coded decimal digits (hexadecimal where a digit goes beyond nine), as glob patterns.
///
/// The pieces of the last digit come first, then those of the digit before it: 0x0100–0x0250 is `01*`, `02[0-4]*`, `0250`.
fn releases(low: u64, high: u64) -> Vec<String> {
    const DIGITS: u32 = 4;
    let digit = |value: u64, place: u32| value >> (4 * place) & 0xF;
    let beyond_nine = |value: u64| (0..DIGITS).any(|place| digit(value, place) > 9);
    let max = if beyond_nine(low) || (high <= 0x9999 && beyond_nine(high)) {
        0xF
    } else {
        9
    };
    let (mut low, mut high) = (i64::try_from(low).unwrap_or(0), i64::try_from(high).unwrap_or(0));
    let mut found = Vec::new();
    for before in (0..DIGITS as usize).rev() {
        if low > high {
            break;
        }
        let (first, last) = (low & 0xF, (high & 0xF).min(max));
        (low, high) = (low >> 4, high >> 4);
        if low == high || before == 0 {
            found.push(piece(low, before, first, last, max));
            break;
        }
        if first > 0 {
            found.push(piece(low, before, first, max, max));
            low = step(low, 1, max);
        }
        if last < max {
            found.push(piece(high, before, 0, last, max));
            high = step(high, -1, max);
        }
    }
    found
}

/// The neighbour of a number whose digits go from 0 to `max`.
fn step(value: i64, by: i64, max: i64) -> i64 {
    let mut decimal = 0;
    for place in (0..4).rev() {
        decimal = decimal * (max + 1) + (value >> (4 * place) & 0xF);
    }
    decimal += by;
    if decimal < 0 {
        return -1;
    }
    (0..4)
        .fold((0, decimal), |(out, rest), place| {
            (out | (rest % (max + 1)) << (4 * place), rest / (max + 1))
        })
        .0
}

/// `digits` leading digits, then one digit of a range, then anything.
fn piece(leading: i64, digits: usize, first: i64, last: i64, max: i64) -> String {
    let mut pattern = match digits {
        0 => String::new(),
        _ => format!("{leading:0digits$X}"),
    };
    if first == last {
        pattern.push_str(&format!("{first:X}"));
    } else if first > 0 || last < max {
        pattern.push_str(&match (first, last) {
            (_, ..=9) | (0xA.., _) => format!("[{first:X}-{last:X}]"),
            (9, 0xA) => "[9A]".to_owned(),
            (9, _) => format!("[9A-{last:X}]"),
            (_, 0xA) => format!("[{first:X}-9A]"),
            _ => format!("[{first:X}-9A-{last:X}]"),
        });
    }
    if digits < 3 {
        pattern.push('*');
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::releases;

    #[test]
    fn ranges_of_releases() {
        fn check(low: u64, high: u64, expected: &[&str]) {
            assert_eq!(releases(low, high), expected, "{low:04x}-{high:04x}");
        }
        check(0, 0xFFFF, &["*"]);
        check(0, 0x9999, &["*"]);
        check(0x0100, 0x0100, &["0100"]);
        check(0x0000, 0x0104, &["010[0-4]", "00*"]);
        check(0x0110, 0xFFFF, &["01[1-9]*", "0[2-9]*", "[1-9]*"]);
        check(0x0001, 0x0001, &["0001"]);
        check(0x000A, 0x000C, &["000[A-C]"]);
        check(0x0008, 0x000B, &["000[8-9A-B]"]);
        check(0x0200, 0x0100, &[]);
    }
}
