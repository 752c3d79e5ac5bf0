//! How the patterns that match a device are found among millions, in memory and in a database alike.
//!
//! A literal prefix is not selective enough: all of `acpi*:PNP0C0A:*`, `of:N*T*Cfsl,imx6q-uart` and
//! `hid:b0003g*v0000046Dp0000C52B` share theirs with every other driver of the bus. So each pattern is
//! filed under *one* key, which can be computed from the modalias of every matching device:
//!
//! - On the buses whose modaliases have fields (`pci`, `usb`, `hid`, `sdio`, `virtio`), under all the digits that it names,
//!   at the places where they must stand (`form`).
//! - Else under one stretch of 3, 4, 8, 16 or 32 literal bytes, its **anchor** (`anchor`). [`KeyBuilder`] picks for each
//!   pattern an anchor that few others use, trying the longest ones and the last ones first.
//!
//! Any choice of keys gives the right answer; the choice only decides how many patterns are tried that do not match. Keys are
//! stable hashes, so they can be a column of a database. [`KeyFilter`] knows the set of all keys as a Bloom filter of two
//! bytes a pattern, which digits patterns name on each bus, and where anchors lie: a device asks only for the few
//! keys that are there.

mod anchor;
mod form;
mod words;

pub use anchor::SHORTEST_ANCHOR_BYTES;

use crate::modalias::Modalias;
use crate::pattern::Pattern;

/// Under what a pattern is filed. An `i64`, because that is what SQLite holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub i64);

/// How many bits of a key are a hash; those above are its kind.
const HASH_BITS: u32 = 56;

impl Key {
    /// The key of patterns that have neither digits nor an anchor; every device asks for it.
    pub const ALWAYS: Self = Self(0);

    fn new(kind: u8, hash: u64) -> Self {
        let bits = u64::from(kind) << HASH_BITS | hash >> (64 - HASH_BITS);
        Self(i64::from_ne_bytes(bits.to_ne_bytes()))
    }

    /// The first and the last key of a kind.
    fn all_of(kind: u8) -> (Self, Self) {
        (Self::new(kind, 0), Self::new(kind, u64::MAX))
    }

    fn hash(self) -> u64 {
        u64::from_ne_bytes(self.0.to_ne_bytes())
    }
}

/// The finaliser of SplitMix64: every bit of the input changes half of the output.
fn mix(mut x: u64) -> u64 {
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// Keys that a device asks for: one, or all from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyRange {
    /// The first key.
    pub first: Key,
    /// The last key, the first one again for most.
    pub last: Key,
}

impl KeyRange {
    fn one(key: Key) -> Self {
        Self { first: key, last: key }
    }

    /// Whether `key` is in it.
    pub fn contains(&self, key: Key) -> bool {
        (self.first..=self.last).contains(&key)
    }
}

/// Chooses the key that each pattern is filed under.
pub struct KeyBuilder {
    anchors: anchor::Builder,
    shapes: [Vec<form::Shape>; form::COUNT],
    keys: Keys,
    always: bool,
}

impl KeyBuilder {
    /// For about `patterns` patterns; more are fine, but cost speed.
    pub fn new(patterns: usize) -> Self {
        Self {
            anchors: anchor::Builder::new(patterns),
            shapes: Default::default(),
            keys: Keys::new(patterns),
            always: false,
        }
    }

    /// The key to file `pattern` under.
    pub fn add(&mut self, pattern: &Pattern) -> Key {
        let key = named(&mut self.shapes, pattern).or_else(|| self.anchors.add(pattern));
        let Some(key) = key else {
            self.always = true;
            return Key::ALWAYS;
        };
        self.keys.insert(key);
        key
    }

    /// Ends the filing: the filter of all keys that were given out.
    pub fn finish(self) -> KeyFilter {
        KeyFilter {
            anchors: self.anchors.finish(),
            shapes: self.shapes,
            keys: self.keys,
            always: self.always,
        }
    }
}

/// The key of the digits in a pattern, on a bus with fields.
fn named(shapes: &mut [Vec<form::Shape>; form::COUNT], pattern: &Pattern) -> Option<Key> {
    let named = form::Named::of(pattern)?;
    let shapes = &mut shapes[named.form];
    if !shapes.contains(&named.shape) {
        if shapes.len() == form::SHAPES_MAX {
            return None;
        }
        shapes.push(named.shape);
    }
    Some(named.key)
}

/// A summary of all keys in use, from which the keys to look up for a device are computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFilter {
    anchors: anchor::Anchors,
    /// At which places patterns name digits, by the number of the form.
    shapes: [Vec<form::Shape>; form::COUNT],
    keys: Keys,
    /// Whether there are patterns under [`Key::ALWAYS`].
    always: bool,
}

impl KeyFilter {
    /// The keys under which patterns of `device` may be filed, each once: usually a handful.
    pub fn keys(&self, device: &Modalias) -> Vec<KeyRange> {
        let device = device.as_bytes();
        let mut asked = Vec::new();
        if self.always {
            asked.push(KeyRange::one(Key::ALWAYS));
        }
        let mut ask = |key| {
            if self.keys.has(key) {
                asked.push(KeyRange::one(key));
            }
        };
        self.anchors.ask(device, &mut ask);
        match form::ask(device, &self.shapes) {
            Some(form::Asked::Keys(keys)) => keys.into_iter().for_each(ask),
            Some(form::Asked::All(first, last)) => asked.push(KeyRange { first, last }),
            None => {}
        }
        asked.sort_unstable();
        asked.dedup();
        asked
    }

    /// The key to file one more pattern under, beside those that a [`KeyBuilder`] filed. It knew how many patterns share a
    /// key; that is forgotten by now. So this is for a few: after many, the keys are better given out anew.
    pub fn add(&mut self, pattern: &Pattern) -> Key {
        let keys = &self.keys;
        let key = named(&mut self.shapes, pattern).or_else(|| self.anchors.add(pattern, |key| keys.has(key)));
        let Some(key) = key else {
            self.always = true;
            return Key::ALWAYS;
        };
        self.keys.insert(key);
        key
    }

    /// The filter as bytes, to be kept beside the patterns.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut words = vec![u64::from(self.always)];
        for shapes in &self.shapes {
            words::write_list(shapes, &mut words);
        }
        self.anchors.write(&mut words);
        words::write_list(&self.keys.0, &mut words);
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Reads what [`KeyFilter::to_bytes`] wrote; `None` when it is something else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, []) = bytes.as_chunks() else { return None };
        let words: Vec<u64> = words.iter().map(|&word| u64::from_le_bytes(word)).collect();
        let mut words = words::Words(&words);
        let always = words.length(1)? == 1;
        let mut shapes: [Vec<form::Shape>; form::COUNT] = Default::default();
        for shapes in &mut shapes {
            *shapes = words.list(form::SHAPES_MAX)?;
        }
        let anchors = anchor::Anchors::read(&mut words)?;
        let keys = Keys(words.list(KEYS_MAX_WORDS)?);
        (keys.0.len().is_power_of_two() && words.0.is_empty()).then_some(Self {
            anchors,
            shapes,
            keys,
            always,
        })
    }
}

/// A Bloom filter with two bits a key. The number of words is a power of two.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Keys(Vec<u64>);

const KEYS_MAX_WORDS: usize = 1 << 22;

impl Keys {
    fn new(patterns: usize) -> Self {
        let words = patterns.div_ceil(4).clamp(16, KEYS_MAX_WORDS).next_power_of_two();
        Self(vec![0; words])
    }

    fn insert(&mut self, key: Key) {
        let (word, mask) = self.bits_of(key);
        self.0[word] |= mask;
    }

    fn has(&self, key: Key) -> bool {
        let (word, mask) = self.bits_of(key);
        self.0[word] & mask == mask
    }

    /// The word of a key, and its two bits in it: a look-up is one memory access.
    fn bits_of(&self, key: Key) -> (usize, u64) {
        let hash = key.hash();
        let word = (hash >> 12) as usize & (self.0.len() - 1);
        (word, 1 << (hash & 63) | 1 << (hash >> 6 & 63))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filed(patterns: &[&str]) -> (Vec<Key>, KeyFilter) {
        let mut builder = KeyBuilder::new(patterns.len());
        let keys = patterns.iter().map(|p| builder.add(&p.parse().unwrap())).collect();
        (keys, builder.finish())
    }

    fn asks(filter: &KeyFilter, device: &Modalias, key: Key) -> bool {
        filter.keys(device).iter().any(|range| range.contains(key))
    }

    fn check(pattern: &str, device: &str) {
        let (keys, filter) = filed(&[pattern]);
        let device: Modalias = device.parse().unwrap();
        assert!(
            pattern.parse::<Pattern>().unwrap().matches(&device),
            "{pattern} {device}"
        );
        assert!(asks(&filter, &device, keys[0]), "{pattern} {device}");
        let again = KeyFilter::from_bytes(&filter.to_bytes()).unwrap();
        assert_eq!(again, filter);
    }

    #[test]
    fn a_device_asks_for_the_keys_of_its_patterns() {
        check(
            "pci:v000010ECd00008168sv*sd*bc*sc*i*",
            "pci:v000010ECd00008168sv00001043sd00008677bc02sc00i00",
        );
        check(
            "pci*:v000010ECd00008168sv*",
            "pci:v000010ECd00008168sv00001043sd00008677bc02sc00i00",
        );
        check("acpi*:PNP0C0A:*", "acpi:PNP0C0A:");
        check("of:N*T*Cvirtio,mmio", "of:NxT(null)Cvirtio,mmio");
        check("hid:b0003g*v0000046Dp0000C52B", "hid:b0003g0001v0000046Dp0000C52B");
        check(
            "input:b*v*p*e*-e*1,*k*110,*",
            "input:b0003v046DpC03Ee0110-e0,1,2,4,k110,111",
        );
        check("*:[a]PNP[0-9]", "acpi:aPNP7");
        check(r"dmi:\[x*", "dmi:[x");
        check("nd:t1*", "nd:t1");
        check("a*", "abc");
        check(
            &format!("dmi:{}*svnX*", "x".repeat(80)),
            &format!("dmi:{}-svnX", "x".repeat(80)),
        );
        check(r"dmi:\*abcdefgh*", "dmi:*abcdefghi");
        check("*", "x");
    }

    proptest::proptest! {
        /// Whatever else is filed, a device asks for the key of each pattern that matches it.
        #[test]
        fn no_pattern_is_missed(
            patterns in proptest::collection::vec("(ab:|a\\*:|\\*|\\[ab\\]:)[ab?\\*]{0,3}[abc]{1,9}[ab\\*\\[\\]]{0,4}", 1..30),
            device in "ab:[abc]{1,14}",
        ) {
            let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
            let (keys, filter) = filed(&patterns);
            let device: Modalias = device.parse().unwrap();
            for (pattern, key) in patterns.iter().zip(keys) {
                if pattern.parse::<Pattern>().unwrap().matches(&device) {
                    proptest::prop_assert!(asks(&filter, &device, key), "{} on {}", pattern, device);
                }
            }
        }
    }

    proptest::proptest! {
        /// A filter that takes in patterns later misses none either, also after it was written and read.
        #[test]
        fn what_is_filed_later_is_found(
            patterns in proptest::collection::vec("(ab:|a\\*:|\\*|usb:v)[ab?\\*]{0,3}[abc0-9A]{1,9}[ab\\*p]{0,4}", 2..30),
            first in 0_usize..30,
            device in "(ab:[abc]{1,14}|usb:v00[0-9]{2}p00[0-9]{2}d00)",
        ) {
            let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
            let (first, later) = patterns.split_at(first.min(patterns.len()));
            let (mut keys, mut filter) = filed(first);
            for pattern in later {
                keys.push(filter.add(&pattern.parse().unwrap()));
                filter = KeyFilter::from_bytes(&filter.to_bytes()).unwrap();
            }
            let device: Modalias = device.parse().unwrap();
            for (pattern, key) in patterns.iter().zip(keys) {
                if pattern.parse::<Pattern>().unwrap().matches(&device) {
                    proptest::prop_assert!(asks(&filter, &device, key), "{} on {}", pattern, device);
                }
            }
        }
    }

    #[test]
    fn a_crowded_stretch_is_left_for_a_rare_one() {
        let patterns: Vec<String> = (0..1000)
            .map(|n| format!("dmi*:svn*MICRO-STARINTERNATIONALCO.,LTD*:pn*MS-{n:04}*:"))
            .collect();
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        let (keys, filter) = filed(&patterns);
        let device = "dmi:bvnX:svnMICRO-STARINTERNATIONALCO.,LTD:pnMS-0777:pvr:"
            .parse()
            .unwrap();
        let tried = keys.iter().filter(|&&key| asks(&filter, &device, key)).count();
        assert!(asks(&filter, &device, keys[777]));
        assert!(tried < 150, "{tried} of 1000 patterns would be tried");
    }

    #[test]
    fn foreign_bytes_are_no_filter() {
        let (_, filter) = filed(&["pci:v000010EC*", "of:N*T*Cacme,uart"]);
        let bytes = filter.to_bytes();
        assert_eq!(KeyFilter::from_bytes(&bytes), Some(filter));
        for end in 0..bytes.len() {
            assert_eq!(KeyFilter::from_bytes(&bytes[..end]), None, "{end} bytes");
        }
        for at in (0..bytes.len()).step_by(8) {
            let mut bytes = bytes.clone();
            bytes[at..at + 8].fill(0xff);
            // Any value of a data word is valid, not any length. A filter that is read must be usable.
            if let Some(filter) = KeyFilter::from_bytes(&bytes) {
                filter.keys(&"pci:v000010ECd00008168".parse().unwrap());
                filter.keys(&"of:NuartT(null)Cacme,uart".parse().unwrap());
            }
        }
        assert_eq!(KeyFilter::from_bytes(&[7; 64]), None);
        assert_eq!(KeyFilter::from_bytes(&[]), None);
    }
}
