//! Patterns of the buses whose modaliases always have the same form: filed under all the digits they name, at once.
//!
//! On such a bus every field stands at the same place in every device's string. So `usb:v1D50p*d*dc*dsc*dp*ic08isc*ip*in*`
//! asks for certain digits at certain places: its [`Shape`] says at which ones, and its key is a hash of the shape and of those
//! digits. For a device, its own digits are hashed once for each shape in use, of which a kernel has some dozens. So patterns that
//! name its vendor *and* its class are found without trying those that name only one of the two.
//!
//! Only digits whose place is certain are used. Between two stars a pattern has a run of bytes. Where the run fits in at one single
//! place of the form, every device of that form has its digits there. A run that fits in at several places (`d00008168*` may be the
//! device or the subsystem's) is not used.

use std::sync::LazyLock;

use super::{Key, mix};
use crate::modalias::{LAYOUTS, Layout};
use crate::pattern::Pattern;

/// The most shapes of a bus; patterns of further ones are filed under anchors. Linux 6.12 has 27 on usb.
pub(super) const SHAPES_MAX: usize = 64;

/// Enough words of eight bytes for the longest form, pci's 53 bytes, and no more than a [`Shape`] has bits.
const WORDS: usize = 8;

/// Stands in a template for a hexadecimal digit, a capital if it is a letter: small letters are names of fields.
const DIGIT: u8 = b'#';
/// Stands for a hexadecimal digit of either case, as old kernels write PCI's interface.
const DIGIT_OF_EITHER_CASE: u8 = b'%';

/// At which bytes of the form a pattern names digits: bit n for the n-th.
pub(super) type Shape = u64;

/// The text of a device or, with zeros for what it leaves open, of a pattern.
type Text = [u8; 8 * WORDS];

/// How all devices of a bus write their modaliases.
struct Form {
    bus: &'static [u8],
    /// The bus, the names of the fields, and [`DIGIT`]s.
    template: Vec<u8>,
    /// How many bytes of the template a device may have: old kernels leave out the last fields of some buses.
    lengths: Vec<usize>,
}

static FORMS: LazyLock<[Form; LAYOUTS.len()]> = LazyLock::new(|| LAYOUTS.each_ref().map(Form::new));

/// The number of forms.
pub(super) const COUNT: usize = LAYOUTS.len();

impl Form {
    fn new(layout: &Layout) -> Self {
        let mut form = Self {
            bus: layout.bus.as_bytes(),
            template: layout.bus.as_bytes().to_vec(),
            lengths: Vec::new(),
        };
        for (number, (name, digits)) in (1..).zip(layout.fields) {
            form.template.extend(name.as_bytes());
            let digit = match (layout.bus, *name) {
                ("pci:", "i") => DIGIT_OF_EITHER_CASE,
                _ => DIGIT,
            };
            form.template.resize(form.template.len() + digits, digit);
            if number >= layout.required {
                form.lengths.push(form.template.len());
            }
        }
        form
    }

    /// Whether `device` is written in this form.
    fn has(&self, device: &[u8]) -> bool {
        self.lengths.contains(&device.len())
            && device
                .iter()
                .zip(&self.template)
                .all(|(&byte, &place)| fits(byte, place))
    }

    /// The one place where the run can stand in a device of this form.
    fn only_place(&self, run: &[Option<u8>]) -> Option<usize> {
        let fits_here = |there: &[u8]| {
            let mut pairs = run.iter().zip(there);
            pairs.all(|(byte, &place)| byte.is_none_or(|byte| fits(byte, place)))
        };
        let places = self.template.windows(run.len()).enumerate();
        let mut places = places.filter(|(_, there)| fits_here(there)).map(|(at, _)| at);
        let only = places.next()?;
        places.next().is_none().then_some(only)
    }
}

fn fits(byte: u8, place: u8) -> bool {
    match place {
        DIGIT => is_digit(byte),
        DIGIT_OF_EITHER_CASE => byte.is_ascii_hexdigit(),
        letter => byte == letter,
    }
}

fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'A'..=b'F')
}

/// The number of the form whose bus `text` begins with.
fn number_of(text: &[u8]) -> Option<usize> {
    FORMS.iter().position(|form| text.starts_with(form.bus))
}

/// A pattern that names digits.
pub(super) struct Named {
    /// The number of its form.
    pub(super) form: usize,
    pub(super) shape: Shape,
    pub(super) key: Key,
}

impl Named {
    /// `None` when the pattern spells out no bus with a form, or no digit whose place is certain.
    pub(super) fn of(pattern: &Pattern) -> Option<Self> {
        let form = number_of(pattern.literal_prefix())?;
        let (mut shape, mut text): (Shape, Text) = (0, [0; _]);
        for run in pattern.runs().iter() {
            if !run.iter().flatten().any(|&byte| is_digit(byte)) {
                continue;
            }
            let Some(at) = FORMS[form].only_place(run) else {
                continue;
            };
            for (at, byte) in (at..).zip(run) {
                if let (Some(byte), DIGIT | DIGIT_OF_EITHER_CASE) = (byte, FORMS[form].template[at]) {
                    shape |= 1 << at;
                    text[at] = *byte;
                }
            }
        }
        (shape != 0).then(|| Self {
            form,
            shape,
            key: key(form, shape, &text),
        })
    }
}

/// The keys to look up for a device of a bus with a form.
pub(super) enum Asked {
    /// A key for each shape.
    Keys(Vec<Key>),
    /// All keys of the form: the device is written in another way than any kernel does.
    All(Key, Key),
}

/// `shapes` are those that patterns of each form have. `None` for other buses.
pub(super) fn ask(device: &[u8], shapes: &[Vec<Shape>; COUNT]) -> Option<Asked> {
    let form = number_of(device)?;
    if shapes[form].is_empty() {
        return None;
    }
    if !FORMS[form].has(device) {
        let (first, last) = Key::all_of(kind(form));
        return Some(Asked::All(first, last));
    }
    let mut text: Text = [0; _];
    text[..device.len()].copy_from_slice(device);
    Some(Asked::Keys(
        shapes[form].iter().map(|&shape| key(form, shape, &text)).collect(),
    ))
}

/// Keys of kind 0 are those of anchors.
fn kind(form: usize) -> u8 {
    form as u8 + 1
}

/// Bytes of `text` outside of `shape` do not count.
fn key(form: usize, shape: Shape, text: &Text) -> Key {
    let mut hash = mix(shape);
    for (number, word) in text.as_chunks().0.iter().enumerate() {
        let here = (shape >> (8 * number)) as u8;
        if here != 0 {
            let word = u64::from_le_bytes(*word) & whole_bytes(here);
            hash = (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }
    Key::new(kind(form), mix(hash))
}

/// Expands each bit to a byte of ones.
fn whole_bytes(bits: u8) -> u64 {
    let spread = (u64::from(bits) * 0x0101_0101_0101_0101) & 0x8040_2010_0804_0201;
    // At most one bit of each byte is set: adding 0x7f sets the top bit of the bytes that are not zero, and carries into no other byte.
    let lowest = (spread + 0x7f7f_7f7f_7f7f_7f7f) >> 7 & 0x0101_0101_0101_0101;
    lowest * 0xff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_whose_place_is_certain_count() {
        let check = |pattern: &str, expected: Option<&str>| {
            let named = Named::of(&pattern.parse().unwrap()).map(|named| {
                let template = FORMS[named.form].template.iter().enumerate();
                let shown = template.map(|(at, &byte)| match (byte, named.shape >> at & 1) {
                    (DIGIT | DIGIT_OF_EITHER_CASE, 0) => '.',
                    (DIGIT | DIGIT_OF_EITHER_CASE, _) => '#',
                    (letter, _) => char::from(letter),
                });
                shown.collect::<String>()
            });
            assert_eq!(named.as_deref(), expected, "{pattern}");
        };
        check(
            "pci:v000010ECd00008168sv*sd*bc*sc*i*",
            Some("pci:v########d########sv........sd........bc..sc..i.."),
        );
        check(
            "pci:v000010ECd*sv*sd*bc02sc80i*",
            Some("pci:v########d........sv........sd........bc##sc##i.."),
        );
        check(
            "usb:v05ACp12[9a]Cd00[0-4]*dc*dsc*dp*ic08isc*ip*in*",
            Some("usb:v####p##.#d##..dc..dsc..dp..ic##isc..ip..in.."),
        );
        check(
            "hid:b0003g*v0000046Dp0000C52B",
            Some("hid:b####g....v########p########"),
        );
        check("hid:b*g*v0000046Dp*", Some("hid:b....g....v########p........"));
        check("sdio:c*v02D0d4324*", Some("sdio:c..v####d####"));
        check("virtio:d00000001v*", Some("virtio:d########v........"));
        // The device's or the subsystem's.
        check("pci:v*d00008168*", None);
        check(
            "pci:v*d00008168*bc02sc*",
            Some("pci:v........d........sv........sd........bc##sc..i.."),
        );
        check(
            "pci:v*d*sv*sd*bc01sc01i8a*",
            Some("pci:v........d........sv........sd........bc##sc##i##"),
        );
        // Longer than a field, in lower case, on another bus, of any bus.
        check("pci:v000010EC9d00008168*", None);
        check("usb:v05acp*", None);
        check("of:N*T*Cvirtio,mmio", None);
        check("pci*:v000010ECd00008168*", None);
        check("pci:*", None);
    }

    #[test]
    fn a_device_in_its_form_asks_for_few_keys() {
        let shapes = LAYOUTS.each_ref().map(|_| vec![1 << 9]);
        let check = |device: &str, in_form: Option<bool>| {
            let asked = ask(device.as_bytes(), &shapes).map(|asked| matches!(asked, Asked::Keys(_)));
            assert_eq!(asked, in_form, "{device}");
        };
        check("pci:v00008086d000027DFsv000017AAsd0000200Cbc01sc01i8a", Some(true));
        check("pci:v00008086d000027dfsv000017AAsd0000200Cbc01sc01i8a", Some(false));
        check("usb:v046DpC03Ed2000dc00dsc00dp00ic03isc01ip02", Some(true));
        check("usb:v046DpC03Ed2000dc00dsc00dp00ic03isc01ip02in00", Some(true));
        check("usb:v046DpC03Ed2000dc00dsc00dp00ic03isc01ip02in00new00", Some(false));
        check("usb:", Some(false));
        check("acpi:PNP0C0A:", None);
    }

    #[test]
    fn bits_become_bytes() {
        for bits in 0..=255 {
            let expected: u64 = (0..8).filter(|n| bits >> n & 1 == 1).map(|n| 0xff << (8 * n)).sum();
            assert_eq!(whole_bytes(bits), expected, "{bits:08b}");
        }
    }
}
