//! The lines of the index in their order, and where they are cut.
//!
//! Cuts depend on the lines around them only, and not on how many come before: a package that is new or longer than before moves no cut
//! but the next one, so that all other segments stay as they are.

use std::borrow::Cow;
use std::ops::Range;

use dkms_index::document::canonical;
use dkms_index::document::record::Record;
use sha2::{Digest, Sha256};

use super::PublishError;

/// A record as the index has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// As [`Record::place`].
    pub place: (bool, String, String),
    /// With the line feed at its end.
    pub bytes: Cow<'a, [u8]>,
}

impl Line<'_> {
    /// The line of a record.
    ///
    /// # Errors
    /// When it has no JSON form.
    pub fn of(record: &Record) -> Result<Self, PublishError> {
        let mut bytes = canonical::to_bytes(record).map_err(|source| PublishError::Spell {
            package: title(record),
            source,
        })?;
        bytes.push(b'\n');
        let (is_override, name, rest) = record.place();
        Ok(Self {
            place: (is_override, name.to_owned(), rest.to_owned()),
            bytes: Cow::Owned(bytes),
        })
    }

    /// Whether a cut may come before it. It may before one of so many lines that they have about `bytes` bytes in all.
    fn may_begin(&self, bytes: usize) -> bool {
        let digest = Sha256::digest(self.place.1.as_bytes());
        let number = digest.iter().take(8).fold(0, |n, &byte| n << 8 | u128::from(byte));
        // Of a package that becomes a little longer the answer stays the same, mostly.
        let weight = self.bytes.len().next_power_of_two() as u128;
        number * (bytes.max(1) as u128) < weight << 64
    }
}

/// The lines of all records, in the order of the index: packages by name and version, then overrides.
///
/// # Errors
/// When one has no JSON form.
pub fn of(records: &[Record]) -> Result<Vec<Line<'static>>, PublishError> {
    let mut lines = records.iter().map(Line::of).collect::<Result<Vec<_>, _>>()?;
    lines.sort_by(|a, b| a.place.cmp(&b.place));
    Ok(lines)
}

/// Of what length runs of lines are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lengths {
    /// Before it there is no cut.
    pub(super) min: usize,
    /// The mean distance from `min` to the cut.
    pub(super) mean: usize,
    /// Where it would be passed there is a cut. A single line may be longer.
    pub(super) max: usize,
}

impl Lengths {
    /// Those of segments.
    pub(super) fn of_segments(max: usize) -> Self {
        Self {
            min: max / 2,
            mean: max / 8,
            max,
        }
    }
}

/// Cuts lines into runs: at least one, which is empty where there are none.
pub(super) fn runs(lines: &[Line<'_>], lengths: Lengths) -> Vec<Range<usize>> {
    let (mut runs, mut first, mut length) = (Vec::new(), 0, 0);
    for (at, line) in lines.iter().enumerate() {
        let is_full = length + line.bytes.len() > lengths.max;
        if at > first && (is_full || length >= lengths.min && line.may_begin(lengths.mean)) {
            runs.push(first..at);
            (first, length) = (at, 0);
        }
        length += line.bytes.len();
    }
    runs.push(first..lines.len());
    runs
}

fn title(record: &Record) -> String {
    match record {
        Record::Package(p) => format!("{} {}", p.name, p.version),
        Record::Override(o) => format!("override of {}", o.subject),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: usize, length: usize) -> Line<'static> {
        Line {
            place: (false, format!("p{name:05}"), "1".to_owned()),
            bytes: Cow::Owned(vec![b'x'; length]),
        }
    }

    #[test]
    fn runs_have_all_lines_and_keep_to_the_limit() {
        let lengths = |max| Lengths { min: max, mean: 1, max };
        let check = |lengths: &[usize], limit: Lengths, expected: &[usize]| {
            let lines: Vec<_> = lengths.iter().enumerate().map(|(n, &length)| line(n, length)).collect();
            let found = runs(&lines, limit);
            assert_eq!(found.iter().map(Range::len).collect::<Vec<_>>(), expected);
            assert!(found.iter().cloned().flatten().eq(0..lines.len()));
        };
        check(&[], lengths(10), &[0]);
        check(&[10, 10, 10], lengths(10), &[1, 1, 1]);
        check(&[10, 10, 10], lengths(20), &[2, 1]);
        check(&[10, 10, 10], lengths(19), &[1, 1, 1]);
        check(&[10, 10, 10], lengths(100), &[3]);
        check(&[50, 10], lengths(20), &[1, 1]);
    }

    #[test]
    fn one_more_line_moves_no_cut_but_the_next() {
        let lines: Vec<_> = (0..20_000).map(|n| line(2 * n, 100 + n % 50)).collect();
        let lengths = Lengths::of_segments(100_000);
        let cuts = |lines: &[Line<'_>]| -> Vec<String> {
            runs(lines, lengths)
                .iter()
                .map(|run| lines[run.start].place.1.clone())
                .collect()
        };
        let before = cuts(&lines);
        assert!((25..=50).contains(&before.len()), "{}", before.len());
        let mut most = 0;
        for at in (5..20_000).step_by(997) {
            let mut more = lines.clone();
            more.insert(at, line(2 * at - 1, 130));
            let after = cuts(&more);
            let moved = before.iter().filter(|cut| !after.contains(cut)).count();
            most = most.max(moved);
        }
        assert!(most <= 2, "{most} cuts moved");
    }
}
