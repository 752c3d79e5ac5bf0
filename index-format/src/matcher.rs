//! A look-up in memory: which of many patterns match a device.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::keys::{Key, KeyBuilder, KeyFilter};
use crate::modalias::Modalias;
use crate::pattern::Pattern;

/// Patterns, each with a value of the caller's, ready to be asked.
pub struct Matcher<T> {
    filter: KeyFilter,
    /// Where each key's patterns lie in `entries`.
    places: HashMap<Key, (u32, u32), BuildHasherDefault<KeyHasher>>,
    entries: Vec<(Pattern, T)>,
}

impl<T> Matcher<T> {
    /// Takes the patterns in. At most 2³² of them.
    pub fn new(patterns: Vec<(Pattern, T)>) -> Self {
        let mut builder = KeyBuilder::new(patterns.len());
        let mut keyed: Vec<(Key, (Pattern, T))> = patterns
            .into_iter()
            .map(|entry| (builder.add(&entry.0), entry))
            .collect();
        // Stable, so that matches come out in the order in which they went in, key by key.
        keyed.sort_by_key(|(key, _)| *key);
        let mut places = HashMap::with_capacity_and_hasher(keyed.len(), BuildHasherDefault::default());
        for (at, (key, _)) in (0_u32..).zip(&keyed) {
            places.entry(*key).or_insert((at, at)).1 = at + 1;
        }
        Self {
            filter: builder.finish(),
            places,
            entries: keyed.into_iter().map(|(_, entry)| entry).collect(),
        }
    }

    /// All patterns that match `device`, with their values, in an order that depends on the patterns alone.
    pub fn find(&self, device: &Modalias) -> Vec<(&Pattern, &T)> {
        self.candidates(device)
            .filter(|(pattern, _)| pattern.matches(device))
            .map(|(pattern, value)| (pattern, value))
            .collect()
    }

    /// How many patterns a look-up of `device` tries.
    pub fn tried(&self, device: &Modalias) -> usize {
        self.candidates(device).count()
    }

    /// How many patterns there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn candidates(&self, device: &Modalias) -> impl Iterator<Item = &(Pattern, T)> {
        self.filter
            .keys(device)
            .into_iter()
            .filter_map(|key| self.places.get(&key))
            .flat_map(|&(from, to)| &self.entries[from as usize..to as usize])
    }
}

/// Keys are hashes already.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_i64(&mut self, n: i64) {
        self.0 = u64::from_ne_bytes(n.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(patterns: &[&str], device: &str, expected: &[usize]) {
        let entries = patterns
            .iter()
            .enumerate()
            .map(|(n, p)| (p.parse().unwrap(), n))
            .collect();
        let matcher: Matcher<usize> = Matcher::new(entries);
        let mut found: Vec<usize> = matcher
            .find(&device.parse().unwrap())
            .iter()
            .map(|(_, n)| **n)
            .collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{device}");
    }

    #[test]
    fn all_matches_are_found_also_of_equal_patterns() {
        let patterns = [
            "pci:v000010ECd00008168sv*sd*bc*sc*i*",
            "pci:v000010ECd00008168sv*sd*bc*sc*i*",
            "pci:v*d*sv*sd*bc02sc00i*",
            "pci:v000010ECd00008169sv*sd*bc*sc*i*",
            "*",
            "p*:v000010ECd00008168*",
            "usb:v10ECp8168*",
        ];
        check(
            &patterns,
            "pci:v000010ECd00008168sv00001043sd00008677bc02sc00i00",
            &[0, 1, 2, 4, 5],
        );
        check(&patterns, "pci:v00001234d00008168sv00001043sd00008677bc02sc01i00", &[4]);
        check(&[], "pci:v00001234", &[]);
    }
}
