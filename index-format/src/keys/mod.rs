//! How a device finds its patterns among millions, in memory and in a database alike.
//!
//! A literal prefix says too little: all of `acpi*:PNP0C0A:*`, `of:N*T*Cfsl,imx6q-uart` and `hid:b0003g*v0000046Dp0000C52B`
//! share theirs with every other driver of the bus. So each pattern is filed under *one* stretch of 3, 4, 8, 16 or 32 bytes
//! that a matching device must hold literally, its **anchor**. [`KeyBuilder`] picks for each pattern an anchor that few
//! others use, trying the longest ones and the last ones first. A device asks for the stretches of itself. Any choice of
//! anchors gives the right answer; the choice only decides how many patterns are looked at in vain.
//!
//! A [`Key`] is a hash of the anchor, of its length and of the first three bytes of the bus, so it is stable and can be a
//! column of a database. [`KeyFilter`] holds the set of all keys as a Bloom filter of two bytes a pattern, so that a
//! device asks only for the few keys that are there; and it knows at which places of a bus's modaliases anchors lie, so
//! that of a long string only those are looked at.

use std::collections::BTreeMap;

use crate::modalias::Modalias;
use crate::pattern::Pattern;

/// A pattern without so many literal bytes in a row has no anchor, and is tried on every device.
pub const SHORTEST_ANCHOR_BYTES: usize = 3;

/// The lengths of anchors in bytes, the most telling first.
const LENGTHS: [usize; 5] = [32, 16, 8, 4, SHORTEST_ANCHOR_BYTES];

/// Under what a pattern is filed. An `i64`, because that is what SQLite holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub i64);

impl Key {
    /// Of patterns without an anchor.
    pub const ALWAYS: Self = Self(0);

    fn of(bus: Bus, anchor: &[u8]) -> Self {
        let seed = u64::from_le_bytes([bus.0[0], bus.0[1], bus.0[2], anchor.len() as u8, 0, 0, 0, 0]);
        let words = anchor.chunks(8).map(|chunk| match chunk.try_into() {
            Ok(word) => u64::from_le_bytes(word),
            Err(_) => chunk.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
        });
        let hash = words.fold(mix(seed), |hash, word| {
            (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        Self(i64::from_ne_bytes(mix(hash).to_ne_bytes()))
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

/// The first three bytes of a modalias, which tell the bus well enough. Zeros: unknown, the pattern may be of any bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Bus([u8; 3]);

impl Bus {
    const ANY: Self = Self([0; 3]);

    fn of(literal_start: &[u8]) -> Self {
        literal_start.first_chunk().map_or(Self::ANY, |&bytes| Self(bytes))
    }
}

/// Where in a modalias an anchor of some length lies: bit n for the n-th byte, [`ANYWHERE`] for any place.
type Places = u64;

/// Behind a wildcard, or too far behind for a bit of its own.
const ANYWHERE: Places = 1 << 63;

/// Files patterns under keys.
pub struct KeyBuilder {
    /// How many patterns use an anchor, by the low bits of its key.
    crowds: Vec<u8>,
    filter: KeyFilter,
}

/// An anchor that a pattern may be filed under.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    key: Key,
    /// Which of [`LENGTHS`].
    length: usize,
    places: Places,
}

impl KeyBuilder {
    /// For about `patterns` patterns; more are fine, but cost speed.
    pub fn new(patterns: usize) -> Self {
        let crowds = patterns.clamp(1 << 8, 1 << 22).next_power_of_two() * 4;
        Self {
            crowds: vec![0; crowds],
            filter: KeyFilter::new(patterns),
        }
    }

    /// The key to file `pattern` under.
    pub fn add(&mut self, pattern: &Pattern) -> Key {
        let bus = Bus::of(pattern.literal_prefix());
        let Some(anchor) = self.least_used(bus, pattern) else {
            self.filter.always = true;
            return Key::ALWAYS;
        };
        let crowd = self.crowd(anchor.key);
        *crowd = crowd.saturating_add(1);
        self.filter.insert(bus, anchor);
        anchor.key
    }

    /// The keys are all given out.
    pub fn finish(self) -> KeyFilter {
        self.filter
    }

    fn least_used(&mut self, bus: Bus, pattern: &Pattern) -> Option<Anchor> {
        let literals = pattern.literals();
        let begins_literally = !pattern.literal_prefix().is_empty();
        let mut best: Option<(u8, Anchor)> = None;
        for (length, &bytes) in LENGTHS.iter().enumerate() {
            // From the end: identifiers stand behind what many drivers share.
            for (stretch, literal) in literals.iter().enumerate().rev() {
                for (offset, anchor) in literal.windows(bytes).enumerate().rev() {
                    let fixed = stretch == 0 && begins_literally && offset < 63;
                    let anchor = Anchor {
                        key: Key::of(bus, anchor),
                        length,
                        places: if fixed { 1 << offset } else { ANYWHERE },
                    };
                    let crowd = *self.crowd(anchor.key);
                    if crowd == 0 {
                        return Some(anchor);
                    }
                    if best.is_none_or(|(least, _)| crowd < least) {
                        best = Some((crowd, anchor));
                    }
                }
            }
        }
        best.map(|(_, anchor)| anchor)
    }

    fn crowd(&mut self, key: Key) -> &mut u8 {
        let slot = key.hash() as usize & (self.crowds.len() - 1);
        &mut self.crowds[slot]
    }
}

/// The set of keys in use: what a device needs to know which ones to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFilter {
    /// A Bloom filter with two bits a key; a power of two of words.
    bits: Vec<u64>,
    /// Where the anchors of each of [`LENGTHS`] lie on each bus.
    places: BTreeMap<[u8; 3], [Places; LENGTHS.len()]>,
    /// Whether there are patterns under [`Key::ALWAYS`].
    always: bool,
}

impl KeyFilter {
    fn new(patterns: usize) -> Self {
        let words = patterns.div_ceil(4).clamp(16, 1 << 22).next_power_of_two();
        Self {
            bits: vec![0; words],
            places: BTreeMap::new(),
            always: false,
        }
    }

    fn insert(&mut self, bus: Bus, anchor: Anchor) {
        self.places.entry(bus.0).or_default()[anchor.length] |= anchor.places;
        let (word, mask) = self.bits_of(anchor.key);
        self.bits[word] |= mask;
    }

    /// The word of a key, and its two bits in it: one memory access a question.
    fn bits_of(&self, key: Key) -> (usize, u64) {
        let hash = key.hash();
        let word = (hash >> 12) as usize & (self.bits.len() - 1);
        (word, 1 << (hash & 63) | 1 << (hash >> 6 & 63))
    }

    fn has(&self, key: Key) -> bool {
        let (word, mask) = self.bits_of(key);
        self.bits[word] & mask == mask
    }

    /// The keys under which patterns of `device` may be filed, each once: usually a handful.
    pub fn keys(&self, device: &Modalias) -> Vec<Key> {
        let mut keys = Vec::new();
        if self.always {
            keys.push(Key::ALWAYS);
        }
        let bytes = device.as_bytes();
        for bus in [Bus::of(bytes), Bus::ANY] {
            let Some(places) = self.places.get(&bus.0) else {
                continue;
            };
            for (&length, &places) in LENGTHS.iter().zip(places) {
                let mut ask = |anchor: &[u8]| {
                    let key = Key::of(bus, anchor);
                    if self.has(key) {
                        keys.push(key);
                    }
                };
                if places & ANYWHERE != 0 {
                    bytes.windows(length).for_each(ask);
                } else {
                    (0..63)
                        .filter(|n| places >> n & 1 == 1)
                        .filter_map(|n| bytes.get(n..n + length))
                        .for_each(&mut ask);
                }
            }
        }
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// The filter as bytes, to be kept beside the patterns.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.always)];
        bytes.extend((self.places.len() as u32).to_le_bytes());
        for (bus, places) in &self.places {
            bytes.extend(bus);
            bytes.extend(places.iter().flat_map(|places| places.to_le_bytes()));
        }
        bytes.extend(self.bits.iter().flat_map(|word| word.to_le_bytes()));
        bytes
    }

    /// Reads what [`KeyFilter::to_bytes`] wrote; `None` when it is something else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        const BUS_BYTES: usize = 3 + 8 * LENGTHS.len();
        let (&always, rest) = bytes.split_first()?;
        let (&count, rest) = rest.split_first_chunk()?;
        let count = usize::try_from(u32::from_le_bytes(count)).ok()?;
        let (buses, words) = rest.split_at_checked(count.checked_mul(BUS_BYTES)?)?;
        let place_of_bus = |bytes: &[u8]| {
            let (&bus, places) = bytes.split_first_chunk()?;
            Some((bus, to_words(places)?.try_into().ok()?))
        };
        let places = buses.chunks_exact(BUS_BYTES).map(place_of_bus).collect::<Option<_>>()?;
        let bits = to_words(words)?;
        (always <= 1 && bits.len().is_power_of_two()).then_some(Self {
            bits,
            places,
            always: always == 1,
        })
    }
}

fn to_words(bytes: &[u8]) -> Option<Vec<u64>> {
    match bytes.as_chunks() {
        (words, []) => Some(words.iter().map(|&word| u64::from_le_bytes(word)).collect()),
        _ => None,
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

    fn check(pattern: &str, device: &str) {
        let (keys, filter) = filed(&[pattern]);
        let device: Modalias = device.parse().unwrap();
        assert!(
            pattern.parse::<Pattern>().unwrap().matches(&device),
            "{pattern} {device}"
        );
        assert!(filter.keys(&device).contains(&keys[0]), "{pattern} {device}");
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
            let asked = filter.keys(&device);
            for (pattern, key) in patterns.iter().zip(keys) {
                if pattern.parse::<Pattern>().unwrap().matches(&device) {
                    proptest::prop_assert!(asked.contains(&key), "{} on {}", pattern, device);
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
        let asked = filter.keys(&device);
        let tried = keys.iter().filter(|key| asked.contains(key)).count();
        assert!(asked.contains(&keys[777]));
        assert!(tried < 150, "{tried} of 1000 patterns would be tried");
    }

    #[test]
    fn foreign_bytes_are_no_filter() {
        let (_, filter) = filed(&["pci:v000010EC*"]);
        let bytes = filter.to_bytes();
        for end in 0..bytes.len() {
            assert!(KeyFilter::from_bytes(&bytes[..end]).is_none_or(|f| f.bits.len().is_power_of_two()));
        }
        assert_eq!(KeyFilter::from_bytes(&[7; 64]), None);
        assert_eq!(KeyFilter::from_bytes(&[]), None);
    }
}
