//! Records cut into compressed segments.

use std::io;
use std::path::Path;

use dkms_index::document::record::Record;
use dkms_index::document::{canonical, segment};
use dkms_index::trust::delta_path;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::PublishError;
use crate::files;
use crate::roles::INDEX;
use crate::signed::{Signed, Target, Targets};

/// The highest level of zstd that needs no more memory in the reader.
const LEVEL: i32 = 19;

/// The lines of the index, cut where `max_bytes` would be passed. There is always at least one segment.
pub fn cut(records: &[Record], max_bytes: usize) -> Result<Vec<Vec<u8>>, PublishError> {
    let mut segments = vec![Vec::new()];
    for record in records {
        let mut line = canonical::to_bytes(record).map_err(|source| PublishError::Spell {
            package: title(record),
            source,
        })?;
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
    records.sort_by(|a, b| a.place().cmp(&b.place()));
}

/// The target path of the n-th segment.
pub fn path(number: usize) -> String {
    format!("{}jsonl.zst", stem(number))
}

/// How the target paths of the n-th segment and of its deltas begin.
pub fn stem(number: usize) -> String {
    format!("index/packages-{number:03}.")
}

/// SHA-256 of a segment's lines, which identifies its state.
pub fn decoded_sha256(segment: &[u8]) -> String {
    hex::encode(Sha256::digest(segment))
}

/// Compresses a segment; the target's custom data has the length and hash of the decompressed lines.
pub fn compress(segment: &[u8]) -> Result<(Target, Vec<u8>), PublishError> {
    let compressed = zstd::bulk::compress(segment, LEVEL).map_err(PublishError::Compress)?;
    let custom = json!({"decoded_sha256": decoded_sha256(segment), "decoded_length": segment.len()});
    Ok((Target::of(&compressed, Some(custom)), compressed))
}

/// The most deltas of a segment, each from an earlier state: every client reads the entries of all with every new index.
const BASES_MAX: usize = 16;
/// How many versions of the index role are searched for earlier states.
const VERSIONS_MAX: u64 = 64;
/// The zstd level of deltas: they compress well enough, and sixteen of them are made quickly.
const DELTA_LEVEL: i32 = 9;

/// An earlier state of a segment.
#[derive(Debug)]
pub struct Base {
    decoded_sha256: String,
    decoded: Vec<u8>,
}

impl Base {
    /// The state with these lines.
    pub fn of(decoded: Vec<u8>) -> Self {
        Self {
            decoded_sha256: decoded_sha256(&decoded),
            decoded,
        }
    }

    /// Whether it is this state.
    pub fn is(&self, decoded_sha256: &str) -> bool {
        self.decoded_sha256 == decoded_sha256
    }
}

/// The newest earlier states of the segment at `path` that are still in the published tree, up to `BASES_MAX`. What
/// cannot be read any more is passed over: deltas are optional.
pub fn bases(public: &Path, path: &str, newest_version: u64) -> Vec<Base> {
    let mut bases: Vec<Base> = Vec::new();
    for version in (newest_version.saturating_sub(VERSIONS_MAX)..=newest_version).rev() {
        let Some(target) = published_target(public, path, version) else {
            continue;
        };
        let custom = target.custom.as_ref();
        let field = |name| custom.and_then(|c: &serde_json::Value| c.get(name));
        let known = field("decoded_sha256").and_then(|v| v.as_str());
        let (Some(hash), Some(length)) = (known, field("decoded_length").and_then(|v| v.as_u64())) else {
            continue;
        };
        if bases.iter().any(|b| b.decoded_sha256 == hash) {
            continue;
        }
        let file = public.join("targets").join(target.file_path(path));
        if let Ok(bytes) = files::read(&file)
            && let Ok(decoded) = segment::decode(&bytes, length)
            && decoded_sha256(&decoded) == hash
        {
            bases.push(Base {
                decoded_sha256: hash.to_owned(),
                decoded,
            });
        }
        if bases.len() == BASES_MAX {
            break;
        }
    }
    bases
}

fn published_target(public: &Path, path: &str, version: u64) -> Option<Target> {
    let bytes = files::read(&public.join(format!("metadata/{version}.{INDEX}.json"))).ok()?;
    let role: Signed<Targets> = serde_json::from_slice(&bytes).ok()?;
    role.signed.targets.get(path).cloned()
}

/// The delta from `base` to `segment` at `path`, with its target path; none where it would save little.
pub fn delta(
    path: &str,
    base: &Base,
    segment: &[u8],
    compressed: u64,
) -> Result<Option<(String, Vec<u8>)>, PublishError> {
    let delta = segment::make_delta(&base.decoded, segment, DELTA_LEVEL)
        .map_err(|e| PublishError::Compress(io::Error::other(e)))?;
    let saves = (delta.len() as u64) < compressed / 2;
    Ok(saves.then(|| (delta_path(path, &base.decoded_sha256), delta)))
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
            subject: format!("kernel:{subject}"),
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
