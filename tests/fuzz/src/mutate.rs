//! Inputs that are made from seeds, the same ones from the same number.

use fastrand::Rng;

/// Bytes that mean something to parsers of text and of binary formats.
const BYTES: &[u8] = b"\0\x01\x7f\x80\xff \t\n\r\"'`\\/.,:;=*?[](){}<>#$%&|!-+0129aAxX";
/// How many changes are made to one seed at most.
const CHANGES_MAX: usize = 8;
/// How often an input may become long, one time in so many, and the length that others keep.
const LONG_ONE_IN: usize = 64;
const SHORT_MAX_BYTES: usize = 16 << 10;

/// Makes inputs of seeds.
#[derive(Debug)]
pub struct Mutator<'a> {
    seeds: &'a [Vec<u8>],
    random: Rng,
    max_len: usize,
}

impl Mutator<'_> {
    /// Inputs below `max_len` bytes of `seeds`; `number` says which.
    pub fn new(seeds: &[Vec<u8>], number: u64, max_len: usize) -> Mutator<'_> {
        Mutator {
            seeds,
            random: Rng::with_seed(number),
            max_len,
        }
    }

    /// The next input: a seed with some changes.
    pub fn input(&mut self) -> Vec<u8> {
        let mut input = self.seed().to_vec();
        let is_long = self.random.usize(..LONG_ONE_IN) == 0;
        let max_len = if is_long {
            self.max_len
        } else {
            SHORT_MAX_BYTES.min(self.max_len)
        };
        for _ in 0..self.random.usize(1..=CHANGES_MAX) {
            self.change(&mut input, max_len);
        }
        input.truncate(self.max_len - 1);
        input
    }

    fn seed(&mut self) -> &[u8] {
        let index = self.random.usize(..self.seeds.len().max(1));
        self.seeds.get(index).map_or(&[], Vec::as_slice)
    }

    fn change(&mut self, input: &mut Vec<u8>, max_len: usize) {
        let at = self.random.usize(..=input.len());
        match self.random.u8(..7) {
            0 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << self.random.u8(..8);
                }
            }
            1 => {
                let byte = BYTES[self.random.usize(..BYTES.len())];
                if let Some(old) = input.get_mut(at) {
                    *old = byte;
                }
            }
            2 => {
                let byte = BYTES[self.random.usize(..BYTES.len())];
                let count = self.count(max_len.saturating_sub(input.len()));
                insert(input, at, &vec![byte; count]);
            }
            3 => drop(input.drain(self.range(input.len()))),
            // A part that is repeated: what takes quadratic time shows itself.
            4 => {
                let part = input[self.range(input.len())].to_vec();
                let room = max_len.saturating_sub(input.len()) / part.len().max(1);
                let count = self.count(room);
                insert(input, at, &part.repeat(count));
            }
            5 => {
                let seed = self.seed().to_vec();
                let range = self.range(seed.len());
                insert(input, at, &seed[range]);
            }
            _ => {
                let part = input[self.range(input.len())].to_vec();
                insert(input, at, &part);
            }
        }
    }

    /// A number up to `max`, small ones more often.
    fn count(&mut self, max: usize) -> usize {
        let bits = self.random.u32(..=max.checked_ilog2().map_or(0, |bits| bits + 1));
        self.random.usize(..1 << bits).min(max)
    }

    fn range(&mut self, len: usize) -> std::ops::Range<usize> {
        let start = self.random.usize(..=len);
        start..start + self.count(len - start)
    }
}

fn insert(input: &mut Vec<u8>, at: usize, part: &[u8]) {
    let at = at.min(input.len());
    drop(input.splice(at..at, part.iter().copied()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_number_gives_the_same_inputs_within_the_length() {
        let seeds = [b"key = \"value\"\n".to_vec(), b"[table]\n".to_vec()];
        let inputs = |number| -> Vec<Vec<u8>> {
            let mut mutator = Mutator::new(&seeds, number, 100_000);
            (0..500).map(|_| mutator.input()).collect()
        };
        let first = inputs(1);
        assert_eq!(first, inputs(1));
        assert_ne!(first, inputs(2));
        assert!(first.iter().all(|input| input.len() < 100_000));
        assert!(first.iter().any(|input| input.len() > SHORT_MAX_BYTES), "none is long");
        assert!(first.iter().filter(|input| !seeds.contains(input)).count() > 400);
        // Without seeds there are inputs, too.
        assert_eq!(
            Mutator::new(&[], 1, 10).input().len().min(9),
            Mutator::new(&[], 1, 10).input().len()
        );
    }
}
