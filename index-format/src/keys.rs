//! How a device finds its patterns among millions, in memory and in a database alike.
//!
//! A literal prefix says too little: all of `acpi*:PNP0C0A:*`, `of:N*T*Cfsl,imx6q-uart` and `hid:b0003g*v0000046Dp0000C52B`
//! share theirs with every other driver of the bus. So each pattern is filed under *one* stretch of 4, 8, 16 or 32 bytes
//! that a matching device must hold literally, its **anchor**. [`KeyBuilder`] picks for each pattern an anchor that few
//! others use, trying the longest ones and the last ones first. A device asks for all stretches of itself. Any choice of anchors gives the right
//! answer; the choice only decides how many patterns are looked at in vain.
//!
//! A [`Key`] is a hash of the anchor, of its length and of the first three bytes of the bus, so it is stable and can be a
//! column of a database. [`KeyFilter`] holds the set of all keys as a Bloom filter of two bytes a pattern, so that a
//! device asks only for the few keys that are there.

use std::collections::BTreeMap;

use crate::modalias::Modalias;
use crate::pattern::Pattern;

/// A pattern without so many literal bytes in a row has no anchor, and is tried on every device.
pub const SHORTEST_ANCHOR_BYTES: usize = 4;

/// The lengths of anchors in bytes, the most telling first.
const LENGTHS: [usize; 4] = [32, 16, 8, SHORTEST_ANCHOR_BYTES];

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
        let hash = words.fold(mix(seed), |hash, word| mix(hash ^ word));
        Self(i64::from_ne_bytes(hash.to_ne_bytes()))
    }

    fn hash(self) -> u64 {
        u64::from_ne_bytes(self.0.to_ne_bytes())
    }
}

/// The finaliser of SplitMix64: every bit of the input changes half of the output.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
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

/// Which of [`LENGTHS`] occur on a bus, one bit each.
type Lengths = u8;

/// Files patterns under keys.
pub struct KeyBuilder {
    /// How many patterns use an anchor, by the low bits of its key.
    crowds: Vec<u8>,
    filter: KeyFilter,
}

impl KeyBuilder {
    /// For about `patterns` patterns; more are fine, but cost speed.
    pub fn new(patterns: usize) -> Self {
        Self {
            crowds: vec![0; (patterns.saturating_mul(4)).next_power_of_two().clamp(1 << 10, 1 << 24)],
            filter: KeyFilter::new(patterns),
        }
    }

    /// The key to file `pattern` under.
    pub fn add(&mut self, pattern: &Pattern) -> Key {
        let bus = Bus::of(pattern.literal_prefix());
        let literals = pattern.literals();
        let Some((key, length)) = self.least_used(bus, &literals) else {
            self.filter.always = true;
            return Key::ALWAYS;
        };
        let crowd = self.crowd(key);
        *crowd = crowd.saturating_add(1);
        self.filter.insert(bus, length, key);
        key
    }

    /// The keys are all given out.
    pub fn finish(self) -> KeyFilter {
        self.filter
    }

    /// The key of an anchor with few users, and the number of its length in [`LENGTHS`].
    fn least_used(&mut self, bus: Bus, literals: &[Vec<u8>]) -> Option<(Key, usize)> {
        let mut best: Option<(u8, Key, usize)> = None;
        for (number, &length) in LENGTHS.iter().enumerate() {
            // From the end: identifiers stand behind what many drivers share.
            for anchor in literals.iter().rev().flat_map(|literal| literal.windows(length).rev()) {
                let key = Key::of(bus, anchor);
                let crowd = *self.crowd(key);
                if best.is_none_or(|(least, ..)| crowd < least) {
                    best = Some((crowd, key, number));
                    if crowd == 0 {
                        return Some((key, number));
                    }
                }
            }
        }
        best.map(|(_, key, number)| (key, number))
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
    /// The lengths of the anchors on each bus.
    lengths: BTreeMap<[u8; 3], Lengths>,
    /// Whether there are patterns under [`Key::ALWAYS`].
    always: bool,
}

impl KeyFilter {
    fn new(patterns: usize) -> Self {
        let words = patterns.div_ceil(4).next_power_of_two().clamp(16, 1 << 22);
        Self {
            bits: vec![0; words],
            lengths: BTreeMap::new(),
            always: false,
        }
    }

    fn insert(&mut self, bus: Bus, length: usize, key: Key) {
        *self.lengths.entry(bus.0).or_default() |= 1 << length;
        let (word, mask) = self.place(key);
        self.bits[word] |= mask;
    }

    /// The word of a key, and its two bits in it: one memory access a question.
    fn place(&self, key: Key) -> (usize, u64) {
        let hash = key.hash();
        let word = (hash >> 12) as usize & (self.bits.len() - 1);
        (word, 1 << (hash & 63) | 1 << (hash >> 6 & 63))
    }

    fn has(&self, key: Key) -> bool {
        let (word, mask) = self.place(key);
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
            let lengths = self.lengths.get(&bus.0).copied().unwrap_or(0);
            for (number, &length) in LENGTHS.iter().enumerate() {
                if lengths & 1 << number != 0 {
                    let asked = bytes.windows(length).map(|anchor| Key::of(bus, anchor));
                    keys.extend(asked.filter(|&key| self.has(key)));
                }
            }
        }
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// The filter as bytes, to be kept beside the patterns.
    pub fn to_bytes(&self) -> Vec<u8> {
        let buses = self
            .lengths
            .iter()
            .flat_map(|(bus, &lengths)| [bus[0], bus[1], bus[2], lengths]);
        let words = self.bits.iter().flat_map(|word| word.to_le_bytes());
        let head = [u8::from(self.always)]
            .into_iter()
            .chain((self.lengths.len() as u32).to_le_bytes());
        head.chain(buses).chain(words).collect()
    }

    /// Reads what [`KeyFilter::to_bytes`] wrote; `None` when it is something else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&always, rest) = bytes.split_first()?;
        let (&count, rest) = rest.split_first_chunk()?;
        let count = usize::try_from(u32::from_le_bytes(count)).ok()?;
        let (buses, words) = rest.split_at_checked(count.checked_mul(4)?)?;
        let lengths = buses.chunks_exact(4).map(|b| ([b[0], b[1], b[2]], b[3])).collect();
        let (words, []) = words.as_chunks() else { return None };
        let bits: Vec<u64> = words.iter().map(|&word| u64::from_le_bytes(word)).collect();
        (always <= 1 && bits.len().is_power_of_two()).then_some(Self {
            bits,
            lengths,
            always: always == 1,
        })
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
        check("*", "x");
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
