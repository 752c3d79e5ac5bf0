//! Segments: the lines of the index in files of bounded size, compressed with zstd.
//!
//! Only a signature says whether a segment is genuine; here its size is bounded, before and after decompression.

use std::io::{self, Read};

use super::DocumentError;
use super::limits::SEGMENT_MAX_BYTES;
use super::record::Record;

/// The largest zstd window a reader allows, as a power of two: a segment's own size.
const WINDOW_LOG_MAX: u32 = 24;

/// Why a segment or a delta could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// Its decoded length is above the limit.
    #[error("a segment of {0} decoded bytes is not read, at most {SEGMENT_MAX_BYTES} are")]
    TooLong(u64),
    /// It decodes to more or fewer bytes than its signed description says.
    #[error("the segment decodes to another length than the {0} bytes that were announced")]
    Length(u64),
    /// Not zstd, or damaged.
    #[error("the segment does not decompress: {0}")]
    Zstd(#[source] io::Error),
}

/// Decompresses a segment whose compressed bytes are verified already.
///
/// # Errors
/// When it is damaged, or not of exactly `decoded_length` bytes, or that is above the limit.
pub fn decode(compressed: &[u8], decoded_length: u64) -> Result<Vec<u8>, SegmentError> {
    let expected = usize::try_from(decoded_length)
        .ok()
        .filter(|&n| n <= SEGMENT_MAX_BYTES)
        .ok_or(SegmentError::TooLong(decoded_length))?;
    let mut decoder = zstd::Decoder::new(compressed).map_err(SegmentError::Zstd)?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(SegmentError::Zstd)?;
    let mut decoded = Vec::with_capacity(expected);
    decoder
        .take(decoded_length + 1)
        .read_to_end(&mut decoded)
        .map_err(SegmentError::Zstd)?;
    if decoded.len() == expected {
        Ok(decoded)
    } else {
        Err(SegmentError::Length(decoded_length))
    }
}

/// The window of deltas, as a power of two: base and result, which is more than [`WINDOW_LOG_MAX`] lets pass in a file.
const DELTA_WINDOW_LOG: u32 = 25;

/// One in two to so many places of the base is noted to be found again. What base and result have in common is thousands of bytes long,
/// so more of them cost a quarter more time and save nothing.
const DELTA_RATE_LOG: u32 = 9;

/// A delta that makes `decoded` out of `base`: zstd with the base as a prefix (`--patch-from`).
///
/// # Errors
/// When zstd fails.
pub fn make_delta(base: &[u8], decoded: &[u8], level: i32) -> Result<Vec<u8>, SegmentError> {
    use zstd::zstd_safe::{CCtx, CParameter, compress_bound};

    let mut context = CCtx::create();
    let parameters = [
        CParameter::CompressionLevel(level),
        CParameter::WindowLog(DELTA_WINDOW_LOG),
        CParameter::EnableLongDistanceMatching(true),
        CParameter::LdmHashRateLog(DELTA_RATE_LOG),
        CParameter::LdmHashLog(DELTA_WINDOW_LOG - DELTA_RATE_LOG),
    ];
    for parameter in parameters {
        context.set_parameter(parameter).map_err(zstd_error)?;
    }
    context.ref_prefix(base).map_err(zstd_error)?;
    let mut delta = Vec::with_capacity(compress_bound(decoded.len()));
    context.compress2(&mut delta, decoded).map_err(zstd_error)?;
    delta.shrink_to_fit();
    Ok(delta)
}

/// Applies a delta whose bytes are verified already. In one step, so that zstd needs no window besides base and result.
///
/// # Errors
/// When it is damaged, is for another base, or does not make exactly `decoded_length` bytes.
pub fn apply_delta(delta: &[u8], base: &[u8], decoded_length: u64) -> Result<Vec<u8>, SegmentError> {
    let expected = usize::try_from(decoded_length)
        .ok()
        .filter(|&n| n <= SEGMENT_MAX_BYTES)
        .ok_or(SegmentError::TooLong(decoded_length))?;
    let mut context = zstd::zstd_safe::DCtx::create();
    context.ref_prefix(base).map_err(zstd_error)?;
    let mut decoded = Vec::with_capacity(expected);
    context.decompress(&mut decoded, delta).map_err(zstd_error)?;
    if decoded.len() == expected {
        Ok(decoded)
    } else {
        Err(SegmentError::Length(decoded_length))
    }
}

fn zstd_error(code: usize) -> SegmentError {
    SegmentError::Zstd(io::Error::other(zstd::zstd_safe::get_error_name(code)))
}

/// The records of a segment.
#[derive(Debug, Default)]
pub struct Contents {
    /// The valid records, in their order.
    pub records: Vec<Record>,
    /// The lines that were passed over: number, from 1, and reason. An invalid or unknown record affects no other.
    pub passed_over: Vec<(usize, DocumentError)>,
}

/// The lines that are not empty, with their numbers from 1.
pub fn lines(decoded: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let ends = memchr::memchr_iter(b'\n', decoded).chain([decoded.len()]);
    let mut from = 0;
    let lines = ends.map(move |end| &decoded[std::mem::replace(&mut from, end + 1)..end]);
    (1..).zip(lines).filter(|(_, line)| !line.is_empty())
}

/// Reads the decoded lines.
pub fn read(decoded: &[u8]) -> Contents {
    let mut contents = Contents::default();
    for (number, line) in lines(decoded) {
        match Record::parse(line) {
            Ok(record) => contents.records.push(record),
            Err(error) => contents.passed_over.push((number, error)),
        }
    }
    contents
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::canonical;
    use crate::document::record::OverrideRecord;

    fn record(reason: &str) -> Record {
        Record::Override(OverrideRecord {
            subject: "kernel:r8169".into(),
            pattern: "pci:v*d*sv*sd*bc02sc80i*".into(),
            reason: reason.into(),
        })
    }

    #[test]
    fn lines_come_out_as_they_went_in() {
        for records in [vec![], vec![record("wrong"), record("as wrong")]] {
            let lines = records.iter().map(|r| canonical::to_bytes(r).unwrap());
            let lines = lines
                .map(|line| [&line[..], b"\n"].concat())
                .collect::<Vec<_>>()
                .concat();
            let compressed = zstd::bulk::compress(&lines, 3).unwrap();
            let decoded = decode(&compressed, lines.len() as u64).unwrap();
            let contents = read(&decoded);
            assert_eq!((decoded, contents.records), (lines, records));
            assert!(contents.passed_over.is_empty(), "{:?}", contents.passed_over);
        }
    }

    #[test]
    fn lines_are_counted_and_empty_ones_left_out() {
        let check = |text: &str, expected: &[(usize, &str)]| {
            let expected: Vec<(usize, &[u8])> = expected.iter().map(|(n, line)| (*n, line.as_bytes())).collect();
            assert_eq!(lines(text.as_bytes()).collect::<Vec<_>>(), expected, "{text:?}");
        };
        check("", &[]);
        check("\n", &[]);
        check("a", &[(1, "a")]);
        check("a\n", &[(1, "a")]);
        check("\na\n\nbc\nd", &[(2, "a"), (4, "bc"), (5, "d")]);
    }

    #[test]
    fn a_bomb_stops_at_the_announced_length() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 3).unwrap();
        let check = |length: u64, expected: &str| {
            let error = decode(&bomb, length).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(1000, "another length than the 1000 bytes");
        check(64 << 20, "is not read");
        check(u64::MAX, "is not read");
        assert!(decode(b"not zstd", 8).is_err());
    }

    #[test]
    fn a_faulty_line_does_not_affect_others() {
        let good = String::from_utf8(canonical::to_bytes(&record("wrong")).unwrap()).unwrap();
        let text = format!("{good}\n{{\"type\":\"novelty\"}}\n\n{good}\n");
        let contents = read(text.as_bytes());
        assert_eq!(contents.records.len(), 2);
        assert_eq!(
            contents.passed_over.iter().map(|(line, _)| *line).collect::<Vec<_>>(),
            [2]
        );
    }
}
