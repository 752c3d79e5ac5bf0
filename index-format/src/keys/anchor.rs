//! Anchors: one stretch of literal bytes of a pattern, which the modalias of every matching device contains.

use std::collections::BTreeMap;

use super::{Key, mix, words};
use crate::pattern::Pattern;

/// A pattern without so many literal bytes in a row has no anchor, and is tried on every device.
pub const SHORTEST_ANCHOR_BYTES: usize = 3;

/// The lengths of anchors in bytes, the longest first: fewer devices contain a longer one.
const LENGTHS: [usize; 5] = [32, 16, 8, 4, SHORTEST_ANCHOR_BYTES];

/// The most buses that are told apart; a kernel has some forty. Patterns of further ones are filed as those of any bus.
const BUSES_MAX: usize = 256;

/// An anchor that begins at this byte or later has no bit in [`Places::fixed`].
const FIXED_BYTES: usize = 64;

/// The first three bytes of a modalias, which identify the bus well enough. Zeros: unknown, the pattern may be of any bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Bus([u8; 3]);

impl Bus {
    const ANY: Self = Self([0; 3]);

    fn of(literal_start: &[u8]) -> Self {
        literal_start.first_chunk().map_or(Self::ANY, |&bytes| Self(bytes))
    }
}

fn key(bus: Bus, anchor: &[u8]) -> Key {
    let seed = u64::from_le_bytes([bus.0[0], bus.0[1], bus.0[2], anchor.len() as u8, 0, 0, 0, 0]);
    let words = anchor.chunks(8).map(|chunk| match chunk.try_into() {
        Ok(word) => u64::from_le_bytes(word),
        Err(_) => chunk.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    });
    let hash = words.fold(mix(seed), |hash, word| {
        (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    Key::new(0, mix(hash))
}

/// Chooses anchors.
pub(super) struct Builder {
    /// How many patterns use an anchor, by the low bits of its key.
    uses: Vec<u8>,
    /// How many patterns contain four bytes anywhere, by a hash of the bytes and the bus.
    holders: Vec<u16>,
    buses: BTreeMap<Bus, OnBus>,
}

/// What is known of one bus so far.
#[derive(Default)]
struct OnBus {
    patterns: u32,
    /// By the numbers of [`LENGTHS`].
    found: [Found; LENGTHS.len()],
}

/// The anchors of one bus and length so far.
#[derive(Default)]
struct Found {
    fixed: u64,
    starts: Vec<u32>,
}

/// How many bits of that hash are the index into [`Builder::holders`].
const HOLDERS_BITS: u32 = 20;
/// Four bytes that fewer patterns contain do not count as common.
const HOLDERS_MIN: u16 = 4;

/// The index of four bytes in [`Builder::holders`].
fn slot_of(bus: Bus, four: &[u8]) -> usize {
    let bytes = four
        .iter()
        .chain(&bus.0)
        .fold(0, |word, &byte| word << 8 | u64::from(byte));
    (bytes.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - HOLDERS_BITS)) as usize
}

/// An anchor that a pattern may be filed under.
#[derive(Clone, Copy)]
struct Anchor {
    key: Key,
    /// Which of [`LENGTHS`].
    length: usize,
    place: Place,
}

#[derive(Clone, Copy)]
enum Place {
    /// In every device it begins at this byte.
    Fixed(usize),
    /// It is anywhere, and begins with bytes of this hash.
    Anywhere(u32),
}

impl Builder {
    pub(super) fn new(patterns: usize) -> Self {
        let uses = patterns.clamp(1 << 8, 1 << 22).next_power_of_two() * 4;
        Self {
            uses: vec![0; uses],
            holders: vec![0; 1 << HOLDERS_BITS],
            buses: BTreeMap::new(),
        }
    }

    /// The key of the pattern's anchor; `None` when it has none.
    pub(super) fn add(&mut self, pattern: &Pattern) -> Option<Key> {
        let mut bus = Bus::of(pattern.literal_prefix());
        if self.buses.len() >= BUSES_MAX && !self.buses.contains_key(&bus) {
            bus = Bus::ANY;
        }
        let literals = pattern.literals();
        let begins_literally = !pattern.literal_prefix().is_empty();
        let anchor = self.best(bus, &literals, begins_literally)?;
        let uses = self.uses_of(anchor.key);
        *uses = uses.saturating_add(1);
        let on_bus = self.buses.entry(bus).or_default();
        on_bus.patterns += 1;
        let found = &mut on_bus.found[anchor.length];
        match anchor.place {
            Place::Fixed(at) => found.fixed |= 1 << at,
            Place::Anywhere(start) => found.starts.push(start),
        }
        for four in literals.iter().flat_map(|literal| literal.windows(4)) {
            let holders = &mut self.holders[slot_of(bus, four)];
            *holders = holders.saturating_add(1);
        }
        Some(anchor.key)
    }

    pub(super) fn finish(self) -> Anchors {
        let places = |found: Found| Places {
            fixed: found.fixed,
            anywhere: Starts::of(&found.starts),
        };
        Anchors(
            self.buses
                .into_iter()
                .map(|(bus, on_bus)| (bus, on_bus.found.map(places)))
                .collect(),
        )
    }

    /// The anchor to file a pattern under. A stretch that is common on the bus is avoided, because every device of the bus
    /// would ask for it. Of the others, one that the fewest patterns are filed under is taken.
    fn best(&mut self, bus: Bus, literals: &[Vec<u8>], begins_literally: bool) -> Option<Anchor> {
        let mut best: Option<((bool, u8), Anchor)> = None;
        for (anchor, window) in anchors_of(bus, literals, begins_literally) {
            let rank = (self.is_common(bus, window), *self.uses_of(anchor.key));
            if rank == (false, 0) {
                return Some(anchor);
            }
            if best.is_none_or(|(least, _)| rank < least) {
                best = Some((rank, anchor));
            }
        }
        best.map(|(_, anchor)| anchor)
    }

    /// Whether every part of `window` is held by more than an eighth of the bus's patterns, or it is too short to tell.
    fn is_common(&self, bus: Bus, window: &[u8]) -> bool {
        let patterns = self.buses.get(&bus).map_or(0, |on_bus| on_bus.patterns);
        let common = |four: &[u8]| {
            let holders = self.holders[slot_of(bus, four)];
            holders >= HOLDERS_MIN && u32::from(holders) >= (patterns / 8).min(u16::MAX.into())
        };
        window.windows(4).all(common)
    }

    fn uses_of(&mut self, key: Key) -> &mut u8 {
        let slot = key.hash() as usize & (self.uses.len() - 1);
        &mut self.uses[slot]
    }
}

/// All anchors that a pattern with these literals has, the most telling first: the longest, and of one length the last,
/// because identifiers come after the bytes that many drivers share.
fn anchors_of(bus: Bus, literals: &[Vec<u8>], begins_literally: bool) -> impl Iterator<Item = (Anchor, &[u8])> {
    LENGTHS.iter().enumerate().flat_map(move |(length, &bytes)| {
        literals.iter().enumerate().rev().flat_map(move |(stretch, literal)| {
            literal.windows(bytes).enumerate().rev().map(move |(offset, window)| {
                let fixed = stretch == 0 && begins_literally && offset < FIXED_BYTES;
                let anchor = Anchor {
                    key: key(bus, window),
                    length,
                    place: if fixed {
                        Place::Fixed(offset)
                    } else {
                        Place::Anywhere(start_of(window))
                    },
                };
                (anchor, window)
            })
        })
    })
}

/// Where anchors may lie in the modalias of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Anchors(BTreeMap<Bus, [Places; LENGTHS.len()]>);

/// Where the anchors of one bus and length lie.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Places {
    /// Bit n: at the n-th byte.
    fixed: u64,
    anywhere: Starts,
}

impl Anchors {
    /// Gives `found` the keys of all stretches of the device that may be anchors.
    pub(super) fn ask(&self, device: &[u8], mut found: impl FnMut(Key)) {
        for bus in [Bus::of(device), Bus::ANY] {
            let Some(places) = self.0.get(&bus) else { continue };
            for (&length, places) in LENGTHS.iter().zip(places) {
                let mut fixed = places.fixed;
                while fixed != 0 {
                    let at = fixed.trailing_zeros() as usize;
                    fixed &= fixed - 1;
                    if let Some(window) = device.get(at..at + length) {
                        found(key(bus, window));
                    }
                }
                places.anywhere.ask(device, length, |window| found(key(bus, window)));
            }
        }
    }

    /// Files one more pattern: under its most telling anchor that is not `taken`, or else under the first. How common
    /// an anchor is on its bus is no longer known. `None` when the pattern has none.
    pub(super) fn add(&mut self, pattern: &Pattern, taken: impl Fn(Key) -> bool) -> Option<Key> {
        let mut bus = Bus::of(pattern.literal_prefix());
        if self.0.len() >= BUSES_MAX && !self.0.contains_key(&bus) {
            bus = Bus::ANY;
        }
        let literals = pattern.literals();
        let mut anchors = anchors_of(bus, &literals, !pattern.literal_prefix().is_empty()).map(|(anchor, _)| anchor);
        let first = anchors.next()?;
        let anchor = Some(first)
            .into_iter()
            .chain(anchors)
            .find(|a| !taken(a.key))
            .unwrap_or(first);
        let places = &mut self.0.entry(bus).or_default()[anchor.length];
        match anchor.place {
            Place::Fixed(at) => places.fixed |= 1 << at,
            Place::Anywhere(start) => places.anywhere.insert(start),
        }
        Some(anchor.key)
    }

    pub(super) fn write(&self, to: &mut Vec<u64>) {
        to.push(self.0.len() as u64);
        for (bus, places) in &self.0 {
            to.push(u64::from_le_bytes([bus.0[0], bus.0[1], bus.0[2], 0, 0, 0, 0, 0]));
            for Places { fixed, anywhere } in places {
                to.push(*fixed);
                words::write_list(&anywhere.0, to);
            }
        }
    }

    pub(super) fn read(from: &mut words::Words<'_>) -> Option<Self> {
        let count = from.length(BUSES_MAX + 1)?;
        let mut buses = BTreeMap::new();
        for _ in 0..count {
            let [a, b, c, 0, 0, 0, 0, 0] = from.one()?.to_le_bytes() else {
                return None;
            };
            let mut places: [Places; LENGTHS.len()] = Default::default();
            for place in &mut places {
                place.fixed = from.one()?;
                place.anywhere = Starts::read(from)?;
            }
            buses.insert(Bus([a, b, c]), places);
        }
        Some(Self(buses))
    }
}

/// The beginnings of the anchors of one bus and length that may lie anywhere: a set of hashes, one bit each. Every place
/// of a long string is looked up in it, so it is small, and rules out most places without a hash of the whole stretch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Starts(Vec<u64>);

/// With more starts than a sixteenth of this there are more false positives, which cost only speed.
const STARTS_MAX_BITS: usize = 1 << 20;

impl Starts {
    fn of(starts: &[u32]) -> Self {
        if starts.is_empty() {
            return Self::default();
        }
        let bits = (starts.len().saturating_mul(16))
            .clamp(64, STARTS_MAX_BITS)
            .next_power_of_two();
        let mut set = Self(vec![0; bits / 64]);
        starts.iter().for_each(|&start| set.insert(start));
        set
    }

    /// One more start. The set does not grow: many more let more through, and cost speed only.
    fn insert(&mut self, start: u32) {
        if self.0.is_empty() {
            *self = Self::of(&[start]);
        }
        let (word, mask) = self.bit_of(start);
        self.0[word] |= mask;
    }

    /// Uses the top bits of the hash, which are the best mixed.
    fn bit_of(&self, start: u32) -> (usize, u64) {
        let bit = (u64::from(start) * (self.0.len() as u64 * 64)) >> 32;
        ((bit / 64) as usize, 1 << (bit % 64))
    }

    fn ask<'d>(&self, device: &'d [u8], length: usize, found: impl FnMut(&'d [u8])) {
        if !self.0.is_empty() {
            let may_be = |window: &&[u8]| {
                let (word, mask) = self.bit_of(start_of(window));
                self.0[word] & mask != 0
            };
            device.windows(length).filter(may_be).for_each(found);
        }
    }

    fn read(from: &mut words::Words<'_>) -> Option<Self> {
        let words = from.list(STARTS_MAX_BITS / 64)?;
        (words.is_empty() || words.len().is_power_of_two()).then_some(Self(words))
    }
}

/// A hash of the first 3, 4 or 8 bytes of an anchor.
fn start_of(anchor: &[u8]) -> u32 {
    let word = if let Some(eight) = anchor.first_chunk() {
        u64::from_le_bytes(*eight)
    } else if let Some(four) = anchor.first_chunk() {
        u32::from_le_bytes(*four).into()
    } else {
        anchor.iter().fold(0, |word, &byte| word << 8 | u64::from(byte))
    };
    (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}
