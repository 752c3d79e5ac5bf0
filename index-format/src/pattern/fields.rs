//! Patterns parsed into the fields of their bus.

use crate::modalias::{FieldBus, LAYOUTS, Layout};

/// What a pattern asks of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldValue {
    /// Exactly this number.
    Fixed(u32),
    /// Some numbers: a range of releases, or a digit left open.
    Partly,
    /// Any number.
    Any,
}

/// A pattern of a bus with fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPattern {
    kind: FieldBus,
    bus: &'static str,
    values: Vec<(&'static str, FieldValue)>,
    lower_case: bool,
}

impl FieldPattern {
    /// `None` when the pattern is not its bus's fields in order, each one with digits, ranges of digits and a `*`. The
    /// last fields may be missing behind a `*`.
    pub(super) fn parse(pattern: &[u8]) -> Option<Self> {
        let layout = LAYOUTS.iter().find(|l| pattern.starts_with(l.bus.as_bytes()))?;
        parse(layout, &pattern[layout.bus.len()..])
    }

    /// The bus: `pci`, `usb`, `hid`, `sdio` or `virtio`.
    pub fn bus(&self) -> &'static str {
        self.bus
    }

    /// The bus, to match on.
    pub(crate) fn kind(&self) -> FieldBus {
        self.kind
    }

    /// What is asked of the field with this name, such as `v` or `sd`.
    pub fn get(&self, name: &str) -> Option<FieldValue> {
        self.values.iter().find(|(n, _)| *n == name).map(|&(_, value)| value)
    }

    /// Whether the field is [`FieldValue::Fixed`].
    pub fn is_fixed(&self, name: &str) -> bool {
        matches!(self.get(name), Some(FieldValue::Fixed(_)))
    }

    /// Whether a digit is in lower case, where the kernel writes capitals: such a pattern matches nothing.
    pub fn has_lower_case_digits(&self) -> bool {
        self.lower_case
    }
}

fn parse(layout: &Layout, mut rest: &[u8]) -> Option<FieldPattern> {
    let mut values = Vec::with_capacity(layout.fields.len());
    let mut lower_case = false;
    let mut open = false;
    for &(name, digits) in layout.fields {
        if rest.is_empty() && (open || values.len() >= layout.required) {
            values.push((name, FieldValue::Any));
            continue;
        }
        rest = rest.strip_prefix(name.as_bytes())?;
        let value;
        (value, rest) = take_value(rest, digits)?;
        lower_case |= value.lower_case;
        open = value.open;
        values.push((name, value.meaning));
    }
    (rest.is_empty() || rest == b"*").then_some(FieldPattern {
        kind: layout.kind,
        bus: layout.bus.trim_end_matches(':'),
        values,
        lower_case,
    })
}

struct Value {
    meaning: FieldValue,
    /// Whether it ends with a star, behind which fields may be missing.
    open: bool,
    lower_case: bool,
}

/// Up to `digits` digits, `?` or ranges, and then a star that may stand for the missing ones.
fn take_value(mut rest: &[u8], digits: usize) -> Option<(Value, &[u8])> {
    let mut number = Some(0_u32);
    let mut lower_case = false;
    let mut seen = 0;
    while seen < digits {
        match rest {
            [b'?', after @ ..] => (number, rest) = (None, after),
            [b'[', ..] => (number, rest) = (None, &rest[super::glob::set_end(rest, 0)?..]),
            [digit, after @ ..] if digit.is_ascii_hexdigit() => {
                lower_case |= digit.is_ascii_lowercase();
                let digit = char::from(*digit).to_digit(16)?;
                (number, rest) = (number.map(|n| n << 4 | digit), after);
            }
            _ => break,
        }
        seen += 1;
    }
    let after_star = rest.strip_prefix(b"*");
    let open = after_star.is_some();
    if !open && seen < digits {
        return None;
    }
    let meaning = match number {
        Some(number) if seen == digits => FieldValue::Fixed(number),
        _ if seen == 0 => FieldValue::Any,
        _ => FieldValue::Partly,
    };
    Some((
        Value {
            meaning,
            open,
            lower_case,
        },
        after_star.unwrap_or(rest),
    ))
}
