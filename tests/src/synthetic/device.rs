//! Made-up devices for patterns.

use dkms_index::modalias::{Modalias, field_layout};
use dkms_index::pattern::Pattern;

/// A device that `pattern` matches and that looks like one of its bus.
///
/// # Panics
/// When it made a modalias that does not match: the pattern has more than stars, `?` and plain sets.
pub fn device_for(pattern: &Pattern) -> Modalias {
    let text = pattern.as_bytes();
    let bus = text.split(|&b| b == b':').next().unwrap_or_default();
    let fields = std::str::from_utf8(bus).ok().and_then(field_layout).unwrap_or_default();
    let mut device = Vec::new();
    let mut p = 0;
    while let Some(&byte) = text.get(p) {
        p += 1;
        match byte {
            b'*' if !fields.is_empty() => pad_field(&mut device, fields),
            b'*' if device.starts_with(b"of:N") && device.ends_with(b"T") => device.extend_from_slice(b"(null)"),
            b'*' if device.starts_with(b"of:N") => device.extend_from_slice(b"node"),
            b'*' if device.starts_with(b"cpu:") => {
                let features = (0..200).map(|n| format!(",{:04X}", n * 3));
                device.extend(features.collect::<String>().into_bytes());
            }
            b'*' => {}
            b'?' => device.push(b'0'),
            b'[' => {
                device.push(text[p]);
                p += text[p..].iter().position(|&b| b == b']').expect("a closed set") + 1;
            }
            b'\\' => {
                device.push(text[p]);
                p += 1;
            }
            plain => device.push(plain),
        }
    }
    if let Some((last, _)) = fields.last() {
        // Fields that the pattern leaves out.
        let named = |device: &[u8], name: &str| {
            device
                .windows(name.len() + 1)
                .any(|w| w.starts_with(name.as_bytes()) && w[name.len()].is_ascii_hexdigit())
        };
        if !named(&device, last) && text.ends_with(b"*") {
            for (name, width) in fields {
                if !named(&device, name) {
                    device.extend_from_slice(name.as_bytes());
                    device.resize(device.len() + width, b'0');
                }
            }
        }
    }
    let device = Modalias::parse(device).expect("a modalias");
    assert!(pattern.matches(&device), "{pattern} {device}");
    device
}

/// Fills the field at the end of `device` up to its width.
fn pad_field(device: &mut Vec<u8>, fields: &[(&str, usize)]) {
    let digits = device
        .iter()
        .rev()
        .take_while(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'))
        .count();
    let letters = &device[..device.len() - digits];
    let start = letters
        .iter()
        .rposition(|b| !b.is_ascii_lowercase())
        .map_or(0, |at| at + 1);
    let name = &letters[start..];
    let width = fields
        .iter()
        .find(|(field, _)| field.as_bytes() == name)
        .map_or(0, |(_, width)| *width);
    device.resize(device.len() + width.saturating_sub(digits), b'0');
}
