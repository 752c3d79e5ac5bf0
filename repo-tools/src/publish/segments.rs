//! Segments of the index: runs of lines, compressed in frames.
//!
//! A segment's file is a row of zstd frames, each of some hundred lines. What did not change keeps its frames, so that a change costs the
//! compression of what it is in, and not that of the whole segment.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use dkms_index::document::segment;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::PublishError;
use super::lines::{Lengths, Line, runs};
use crate::files;
use crate::signed::{Target, Targets};

pub use super::deltas::{Base, Deltas, delta};

/// The level of zstd. 19 takes half as long again and saves one part in five hundred.
const LEVEL: i32 = 17;

/// What is compressed by itself: more would save less than one in fifty, and cost more with each change.
const FRAMES: Lengths = Lengths {
    min: 96 << 10,
    mean: 96 << 10,
    max: 384 << 10,
};

/// A run of lines that is compressed as one file.
#[derive(Debug)]
pub struct Segment {
    decoded: Vec<u8>,
    sha256: String,
    frames: Vec<Range<usize>>,
}

impl Segment {
    /// One of these lines.
    pub fn of(lines: &[Line<'_>]) -> Self {
        let mut decoded = Vec::with_capacity(lines.iter().map(|line| line.bytes.len()).sum());
        let mut frames = Vec::new();
        for run in runs(lines, FRAMES) {
            let start = decoded.len();
            for line in &lines[run] {
                decoded.extend_from_slice(&line.bytes);
            }
            frames.push(start..decoded.len());
        }
        Self {
            sha256: decoded_sha256(&decoded),
            decoded,
            frames,
        }
    }

    /// One of these bytes, whatever they are.
    pub fn of_bytes(decoded: Vec<u8>) -> Self {
        let whole = 0..decoded.len();
        Self {
            sha256: decoded_sha256(&decoded),
            decoded,
            frames: vec![whole],
        }
    }

    /// Its lines.
    pub fn decoded(&self) -> &[u8] {
        &self.decoded
    }

    /// SHA-256 of its lines, which identifies its state.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Compresses it; the target's custom data has the length and hash of the lines. Frames of `earlier` are taken where they have the
    /// same lines.
    ///
    /// # Errors
    /// When zstd fails.
    pub fn compress(&self, earlier: &Index) -> Result<(Target, Vec<u8>), PublishError> {
        let known = earlier.frames();
        let mut compressor = zstd::bulk::Compressor::new(LEVEL).map_err(PublishError::Compress)?;
        let mut file = Vec::new();
        for frame in &self.frames {
            let lines = &self.decoded[frame.clone()];
            match known.get(lines) {
                Some(compressed) => file.extend_from_slice(compressed),
                None => file.extend(compressor.compress(lines).map_err(PublishError::Compress)?),
            }
        }
        let custom = json!({"decoded_sha256": self.sha256, "decoded_length": self.decoded.len()});
        Ok((Target::of(&file, Some(custom)), file))
    }
}

/// Cuts the lines of the index where `max_bytes` would be passed, or before. There is always at least one segment.
///
/// # Errors
/// When one line is longer than that.
pub fn cut(lines: &[Line<'_>], max_bytes: usize) -> Result<Vec<Range<usize>>, PublishError> {
    if let Some(line) = lines.iter().find(|line| line.bytes.len() > max_bytes) {
        let (is_override, name, rest) = &line.place;
        return Err(PublishError::TooLong {
            package: if *is_override {
                format!("override of {name}")
            } else {
                format!("{name} {rest}")
            },
            bytes: line.bytes.len(),
            max: max_bytes,
        });
    }
    Ok(runs(lines, Lengths::of_segments(max_bytes)))
}

/// The target path of the n-th segment.
pub fn path(number: usize) -> String {
    format!("{}jsonl.zst", stem(number))
}

/// How the target paths of the n-th segment and of its deltas begin.
pub fn stem(number: usize) -> String {
    format!("index/packages-{number:03}.")
}

/// SHA-256 of a segment's lines.
pub fn decoded_sha256(segment: &[u8]) -> String {
    hex::encode(Sha256::digest(segment))
}

/// What a segment's target says of its lines: hash and length.
pub(super) fn decoded_of(target: &Target) -> Option<(&str, u64)> {
    let custom = target.custom.as_ref()?;
    Some((
        custom.get("decoded_sha256")?.as_str()?,
        custom.get("decoded_length")?.as_u64()?,
    ))
}

/// Two forms of the same lines, the one to be found by the other. Found by the length first: hashing megabytes costs more than comparing
/// the few of the same length.
#[derive(Debug)]
pub(super) struct Twins<'a>(HashMap<usize, Vec<Pair<'a>>>);

/// A form and its twin.
type Pair<'a> = (&'a [u8], &'a [u8]);

impl<'a> Twins<'a> {
    fn of(pairs: impl Iterator<Item = Pair<'a>>) -> Self {
        let mut by_length: HashMap<_, Vec<Pair<'a>>> = HashMap::new();
        for (form, twin) in pairs {
            by_length.entry(form.len()).or_default().push((form, twin));
        }
        Self(by_length)
    }

    /// The other form of this one.
    pub(super) fn get(&self, form: &[u8]) -> Option<&'a [u8]> {
        let same_length = self.0.get(&form.len())?;
        same_length
            .iter()
            .find_map(|(other, twin)| (*other == form).then_some(*twin))
    }
}

/// The published segments, each with the hash that its role has signed. What is damaged is absent: it is made anew.
#[derive(Debug, Default)]
pub struct Index {
    segments: Vec<Option<Published>>,
}

#[derive(Debug)]
struct Published {
    file: Vec<u8>,
    decoded: Vec<u8>,
    decoded_sha256: String,
    /// The frames of the file, and the lines of each.
    frames: Vec<(Range<usize>, Range<usize>)>,
}

impl Index {
    /// Reads the segments that `role` names from the published tree.
    pub fn read(public: &Path, role: &Targets) -> Self {
        let targets = (0..).map_while(|number| {
            let path = path(number);
            role.targets.get(&path).map(|target| (path, target))
        });
        let segments = targets
            .map(|(path, target)| Published::read(&public.join("targets").join(target.file_path(&path)), target));
        Self {
            segments: segments.collect(),
        }
    }

    /// The hashes of the lines of each segment, if all of them are good.
    pub fn state(&self) -> Option<Vec<&str>> {
        let segments = self.segments.iter();
        segments
            .map(|segment| Some(segment.as_ref()?.decoded_sha256.as_str()))
            .collect()
    }

    /// The hash of the n-th segment's lines, if they are these.
    pub(super) fn state_with(&self, number: usize, lines: &[Line<'_>]) -> Option<&str> {
        let published = self.segments.get(number)?.as_ref()?;
        let mut rest = &*published.decoded;
        for line in lines {
            rest = rest.strip_prefix(&*line.bytes)?;
        }
        rest.is_empty().then_some(&published.decoded_sha256)
    }

    /// All lines in their order, each with its line feed.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let segments = self.segments.iter().flatten();
        segments.flat_map(|segment| segment.decoded.split_inclusive(|&byte| byte == b'\n'))
    }

    /// The frames by their lines.
    fn frames(&self) -> Twins<'_> {
        Twins::of(self.lines_and_frames())
    }

    /// The lines by their frames.
    pub(super) fn lines_of_frames(&self) -> Twins<'_> {
        Twins::of(self.lines_and_frames().map(|(lines, frame)| (frame, lines)))
    }

    fn lines_and_frames(&self) -> impl Iterator<Item = Pair<'_>> {
        let segments = self.segments.iter().flatten();
        segments.flat_map(|s| {
            let frames = s.frames.iter();
            frames.map(|(file, lines)| (&s.decoded[lines.clone()], &s.file[file.clone()]))
        })
    }
}

impl Published {
    fn read(path: &Path, target: &Target) -> Option<Self> {
        let (sha256, length) = decoded_of(target)?;
        let file = read_target(path, target)?;
        let decoded = segment::decode(&file, length).ok()?;
        let decoded_sha256 = decoded_sha256(&decoded);
        (decoded_sha256 == sha256).then(|| Self {
            frames: frames_of(&file, decoded.len()).unwrap_or_default(),
            file,
            decoded,
            decoded_sha256,
        })
    }
}

/// The file of a target, if it is as was signed.
pub(super) fn read_target(path: &Path, target: &Target) -> Option<Vec<u8>> {
    let file = files::read(path).ok()?;
    (file.len() as u64 == target.length && decoded_sha256(&file) == target.sha256()).then_some(file)
}

/// The frames of a file that decodes to `length` bytes, and what each decodes to. None where a frame does not say its length.
pub(super) fn frames_of(file: &[u8], length: usize) -> Option<Vec<(Range<usize>, Range<usize>)>> {
    let (mut frames, mut at, mut decoded) = (Vec::new(), 0, 0);
    while at < file.len() {
        let rest = &file[at..];
        let size = zstd::zstd_safe::find_frame_compressed_size(rest).ok()?;
        let lines = usize::try_from(zstd::zstd_safe::get_frame_content_size(rest).ok()??).ok()?;
        let end = decoded + lines;
        if size == 0 || end > length {
            return None;
        }
        frames.push((at..at + size, decoded..end));
        (at, decoded) = (at + size, end);
    }
    (decoded == length).then_some(frames)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::lines;
    use dkms_index::document::record::{OverrideRecord, Record};

    fn record(subject: &str) -> Record {
        Record::Override(OverrideRecord {
            subject: format!("kernel:{subject}"),
            pattern: "pci:*".into(),
            reason: "wrong".into(),
        })
    }

    #[test]
    fn segments_have_all_lines_in_order_and_never_split_one() {
        let lines = lines::of(&["c", "a", "b"].map(record)).unwrap();
        let length = lines[0].bytes.len();
        let check = |max: usize, expected: &[usize]| {
            let segments: Vec<Segment> = cut(&lines, max)
                .unwrap()
                .into_iter()
                .map(|run| Segment::of(&lines[run]))
                .collect();
            let counts: Vec<usize> = segments.iter().map(|s| s.decoded().len() / length).collect();
            assert_eq!(counts, expected, "{max}");
            let all: Vec<u8> = segments.iter().flat_map(|s| s.decoded().to_vec()).collect();
            let subjects: Vec<u8> = all
                .split(|&b| b == b'\n')
                .filter_map(|l| l.windows(7).find(|w| w.starts_with(b"kernel:"))?.len().try_into().ok())
                .collect();
            assert_eq!(subjects.len(), 3);
            assert_eq!(
                all,
                lines.iter().flat_map(|line| line.bytes.to_vec()).collect::<Vec<u8>>()
            );
        };
        check(length, &[1, 1, 1]);
        check(1 << 20, &[3]);
        assert!(matches!(cut(&lines, length - 1), Err(PublishError::TooLong { .. })));
        assert_eq!(cut(&[], 10).unwrap().len(), 1);
        assert_eq!(Segment::of(&[]).decoded(), b"");
    }

    /// Lines that do not compress away.
    fn many(count: usize) -> Vec<Line<'static>> {
        let line = |n: usize| {
            let random: Vec<String> = (0..8)
                .map(|i| decoded_sha256(&[n.to_le_bytes(), [i; 8]].concat()))
                .collect();
            let record = Record::Override(OverrideRecord {
                subject: format!("kernel:m{n:06}"),
                pattern: "pci:*".into(),
                reason: random.concat(),
            });
            Line::of(&record).unwrap()
        };
        (0..count).map(line).collect()
    }

    #[test]
    fn a_change_keeps_the_frames_of_all_other_lines() {
        let dir = tempfile::tempdir().unwrap();
        let mut lines = many(2000);
        let (target, file) = Segment::of(&lines).compress(&Index::default()).unwrap();
        let place = dir.path().join("targets").join(target.file_path(&path(0)));
        files::write_atomic(&place, &file).unwrap();
        let role: Targets = serde_json::from_value(json!({
            "_type": "targets", "spec_version": "1.0.31", "version": 1, "expires": "2026-03-01T12:00:00Z",
            "targets": {path(0): target}
        }))
        .unwrap();
        let index = Index::read(dir.path(), &role);
        assert_eq!(index.lines().count(), 2000);
        assert!(index.state().is_some());
        let frames: Vec<&[u8]> = index.lines_and_frames().map(|(_, frame)| frame).collect();
        assert!(frames.len() > 4, "{}", frames.len());
        for (lines, frame) in index.lines_and_frames() {
            assert_eq!(index.frames().get(lines), Some(frame));
            assert_eq!(index.lines_of_frames().get(frame), Some(lines));
        }

        lines[1000].bytes = many(2001).pop().unwrap().bytes;
        let changed = Segment::of(&lines);
        let (_, again) = changed.compress(&index).unwrap();
        assert_eq!(
            segment::decode(&again, changed.decoded().len() as u64).unwrap(),
            changed.decoded()
        );
        let kept = frames_of(&again, changed.decoded().len()).unwrap();
        let new = kept
            .iter()
            .filter(|(file, _)| !frames.contains(&&again[file.clone()]))
            .count();
        assert!((1..=2).contains(&new), "{new} of {} frames", kept.len());

        // A file that is not what was signed is worth nothing.
        let mut damaged = file.clone();
        damaged[file.len() / 2] ^= 1;
        files::write_atomic(&place, &damaged).unwrap();
        let index = Index::read(dir.path(), &role);
        assert!(index.state().is_none() && index.lines_and_frames().next().is_none());
    }
}
