//! A [`KeyFilter`](super::KeyFilter) as a row of words: numbers, and lists that begin with their length.

/// Appends a list with its length.
pub(super) fn write_list(list: &[u64], to: &mut Vec<u64>) {
    to.push(list.len() as u64);
    to.extend(list);
}

/// The words that are not read yet.
pub(super) struct Words<'a>(pub(super) &'a [u64]);

impl Words<'_> {
    /// One number.
    pub(super) fn one(&mut self) -> Option<u64> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// A length of at most `max`.
    pub(super) fn length(&mut self, max: usize) -> Option<usize> {
        usize::try_from(self.one()?).ok().filter(|&n| n <= max)
    }

    /// A list of at most `max` numbers.
    pub(super) fn list(&mut self, max: usize) -> Option<Vec<u64>> {
        let length = self.length(max)?;
        let (list, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(list.to_vec())
    }
}
