//! What is suspicious about a pattern, for publishers.

use std::fmt;

use super::{FieldValue, Pattern, glob};

/// Something suspicious about a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PatternProblem {
    /// Hexadecimal digits in lower case where the kernel writes capitals: matches nothing.
    LowerCaseHex,
    /// A `[` without its `]`: kmod drops the pattern.
    UnpairedBracket,
    /// It matches devices of any vendor, of one class or of all.
    AnyVendor,
    /// It matches every device of one vendor, or of one vendor and class.
    AnyDevice,
    /// No bus is spelt out.
    NoBus,
}

impl fmt::Display for PatternProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LowerCaseHex => "has lower-case hexadecimal digits and never matches: the kernel writes capitals",
            Self::UnpairedBracket => "has a bracket without its pair: kmod ignores the whole pattern",
            Self::AnyVendor => "claims devices of every vendor",
            Self::AnyDevice => "claims every device of a vendor, or of a vendor and class",
            Self::NoBus => "spells out no bus",
        })
    }
}

pub(super) fn problems(pattern: &Pattern) -> Vec<PatternProblem> {
    let mut found = Vec::new();
    if !brackets_pair(&pattern.0) {
        found.push(PatternProblem::UnpairedBracket);
    }
    // A star at the end of the bus is file2alias's own way to write acpi and dmi.
    let names_bus = pattern.bus().is_some()
        || pattern
            .0
            .split(|&b| b == b':')
            .next()
            .is_some_and(|bus| bus.len() > 1 && bus.ends_with(b"*"));
    if !names_bus {
        found.push(PatternProblem::NoBus);
    }
    let Some(fields) = pattern.fields() else { return found };
    if fields.has_lower_case_digits() {
        found.push(PatternProblem::LowerCaseHex);
    }
    let device = fields
        .get("d")
        .filter(|_| fields.bus() != "usb")
        .or_else(|| fields.get("p"));
    // Patterns on virtio name the kind of device and leave the vendor open.
    if fields.bus() != "virtio" && fields.get("v") == Some(FieldValue::Any) {
        found.push(PatternProblem::AnyVendor);
    } else if device == Some(FieldValue::Any) {
        found.push(PatternProblem::AnyDevice);
    }
    found
}

/// Whether kmod would take the pattern: every `[` is closed, and no `]` stands alone.
fn brackets_pair(pattern: &[u8]) -> bool {
    let mut p = 0;
    while let Some(&byte) = pattern.get(p) {
        p = match byte {
            b'[' => match glob::set_end(pattern, p) {
                Some(end) => end,
                None => return false,
            },
            b']' => return false,
            b'\\' => p + 2,
            _ => p + 1,
        };
    }
    true
}
