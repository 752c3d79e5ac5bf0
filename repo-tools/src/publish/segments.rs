//! Records cut into compressed segments.

use dkms_index::document::record::Record;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::PublishError;
use crate::signed::Target;

/// As far as zstd goes without more memory for the reader.
const LEVEL: i32 = 19;

/// The lines of the index, cut where `max_bytes` would be passed. There is always at least one segment.
pub fn cut(records: &[Record], max_bytes: usize) -> Result<Vec<Vec<u8>>, PublishError> {
    let mut segments = vec![Vec::new()];
    for record in records {
        // Through a Value, for the order of keys does not depend on that of the fields then.
        let mut line = json!(record).to_string().into_bytes();
        line.push(b'\n');
        if line.len() > max_bytes {
            return Err(PublishError::TooLong {
                package: title(record),
                bytes: line.len(),
                max: max_bytes,
            });
        }
        match segments.last_mut() {
            Some(last) if last.len() + line.len() <= max_bytes => last.extend(line),
            _ => segments.push(line),
        }
    }
    Ok(segments)
}

/// The order of lines: packages by name and version, then overrides.
pub fn sort(records: &mut [Record]) {
    records.sort_by_cached_key(|record| match record {
        Record::Package(p) => (0, p.name.clone(), p.version.clone()),
        Record::Override(o) => (1, o.subject.clone(), o.pattern.clone()),
    });
}

/// The target path of the n-th segment.
pub fn path(number: usize) -> String {
    format!("index/packages-{number:03}.jsonl.zst")
}

/// SHA-256 of a segment's lines: what makes it the same segment.
pub fn decoded_sha256(segment: &[u8]) -> String {
    hex::encode(Sha256::digest(segment))
}

/// Compresses a segment; the target's custom data tell what must come out of it.
pub fn compress(segment: &[u8]) -> Result<(Target, Vec<u8>), PublishError> {
    let compressed = zstd::bulk::compress(segment, LEVEL).map_err(PublishError::Compress)?;
    let custom = json!({"decoded_sha256": decoded_sha256(segment), "decoded_length": segment.len()});
    Ok((Target::of(&compressed, Some(custom)), compressed))
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
    use dkms_index::document::record::OverrideRecord;

    fn record(subject: &str) -> Record {
        Record::Override(OverrideRecord {
            subject: subject.into(),
            pattern: "pci:*".into(),
            reason: "wrong".into(),
        })
    }

    #[test]
    fn segments_are_filled_in_order_and_never_split_a_line() {
        let mut records: Vec<_> = ["c", "a", "b"].map(record).into();
        sort(&mut records);
        let line = json!(records[0]).to_string().len() + 1;
        let check = |max: usize, expected: &[usize]| {
            let segments = cut(&records, max).unwrap();
            assert_eq!(
                segments.iter().map(|s| s.len() / line).collect::<Vec<_>>(),
                expected,
                "{max}"
            );
            let all: Vec<u8> = segments.concat();
            assert!(all.windows(10).any(|w| w == b"subject\":\"") && all.len() == 3 * line);
        };
        check(line, &[1, 1, 1]);
        check(2 * line, &[2, 1]);
        check(2 * line - 1, &[1, 1, 1]);
        check(1 << 20, &[3]);
        assert!(matches!(cut(&records, line - 1), Err(PublishError::TooLong { .. })));
        assert_eq!(cut(&[], 10).unwrap(), [Vec::<u8>::new()]);
    }
}
