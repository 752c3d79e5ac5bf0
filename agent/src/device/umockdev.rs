//! umockdev's device files: blocks of `P: path`, then `E: property`, `A: attribute`, `H: binary attribute`, `L: link`.

use std::collections::HashMap;
use std::ffi::OsStr;

use dkms_index::modalias::{Modalias, ModaliasError};

use super::names::clean;
use super::{Binding, Device, bus, never_binds};

/// The properties, attributes and links of one `P:` block.
#[derive(Default)]
struct Block<'a> {
    path: &'a str,
    properties: HashMap<&'a str, &'a str>,
    attributes: HashMap<&'a str, Vec<u8>>,
    driver: Option<&'a str>,
}

/// Whether `text` looks like one of these files: its first line of content starts a block.
pub(super) fn recognise(text: &str) -> bool {
    text.lines()
        .find(|line| !line.is_empty() && !line.starts_with('#'))
        .is_some_and(|line| line.starts_with("P: "))
}

/// The devices that have a modalias, in the file's order.
///
/// # Errors
/// The number of the first bad line, and what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Vec<Device>, (usize, String)> {
    let mut devices = Vec::new();
    let mut finish = |block: Option<Block<'_>>, line: usize| {
        let device = block.map_or(Ok(None), |block| device(&block));
        devices.extend(device.map_err(|e| (line, format!("the device before: {e}")))?);
        Ok::<(), (usize, String)>(())
    };
    let mut block: Option<Block<'_>> = None;
    for (number, line) in (1..).zip(text.lines()) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (kind, rest) = line
            .split_once(": ")
            .ok_or_else(|| (number, format!("expected `X: …`, found {line:.40?}")))?;
        if kind == "P" {
            finish(block.take(), number - 1)?;
            block = Some(Block {
                path: rest,
                ..Block::default()
            });
            continue;
        }
        let block = block
            .as_mut()
            .ok_or_else(|| (number, "nothing may stand before the first `P: `".to_owned()))?;
        // `N: node=contents` and `S: link` need no value; the others are `name=value`.
        let (name, value) = rest.split_once('=').unwrap_or((rest, ""));
        match kind {
            "E" => _ = block.properties.insert(name, value),
            "A" => _ = block.attributes.insert(name, unescape(value)),
            "L" if name == "driver" => block.driver = value.rsplit('/').next(),
            "L" | "H" | "N" | "S" => {}
            _ => return Err((number, format!("unknown kind of line {kind:.10?}"))),
        }
    }
    finish(block, text.lines().count())?;
    Ok(devices)
}

/// The device of a block; `None` when it has no modalias.
fn device(block: &Block<'_>) -> Result<Option<Device>, ModaliasError> {
    let attribute = block.attributes.get("modalias").map(Vec::as_slice);
    let property = block.properties.get("MODALIAS").map(|text| text.as_bytes());
    let modaliases = Modalias::from_attribute(attribute.or(property).unwrap_or_default())?;
    let Some(first) = modaliases.first() else {
        return Ok(None);
    };
    let property = |name: &str| block.properties.get(name).copied();
    let name = |key: &str| clean(OsStr::new(property(key)?));
    let binding = match block.driver.or_else(|| property("DRIVER")) {
        _ if never_binds(first) => Binding::NeverBinds,
        Some(driver) => Binding::Bound {
            driver: driver.to_owned(),
            module: None,
        },
        None => Binding::Unbound,
    };
    Ok(Some(Device {
        path: block.path.to_owned(),
        subsystem: property("SUBSYSTEM").map_or_else(|| bus(first), str::to_owned),
        vendor: name("ID_VENDOR_FROM_DATABASE"),
        model: name("ID_MODEL_FROM_DATABASE")
            .or_else(|| name("HID_NAME"))
            .or_else(|| name("NAME")),
        class: name("ID_PCI_SUBCLASS_FROM_DATABASE").or_else(|| name("ID_PCI_CLASS_FROM_DATABASE")),
        modaliases,
        binding,
    }))
}

/// Undoes glib's `g_strescape`: the one-letter escapes such as `\n`, and up to three octal digits.
fn unescape(value: &str) -> Vec<u8> {
    let mut plain = Vec::with_capacity(value.len());
    let mut bytes = value.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            plain.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'n') => plain.push(b'\n'),
            Some(b't') => plain.push(b'\t'),
            Some(b'r') => plain.push(b'\r'),
            Some(b'b') => plain.push(8),
            Some(b'f') => plain.push(12),
            Some(b'v') => plain.push(11),
            Some(digit @ b'0'..=b'7') => {
                let mut code = digit - b'0';
                for _ in 0..2 {
                    let Some(next) = bytes.next_if(|b| matches!(b, b'0'..=b'7')) else {
                        break;
                    };
                    code = code.wrapping_mul(8).wrapping_add(next - b'0');
                }
                plain.push(code);
            }
            Some(other) => plain.push(other),
            None => plain.push(b'\\'),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_become_devices() {
        let text = "\
P: /devices/pci0000:00/0000:00:1c.0/0000:02:00.0
E: SUBSYSTEM=pci
E: MODALIAS=pci:v000010ECd00008168sv00001043sd00008677bc02sc00i00
E: ID_VENDOR_FROM_DATABASE=Realtek Semiconductor Co., Ltd.
A: modalias=pci:v000010ECd00008168sv00001043sd00008677bc02sc00i00\\n
H: config=EC10
L: driver=../../../../bus/pci/drivers/r8169

P: /devices/nothing
E: SUBSYSTEM=mem

P: /devices/platform/leds
N: null
A: modalias=acpi:PRP0001:\\nof:NledsT(null)Cgpio-leds\\n
";
        let devices = parse(text).expect("the file is well formed");
        assert_eq!(devices.len(), 2);
        assert_eq!(devices[0].path, "/devices/pci0000:00/0000:00:1c.0/0000:02:00.0");
        assert_eq!(devices[0].vendor.as_deref(), Some("Realtek Semiconductor Co., Ltd."));
        let bound = Binding::Bound {
            driver: "r8169".into(),
            module: None,
        };
        assert_eq!(devices[0].binding, bound);
        let expected: [Modalias; 2] = ["acpi:PRP0001:", "of:NledsT(null)Cgpio-leds"].map(|m| m.parse().unwrap());
        assert_eq!(devices[1].modaliases, expected);
        assert_eq!(devices[1].subsystem, "acpi");
        assert_eq!(devices[1].binding, Binding::Unbound);
    }

    #[test]
    fn bad_lines_are_named() {
        let check = |text: &str, line: usize| assert_eq!(parse(text).expect_err(text).0, line);
        check("E: A=b\n", 1);
        check("P: /x\nnonsense\n", 2);
        check("P: /x\n\nQ: a=b\n", 3);
    }

    #[test]
    fn escapes_are_undone() {
        let check = |escaped: &str, expected: &str| assert_eq!(unescape(escaped), expected.as_bytes());
        check("plain", "plain");
        check(r"a\nb", "a\nb");
        check(r"\\n", r"\n");
        check(r"\303\251", "é");
        check(r"\0619", "19");
        assert_eq!(unescape(r"\377"), [0xff]);
        check("end\\", "end\\");
    }
}
