//! Segments: the lines of the index in files of bounded size, compressed with zstd.
//!
//! Only a signature says whether a segment is genuine; here its size is bounded, before and after decompression.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

use super::limits::SEGMENT_MAX_BYTES;
use super::record::Record;
use super::{DocumentError, canonical};

/// The largest zstd window a reader allows, as a power of two: a segment's own size.
const WINDOW_LOG_MAX: u32 = 24;

/// A segment as it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The bytes of the file.
    pub compressed: Vec<u8>,
    /// Length of the decoded lines in bytes; at most [`SEGMENT_MAX_BYTES`].
    pub decoded_length: u64,
    /// SHA-256 of the decoded lines in lower-case hex.
    pub decoded_sha256: String,
}

/// Why a segment could not be made or read.
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
    /// A record is too large for a segment, or is the second of its name and version.
    #[error("the record of {0} {1} {2}")]
    Record(String, String, &'static str),
    /// JSON could not be written.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// Sorts the records and packs them into as few segments as will do; no records make one empty segment.
///
/// `level` is zstd's; 19 is right for publishing, 3 for tests.
///
/// # Errors
/// When two records have the same [`Record::place`], or one is larger than a segment.
pub fn pack(mut records: Vec<Record>, level: i32) -> Result<Vec<Segment>, SegmentError> {
    let named = |record: &Record, why| {
        let (_, name, version) = record.place();
        SegmentError::Record(name.to_owned(), version.to_owned(), why)
    };
    records.sort_by(|a, b| a.place().cmp(&b.place()));
    if let Some(pair) = records.windows(2).find(|pair| pair[0].place() == pair[1].place()) {
        return Err(named(&pair[0], "is there twice"));
    }
    let mut segments = Vec::new();
    let mut lines = Vec::new();
    for record in &records {
        let mut line = canonical::to_bytes(record)?;
        line.push(b'\n');
        if line.len() > super::limits::LINE_MAX_BYTES {
            return Err(named(record, "is too long for a line"));
        }
        if lines.len() + line.len() > SEGMENT_MAX_BYTES {
            segments.push(compress(&std::mem::take(&mut lines), level)?);
        }
        lines.append(&mut line);
    }
    if segments.is_empty() || !lines.is_empty() {
        segments.push(compress(&lines, level)?);
    }
    Ok(segments)
}

fn compress(lines: &[u8], level: i32) -> Result<Segment, SegmentError> {
    Ok(Segment {
        compressed: zstd::bulk::compress(lines, level).map_err(SegmentError::Zstd)?,
        decoded_length: lines.len() as u64,
        decoded_sha256: hex::encode(Sha256::digest(lines)),
    })
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

/// What has to be known to make `decoded` when `base` is there: zstd with the base as a prefix (`--patch-from`).
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

/// Applies a delta whose bytes are verified already. In one go, so that no window is held besides base and result.
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

/// What the lines of a segment say.
#[derive(Debug, Default)]
pub struct Contents {
    /// The good records, in their order.
    pub records: Vec<Record>,
    /// The lines that were passed over: number, from 1, and reason. One faulty or unknown record costs only itself.
    pub passed_over: Vec<(usize, DocumentError)>,
}

/// Reads the decoded lines.
pub fn read(decoded: &[u8]) -> Contents {
    let mut contents = Contents::default();
    let lines = decoded
        .split(|&b| b == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.is_empty());
    for (at, line) in lines {
        match Record::parse(line) {
            Ok(record) => contents.records.push(record),
            Err(error) => contents.passed_over.push((at + 1, error)),
        }
    }
    contents
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::record::OverrideRecord;

    fn record(n: usize, reason_bytes: usize) -> Record {
        Record::Override(OverrideRecord {
            subject: format!("kernel:m{n:05}"),
            pattern: "pci:v*d*sv*sd*bc02sc80i*".into(),
            reason: "x".repeat(reason_bytes),
        })
    }

    fn unpack(segment: &Segment) -> Vec<Record> {
        let contents = read(&decode(&segment.compressed, segment.decoded_length).unwrap());
        assert!(contents.passed_over.is_empty(), "{:?}", contents.passed_over);
        contents.records
    }

    #[test]
    fn records_are_sorted_and_split_at_the_limit() {
        let count = SEGMENT_MAX_BYTES / 1050;
        let records: Vec<Record> = (0..count).rev().map(|n| record(n, 1000)).collect();
        let segments = pack(records.clone(), 1).unwrap();
        assert_eq!(segments.len(), 2);
        assert!(segments.iter().all(|s| s.decoded_length <= SEGMENT_MAX_BYTES as u64));
        let read: Vec<Record> = segments.iter().flat_map(unpack).collect();
        assert_eq!(read, records.into_iter().rev().collect::<Vec<_>>());
    }

    #[test]
    fn nothing_is_one_empty_segment() {
        let segments = pack(Vec::new(), 3).unwrap();
        assert_eq!((segments.len(), segments[0].decoded_length), (1, 0));
        assert_eq!(unpack(&segments[0]), []);
    }

    #[test]
    fn a_record_is_there_once() {
        let error = pack(vec![record(1, 1), record(2, 1), record(1, 9)], 3).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the record of kernel:m00001 pci:v*d*sv*sd*bc02sc80i* is there twice"
        );
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
    fn a_faulty_line_costs_only_itself() {
        let good = String::from_utf8(canonical::to_bytes(&record(1, 1)).unwrap()).unwrap();
        let text = format!("{good}\n{{\"type\":\"novelty\"}}\n\n{good}\n");
        let contents = read(text.as_bytes());
        assert_eq!(contents.records.len(), 2);
        assert_eq!(
            contents.passed_over.iter().map(|(line, _)| *line).collect::<Vec<_>>(),
            [2]
        );
    }
}
