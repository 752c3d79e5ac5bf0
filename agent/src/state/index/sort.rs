//! Patterns in the order of their table, sorted in little memory.
//!
//! A table is filled quickest in its own order. Rows are sorted in runs of bounded size, which are written to a file without a name, and merged as
//! they are read. SQLite would write them to a table of its own first.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufRead, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::super::StateError;

/// A pattern's row.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    pub(super) key: i64,
    pub(super) package: i64,
    /// The place in the package's list.
    pub(super) number: u32,
    pub(super) pattern: String,
}

/// Rows that are being sorted.
pub(super) struct Sorter {
    /// Where the file is made.
    dir: PathBuf,
    /// The most bytes of a run.
    run_bytes: usize,
    rows: Vec<Short>,
    /// The patterns of `rows`.
    patterns: String,
    spilled: Spilled,
}

/// A row without its pattern, and where that is.
struct Short {
    key: i64,
    package: i64,
    number: u32,
    length: usize,
    at: usize,
}

/// The runs that were written: each begins where the one before ends.
#[derive(Default)]
struct Spilled {
    file: Option<File>,
    ends: Vec<u64>,
}

/// Memory for a run.
const RUN_BYTES: usize = 8 << 20;
/// What is read of a run at once.
const READ_BYTES: usize = 32 << 10;
/// Key, package, length of the pattern and number, little endian.
const HEAD_BYTES: usize = 28;

impl Sorter {
    /// Nothing yet. What does not fit into memory goes to `dir`.
    pub(super) fn new(dir: &Path) -> Self {
        Self::with_runs_of(RUN_BYTES, dir)
    }

    fn with_runs_of(run_bytes: usize, dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            run_bytes,
            rows: Vec::new(),
            patterns: String::new(),
            spilled: Spilled::default(),
        }
    }

    /// Takes a row.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn add(&mut self, key: i64, package: i64, number: u32, pattern: &str) -> Result<(), StateError> {
        if (self.rows.len() + 1) * size_of::<Short>() + self.patterns.len() + pattern.len() > self.run_bytes {
            self.spill().map_err(failed(&self.dir))?;
        }
        self.rows.push(Short {
            key,
            package,
            number,
            length: pattern.len(),
            at: self.patterns.len(),
        });
        self.patterns.push_str(pattern);
        Ok(())
    }

    /// Writes what is in memory as a run.
    fn spill(&mut self) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        self.sort();
        let file = match &mut self.spilled.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile_in(&self.dir)?),
        };
        let mut written = self.spilled.ends.last().copied().unwrap_or(0);
        let mut out = BufWriter::with_capacity(READ_BYTES, file);
        for row in &self.rows {
            out.write_all(&row.key.to_le_bytes())?;
            out.write_all(&row.package.to_le_bytes())?;
            out.write_all(&(row.length as u64).to_le_bytes())?;
            out.write_all(&row.number.to_le_bytes())?;
            out.write_all(row.pattern_in(&self.patterns).as_bytes())?;
            written += (HEAD_BYTES + row.length) as u64;
        }
        out.flush()?;
        self.spilled.ends.push(written);
        self.rows.clear();
        self.patterns.clear();
        Ok(())
    }

    fn sort(&mut self) {
        self.rows.sort_unstable_by_key(|row| (row.key, row.package, row.number));
    }

    /// Gives all rows in their order.
    ///
    /// # Errors
    /// When the file cannot be read, or as `give`.
    pub(super) fn each(mut self, mut give: impl FnMut(&Row) -> Result<(), StateError>) -> Result<(), StateError> {
        self.spill().map_err(failed(&self.dir))?;
        let Spilled { file: Some(file), ends } = self.spilled else {
            return Ok(());
        };
        // The memory of the run in work is not needed any more.
        (self.rows, self.patterns) = (Vec::new(), String::new());
        let mut begin = 0;
        let mut runs = BinaryHeap::with_capacity(ends.len());
        for end in ends {
            let mut run = Run::new(&file, begin, end);
            begin = end;
            if run.next().map_err(failed(&self.dir))? {
                runs.push(Reverse(run));
            }
        }
        while let Some(mut run) = runs.peek_mut() {
            give(&run.0.row)?;
            if !run.0.next().map_err(failed(&self.dir))? {
                PeekMut::pop(run);
            }
        }
        Ok(())
    }
}

impl Short {
    fn pattern_in<'a>(&self, patterns: &'a str) -> &'a str {
        &patterns[self.at..self.at + self.length]
    }
}

/// A run that is being read. They are in the order of their rows.
struct Run<'a> {
    /// The one that was read last.
    row: Row,
    bytes: io::BufReader<Part<'a>>,
}

/// A part of a file.
struct Part<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        let read = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl<'a> Run<'a> {
    fn new(file: &'a File, at: u64, end: u64) -> Self {
        Self {
            row: Row::default(),
            bytes: io::BufReader::with_capacity(READ_BYTES, Part { file, at, end }),
        }
    }

    /// Reads the next row; `false` at the end of the run.
    fn next(&mut self) -> io::Result<bool> {
        if self.bytes.fill_buf()?.is_empty() {
            return Ok(false);
        }
        let mut head = [0; HEAD_BYTES];
        self.bytes.read_exact(&mut head)?;
        let (eights, number) = head.as_chunks::<8>();
        let [key, package, length] = eights else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let row = &mut self.row;
        (row.key, row.package) = (i64::from_le_bytes(*key), i64::from_le_bytes(*package));
        row.number = u32::from_le_bytes(number.try_into().map_err(io::Error::other)?);
        let length = u64::from_le_bytes(*length);
        row.pattern.clear();
        let read = self.bytes.by_ref().take(length).read_to_string(&mut row.pattern)?;
        if read as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(true)
    }
}

impl PartialEq for Run<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.row == other.row
    }
}

impl Eq for Run<'_> {}

impl PartialOrd for Run<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Run<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.row.cmp(&other.row)
    }
}

fn failed(dir: &Path) -> impl Fn(io::Error) -> StateError {
    |source| StateError::Io {
        path: dir.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_in_the_order_of_their_table_however_many_fit_into_memory() {
        let dir = tempfile::tempdir().unwrap();
        // Keys of both signs, some of them more than once; patterns of any length.
        let rows: Vec<Row> = (0..2000_u32)
            .map(|n| Row {
                key: i64::from(n.wrapping_mul(2_654_435_761) % 700) - 350,
                package: i64::from(n / 44),
                number: n % 44,
                pattern: "é".repeat(n as usize % 90),
            })
            .collect();
        let mut expected = rows.clone();
        expected.sort();
        for run_bytes in [0, 100, 5000, 60_000, RUN_BYTES] {
            let mut sorter = Sorter::with_runs_of(run_bytes, dir.path());
            for row in &rows {
                sorter.add(row.key, row.package, row.number, &row.pattern).unwrap();
            }
            let mut found = Vec::new();
            sorter
                .each(|row| {
                    found.push(row.clone());
                    Ok(())
                })
                .unwrap();
            assert!(found == expected, "{run_bytes}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "no file has a name");
    }

    #[test]
    fn nothing_gives_nothing_and_an_error_ends_it() {
        let dir = tempfile::tempdir().unwrap();
        let count = |sorter: Sorter| {
            let mut count = 0;
            let ended = sorter.each(|_| {
                count += 1;
                if count == 2 {
                    Err(failed(dir.path())(io::Error::other("full")))
                } else {
                    Ok(())
                }
            });
            (count, ended.is_err())
        };
        assert_eq!(count(Sorter::new(dir.path())), (0, false));
        for run_bytes in [10, RUN_BYTES] {
            let mut sorter = Sorter::with_runs_of(run_bytes, dir.path());
            (0..5).for_each(|n| sorter.add(n, 1, 0, "acpi*:X:*").unwrap());
            assert_eq!(count(sorter), (2, true));
        }
        let mut nowhere = Sorter::with_runs_of(10, &dir.path().join("missing"));
        nowhere.add(1, 1, 0, "acpi*:X:*").unwrap();
        assert!(nowhere.add(2, 1, 0, "acpi*:X:*").is_err());
    }
}
