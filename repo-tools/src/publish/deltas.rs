//! Deltas from earlier states of a segment, so that a machine that has one of them downloads little.

use std::io;
use std::path::{Path, PathBuf};

use dkms_index::document::limits::SEGMENT_MAX_BYTES;
use dkms_index::document::segment;
use dkms_index::trust::delta_path;

use super::PublishError;
use super::segments::{Index, Segment, Twins, decoded_of, decoded_sha256, frames_of, read_target};
use crate::files;
use crate::roles::INDEX;
use crate::signed::{Signed, Target, Targets};

/// The most deltas of a segment, each from an earlier state. Every client reads the entries of all with every new index, 0.3 KB for each,
/// and each costs the publisher some 20 ms; a machine that was off for more publications downloads whole segments.
const BASES_MAX: usize = 8;
/// How many versions of the index role are searched for earlier states.
const VERSIONS_MAX: u64 = 64;

/// The zstd level of deltas: nearly all of a delta is long matches, which all levels find, and higher ones cost several times as much.
const LEVEL: i32 = 1;

/// An earlier state of a segment.
#[derive(Debug, Default)]
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
}

/// The earlier states of one segment that are still in the published tree, the newest first, up to `BASES_MAX`.
#[derive(Debug)]
pub struct Deltas<'a> {
    path: &'a str,
    past: Vec<(PathBuf, Target)>,
    known: Twins<'a>,
}

impl<'a> Deltas<'a> {
    /// Of the segment at `path` of all versions of the index role up to `newest_version`, but for the state `current`. Most frames of
    /// an earlier state are those of the published `index`.
    pub fn of(public: &Path, path: &'a str, newest_version: u64, current: &str, index: &'a Index) -> Self {
        let (mut past, mut seen): (Vec<(PathBuf, Target)>, Vec<String>) = (Vec::new(), vec![current.to_owned()]);
        for version in (newest_version.saturating_sub(VERSIONS_MAX)..=newest_version).rev() {
            let Some(target) = published_target(public, path, version) else {
                continue;
            };
            let Some((sha256, _)) = decoded_of(&target) else {
                continue;
            };
            if seen.iter().any(|known| known == sha256) {
                continue;
            }
            seen.push(sha256.to_owned());
            let file = public.join("targets").join(target.file_path(path));
            // Its file may be gone: deltas are optional.
            if file.is_file() {
                past.push((file, target));
            }
            if past.len() == BASES_MAX {
                break;
            }
        }
        Self {
            path,
            past,
            known: index.lines_of_frames(),
        }
    }

    /// The deltas to `segment`, whose file has `compressed` bytes, with their target paths. One state is in memory at a time.
    ///
    /// # Errors
    /// When zstd fails.
    pub fn to(&self, segment: &Segment, compressed: u64) -> Result<Vec<(String, Vec<u8>)>, PublishError> {
        let (mut deltas, mut base) = (Vec::new(), Base::default());
        for (file, target) in &self.past {
            // What cannot be read any more is passed over.
            if self.read(file, target, &mut base).is_some() {
                deltas.extend(delta(self.path, &base, segment.decoded(), compressed)?);
            }
        }
        Ok(deltas)
    }

    /// Reads a state into the memory of the one before it.
    fn read(&self, file: &Path, target: &Target, base: &mut Base) -> Option<()> {
        let (sha256, length) = decoded_of(target)?;
        let file = read_target(file, target)?;
        let bytes = usize::try_from(length)
            .ok()
            .filter(|&bytes| bytes <= SEGMENT_MAX_BYTES)?;
        sha256.clone_into(&mut base.decoded_sha256);
        base.decoded.clear();
        match frames_of(&file, bytes) {
            Some(frames) => {
                base.decoded.reserve(bytes);
                for (frame, lines) in frames {
                    match self.known.get(&file[frame.clone()]) {
                        Some(lines) => base.decoded.extend_from_slice(lines),
                        None => base
                            .decoded
                            .extend(segment::decode(&file[frame], lines.len() as u64).ok()?),
                    }
                }
            }
            None => base.decoded = segment::decode(&file, length).ok()?,
        }
        Some(())
    }
}

fn published_target(public: &Path, path: &str, version: u64) -> Option<Target> {
    let bytes = files::read(&public.join(format!("metadata/{version}.{INDEX}.json"))).ok()?;
    let role: Signed<Targets> = serde_json::from_slice(&bytes).ok()?;
    role.signed.targets.get(path).cloned()
}

/// The delta from `base` to `segment` at `path`, with its target path; none where it would save little.
///
/// # Errors
/// When zstd fails.
pub fn delta(
    path: &str,
    base: &Base,
    segment: &[u8],
    compressed: u64,
) -> Result<Option<(String, Vec<u8>)>, PublishError> {
    let delta =
        segment::make_delta(&base.decoded, segment, LEVEL).map_err(|e| PublishError::Compress(io::Error::other(e)))?;
    let saves = (delta.len() as u64) < compressed / 2;
    Ok(saves.then(|| (delta_path(path, &base.decoded_sha256), delta)))
}
