//! Which devices a driver claims: alias patterns, as the kernel's `scripts/mod/file2alias.c` writes them.
//!
//! The meaning is that of glibc's `fnmatch(pattern, modalias, 0)`, over bytes, which is what kmod uses too. Two
//! differences to kmod are kept on purpose: to kmod `-` and `_` are the same outside brackets, and it drops patterns
//! whose brackets do not pair.

mod fields;
mod glob;
mod literals;
mod problem;

use std::fmt;

pub use fields::{FieldPattern, FieldValue};
pub use problem::PatternProblem;

use crate::modalias::{Modalias, VendorId};

/// Longest pattern accepted, in bytes. The longest of Linux 6.12 has 98.
pub const MAX_PATTERN_BYTES: usize = 512;

/// Most stars in a pattern. Linux 6.12 has up to 15 (joysticks).
pub const MAX_STARS: usize = 64;

/// An alias pattern that is safe to match with: bounded, without elements that match nothing or depend on the locale.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Box<[u8]>);

/// Why bytes are not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// No bytes.
    #[error("the pattern is empty")]
    Empty,
    /// Longer than [`MAX_PATTERN_BYTES`].
    #[error("the pattern has {0} bytes, at most {MAX_PATTERN_BYTES} are taken")]
    TooLong(usize),
    /// More than [`MAX_STARS`].
    #[error("the pattern has {0} stars, at most {MAX_STARS} are taken")]
    TooManyStars(usize),
    /// A control character, which no modalias file can hold.
    #[error("the pattern holds the control character {0:#04x}")]
    Control(u8),
    /// A `\` at the end: such a pattern matches nothing.
    #[error("the pattern ends with a lone backslash and matches nothing")]
    TrailingBackslash,
    /// `[:`, `[=` or `[.` inside a set: character classes depend on the locale, and no kernel writes them.
    #[error("the pattern has a character class ([:, [= or [.) inside brackets")]
    CharacterClass,
}

impl Pattern {
    /// Takes the bytes as they are; nothing is trimmed or folded.
    ///
    /// # Errors
    /// When they are not a pattern, or one that no kernel writes and that is unsafe to match with.
    pub fn parse(bytes: impl AsRef<[u8]>) -> Result<Self, PatternError> {
        let bytes = bytes.as_ref();
        if bytes.is_empty() {
            return Err(PatternError::Empty);
        }
        if bytes.len() > MAX_PATTERN_BYTES {
            return Err(PatternError::TooLong(bytes.len()));
        }
        if let Some(&byte) = bytes.iter().find(|b| b.is_ascii_control()) {
            return Err(PatternError::Control(byte));
        }
        let stars = bytes.iter().filter(|&&b| b == b'*').count();
        if stars > MAX_STARS {
            return Err(PatternError::TooManyStars(stars));
        }
        if bytes.iter().rev().take_while(|&&b| b == b'\\').count() % 2 == 1 {
            return Err(PatternError::TrailingBackslash);
        }
        if has_character_class(bytes) {
            return Err(PatternError::CharacterClass);
        }
        Ok(Self(bytes.into()))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the driver claims `device`.
    pub fn matches(&self, device: &Modalias) -> bool {
        glob::matches(&self.0, device.as_bytes())
    }

    /// All before the first special byte (`*`, `?`, `[`, `\`): every device that matches begins with it.
    pub fn literal_prefix(&self) -> &[u8] {
        let end = self.0.iter().position(|b| b"*?[\\".contains(b));
        &self.0[..end.unwrap_or(self.0.len())]
    }

    /// The stretches of bytes that every matching modalias contains, in this order, without overlap. Escapes are resolved.
    pub fn literals(&self) -> Vec<Vec<u8>> {
        literals::of(&self.0)
    }

    /// What stands between the stars: bytes that a matching modalias contains side by side, `None` for any one byte. The first
    /// run is at the beginning.
    pub(crate) fn runs(&self) -> literals::Runs {
        literals::Runs::of(&self.0)
    }

    /// The bus, when it is spelt out: all before the first `:`.
    pub fn bus(&self) -> Option<&[u8]> {
        let prefix = self.literal_prefix();
        prefix.iter().position(|&b| b == b':').map(|end| &prefix[..end])
    }

    /// The pattern parsed into its bus's fields; `None` where the bus has none or the pattern is another glob.
    pub fn fields(&self) -> Option<FieldPattern> {
        FieldPattern::parse(&self.0)
    }

    /// The one vendor whose devices this pattern can match, when bus and vendor are spelt out in it.
    ///
    /// A vendor's role may sign only patterns of its own vendor; everything else needs the curated role.
    pub fn vendor_id(&self) -> Option<VendorId> {
        let fields = self.fields()?;
        match fields.get("v")? {
            FieldValue::Fixed(vendor) => VendorId::new(fields.bus(), vendor),
            _ => None,
        }
    }

    /// What is suspicious about it; see [`PatternProblem`].
    pub fn problems(&self) -> Vec<PatternProblem> {
        problem::problems(self)
    }
}

/// Whether a `[` followed by `:`, `=` or `.` stands anywhere behind another `[`.
///
/// More is refused than glibc would take for a class; none of it occurs in a kernel.
fn has_character_class(bytes: &[u8]) -> bool {
    let Some(first) = bytes.iter().position(|&b| b == b'[') else {
        return false;
    };
    bytes[first + 1..]
        .windows(2)
        .any(|w| w[0] == b'[' && b":=.".contains(&w[1]))
}

impl AsRef<[u8]> for Pattern {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Bytes that are not printable ASCII are escaped.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::text::escape(&self.0, f)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({self})")
    }
}

impl std::str::FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests;
