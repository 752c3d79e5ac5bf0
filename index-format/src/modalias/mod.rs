//! The modalias of a device: the string that its bus makes from the hardware's identifiers.
//!
//! A modalias is made of bytes, not of characters, and is always literal: `*`, `[` or `\` in it (a DMI string may
//! hold any of them) mean themselves. The kernel's bus code writes it into the uevent's `MODALIAS` and the `modalias` file.

mod fields;

use std::fmt;

pub(crate) use fields::{FieldBus, LAYOUTS, Layout};
pub use fields::{Fields, VendorId, VendorIdError, field_layout};

/// Longest modalias accepted, in bytes: a page, which is all that a sysfs attribute can hold.
pub const MAX_MODALIAS_BYTES: usize = 4096;

/// The modalias of one device: 1 to [`MAX_MODALIAS_BYTES`] bytes without NUL and line feed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Modalias(Box<[u8]>);

/// Why bytes are not a modalias.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModaliasError {
    /// No bytes.
    #[error("the modalias is empty")]
    Empty,
    /// Longer than the kernel can make it.
    #[error("a modalias of {0} bytes is longer than the kernel makes them ({MAX_MODALIAS_BYTES} at most)")]
    TooLong(usize),
    /// A NUL or a line feed.
    #[error("the modalias holds the byte {0:#04x}, which no modalias can")]
    Byte(u8),
}

impl Modalias {
    /// Takes the bytes as they are; nothing is trimmed.
    ///
    /// # Errors
    /// When they are empty, too long, or hold a NUL or a line feed.
    pub fn parse(bytes: impl AsRef<[u8]>) -> Result<Self, ModaliasError> {
        let bytes = bytes.as_ref();
        if bytes.is_empty() {
            return Err(ModaliasError::Empty);
        }
        if bytes.len() > MAX_MODALIAS_BYTES {
            return Err(ModaliasError::TooLong(bytes.len()));
        }
        match bytes.iter().find(|b| matches!(b, 0 | b'\n')) {
            Some(&byte) => Err(ModaliasError::Byte(byte)),
            None => Ok(Self(bytes.into())),
        }
    }

    /// The modaliases of one device from the content of its `modalias` attribute.
    ///
    /// An ACPI device that is described by a device tree too has two lines, `acpi:…` and then `of:…`; both count. Empty
    /// lines, such as after the last line feed, are left out. An empty attribute is a device without a modalias.
    ///
    /// # Errors
    /// When a line is not a modalias.
    pub fn from_attribute(content: &[u8]) -> Result<Vec<Self>, ModaliasError> {
        content
            .split(|&b| b == b'\n')
            .filter(|line| !line.is_empty())
            .map(Self::parse)
            .collect()
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bus: all before the first `:`. Empty when there is none.
    pub fn bus(&self) -> &[u8] {
        let end = self.0.iter().position(|&b| b == b':').unwrap_or(0);
        &self.0[..end]
    }

    /// The identifiers in it, for the buses whose modalias has fields. `None` for other buses and for strings that do
    /// not have their bus's form; those are still matched as plain text.
    pub fn fields(&self) -> Option<Fields> {
        Fields::parse(&self.0)
    }
}

/// Bytes that are not printable ASCII are escaped, so that a hostile device cannot write to a terminal.
impl fmt::Display for Modalias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::text::escape(&self.0, f)
    }
}

impl fmt::Debug for Modalias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Modalias({self})")
    }
}

impl std::str::FromStr for Modalias {
    type Err = ModaliasError;

    fn from_str(text: &str) -> Result<Self, ModaliasError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(content: &str, expected: &[&str]) {
        let found: Vec<String> = Modalias::from_attribute(content.as_bytes())
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, expected, "{content:?}");
    }

    #[test]
    fn an_attribute_has_one_or_two_lines_and_nothing_else_is_trimmed() {
        attribute("pci:v00001234d000011E8\n", &["pci:v00001234d000011E8"]);
        attribute(
            "acpi:PRP0001:\nof:NledT(null)Cgpio-leds\n",
            &["acpi:PRP0001:", "of:NledT(null)Cgpio-leds"],
        );
        attribute("platform:Fixed MDIO bus \n", &["platform:Fixed MDIO bus "]);
        attribute(
            "mei::05b79a6f-4628-4d7f-899d-a91514cb32ab:",
            &["mei::05b79a6f-4628-4d7f-899d-a91514cb32ab:"],
        );
        attribute("\n", &[]);
        attribute("", &[]);
    }

    #[test]
    fn impossible_strings_are_refused() {
        assert_eq!(Modalias::parse(""), Err(ModaliasError::Empty));
        assert_eq!(Modalias::parse("pci:\0"), Err(ModaliasError::Byte(0)));
        assert_eq!(Modalias::parse("pci:\n"), Err(ModaliasError::Byte(b'\n')));
        assert_eq!(Modalias::parse("x".repeat(4097)), Err(ModaliasError::TooLong(4097)));
        assert!(Modalias::parse("x".repeat(4096)).is_ok());
    }

    #[test]
    fn the_bus_is_what_stands_before_the_first_colon() {
        let check = |modalias: &str, bus: &str| {
            assert_eq!(Modalias::parse(modalias).unwrap().bus(), bus.as_bytes(), "{modalias}");
        };
        check("pci:v00008086", "pci");
        check("mei::uuid:", "mei");
        check("nonsense", "");
    }

    #[test]
    fn a_hostile_device_cannot_write_to_the_terminal() {
        let device = Modalias::parse(b"usb:\x1b[31m\xff").unwrap();
        assert_eq!(device.to_string(), r"usb:\x1b[31m\xff");
    }
}
