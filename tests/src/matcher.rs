//! A look-up in memory, the oracle of tests and benchmarks: which of many patterns match a device.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use dkms_index::keys::{Key, KeyBuilder, KeyFilter, KeyRange};
use dkms_index::modalias::Modalias;
use dkms_index::pattern::Pattern;

/// Patterns, each with a value of the caller's, ready to be asked.
pub struct Matcher<T> {
    filter: KeyFilter,
    /// Where each key's patterns lie in `entries`.
    places: HashMap<Key, (u32, u32), BuildHasherDefault<KeyHasher>>,
    /// In the order of keys.
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
            .filter_map(|range| self.place(range))
            .flat_map(|(from, to)| &self.entries[from as usize..to as usize])
    }

    fn place(&self, range: KeyRange) -> Option<(u32, u32)> {
        if range.first == range.last {
            return self.places.get(&range.first).copied();
        }
        // Rare: a device that is not written as its bus does it. Keys that follow each other lie side by side.
        let places = self.places.iter().filter(|(key, _)| range.contains(**key));
        places
            .map(|(_, &place)| place)
            .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }
}

/// Keys are hashes already, but for their highest bits: those are spread from the others.
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
        self.0 = u64::from_ne_bytes(n.to_ne_bytes()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests {
    use proptest::strategy::Strategy;

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

    proptest::proptest! {
        /// On every bus, also for devices that are not written as their bus does it.
        #[test]
        fn a_look_up_finds_what_trying_every_pattern_finds(
            devices in proptest::collection::vec(device(), 4),
            holes in proptest::collection::vec((0..4_usize, holes()), 1..40),
        ) {
            let pattern = |(n, holes): &(usize, Holes)| open(&devices[*n], holes).parse().ok();
            let patterns: Vec<Pattern> = holes.iter().filter_map(pattern).collect();
            let matcher = Matcher::new(patterns.iter().cloned().zip(0_usize..).collect());
            for device in &devices {
                let device: Modalias = device.parse().unwrap();
                let mut found: Vec<usize> = matcher.find(&device).iter().map(|(_, n)| **n).collect();
                found.sort_unstable();
                let expected: Vec<usize> = (0..patterns.len()).filter(|&n| patterns[n].matches(&device)).collect();
                proptest::prop_assert_eq!(found, expected, "{} {:?}", device, &patterns);
            }
        }
    }

    /// Few digits, so that many pairs match; mostly as a kernel writes it, and sometimes cut, longer, or in lower case.
    fn device() -> impl Strategy<Value = String> {
        let digits = |n: usize| format!("[01A]{{{n}}}");
        let forms = [
            format!("pci:v0{0}d0{0}sv0{0}sd0{0}bc{1}sc{1}i{1}", digits(7), digits(2)),
            format!(
                "usb:v{0}p{0}d{0}dc{1}dsc{1}dp{1}ic{1}isc{1}ip{1}(in{1})?",
                digits(4),
                digits(2)
            ),
            format!("hid:b{0}g{0}v0{1}p0{1}", digits(4), digits(7)),
            format!("sdio:c{1}v{0}d{0}", digits(4), digits(2)),
            format!("virtio:d0{0}v0{0}", digits(7)),
            "(of|acpi|dmi):[NTCab:,01A]{0,12}".to_owned(),
        ];
        let odd = |(device, cut, tail): (String, usize, String)| match cut {
            0..=7 => device,
            8 => device + &tail,
            9 => device.to_lowercase(),
            _ => device[..device.len() * (cut % 10) / 10].to_owned() + "0" + &tail,
        };
        let form = proptest::sample::select(forms.to_vec()).prop_flat_map(|form| regex(&form));
        (form, 0..20_usize, regex("[a-z01A:]{0,6}")).prop_map(odd)
    }

    fn regex(text: &str) -> impl Strategy<Value = String> + use<> {
        proptest::string::string_regex(text).unwrap()
    }

    /// What of a device is left open to make a pattern of it: place, length, and how.
    type Holes = Vec<(usize, usize, usize)>;

    fn holes() -> impl Strategy<Value = Holes> {
        let length = proptest::sample::select(vec![1, 2, 4, 8, 9, 17, 30, 64]);
        proptest::collection::vec((0..64_usize, length, 0..10_usize), 0..6)
    }

    fn open(device: &str, holes: &Holes) -> String {
        let mut pattern: Vec<String> = device.chars().map(String::from).collect();
        for &(at, length, kind) in holes {
            let at = at % pattern.len();
            let end = pattern.len().min(at + length);
            match kind {
                0..=6 => drop(pattern.splice(at..end, ["*".to_owned()])),
                7 => pattern[at] = "?".to_owned(),
                8 => pattern[at] = "[01v]".to_owned(),
                _ => pattern[at] = "[!0:]".to_owned(),
            }
        }
        pattern.concat()
    }
}
