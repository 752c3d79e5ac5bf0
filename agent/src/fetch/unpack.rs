//! Unpacks a bundle. It is verified and still treated as hostile, because the key of its publisher may have been stolen.
//!
//! Only directories, regular files and links come out, below one directory, each once. Links are made last, so that no file is
//! ever written through one, and none leads out: its target is relative, `..` stands only at its start, and there are no
//! more of them than directories above the link. Such a path cannot leave, whatever other links it passes.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use dkms_index::document::BundleFormat;
use tar::{Archive, Entry, EntryType};

use super::{FetchError, SourceTree, VerifiedBundle};

/// The largest source of a driver (a GPU's) has 300 MB.
const TOTAL_MAX_BYTES: u64 = 2 << 30;
/// It has some 15,000 files. Directories count, also those that are only named as parts of a path.
const ENTRIES_MAX: usize = 60_000;
/// A few bytes of an archive can name many directories, and each is slow to make and to remove.
const DIRECTORIES_MAX: usize = 5_000;
/// How deep they may lie in one another; the deepest known has 11.
const DEPTH_MAX: usize = 64;
/// Longer names are refused by most file systems.
const PATH_MAX_BYTES: usize = 2048;
/// zstd's level 19 uses a window of 8 MiB; this bounds the memory of decompression.
const WINDOW_LOG_MAX: u32 = 24;

/// Unpacks a bundle into a new directory below `dir`.
///
/// # Errors
/// When it has an entry that may not be unpacked, is damaged, or the disk is full. Nothing is left behind then.
pub fn unpack(bundle: &VerifiedBundle, dir: &Path) -> Result<SourceTree, FetchError> {
    let BundleFormat::TarZst = bundle.format;
    let failed = |path: &Path, source| FetchError::Io {
        package: bundle.label.clone(),
        path: path.to_owned(),
        source,
    };
    fs::create_dir_all(dir).map_err(|e| failed(dir, e))?;
    let target = tempfile::Builder::new()
        .prefix("source-")
        .permissions(Permissions::from_mode(0o755))
        .tempdir_in(dir)
        .map_err(|e| failed(dir, e))?;
    let malformed = |source| FetchError::Malformed {
        package: bundle.label.clone(),
        source,
    };
    (&bundle.file).seek(SeekFrom::Start(0)).map_err(malformed)?;
    let mut decoder = zstd::Decoder::with_buffer(BufReader::new(&bundle.file)).map_err(malformed)?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(malformed)?;
    let mut unpacking = Unpacking {
        package: &bundle.label,
        target: target.path(),
        top: None,
        directories: HashSet::new(),
        entries: 0,
        links: BTreeMap::new(),
    };
    unpacking.read(Archive::new(decoder.take(TOTAL_MAX_BYTES)))?;
    unpacking.make_links()?;
    if !target.path().join("dkms.conf").is_file() {
        return Err(unpacking.unsafe_entry(Path::new("dkms.conf"), "is missing"));
    }
    Ok(SourceTree { dir: target })
}

struct Unpacking<'a> {
    package: &'a str,
    target: &'a Path,
    /// The one directory at the top of the archive.
    top: Option<PathBuf>,
    /// The directories that were made.
    directories: HashSet<PathBuf>,
    /// How many entries there are by now.
    entries: usize,
    /// Links still to be made, and where they lead.
    links: BTreeMap<PathBuf, PathBuf>,
}

impl Unpacking<'_> {
    fn read(&mut self, mut archive: Archive<impl Read>) -> Result<(), FetchError> {
        let mut long_name: Option<Vec<u8>> = None;
        let mut long_link: Option<Vec<u8>> = None;
        // Raw, because the library would read long names into memory at whatever length they claim.
        let entries = archive.entries().map_err(|e| self.malformed(e))?.raw(true);
        for entry in entries {
            let mut entry = entry.map_err(|e| self.malformed(e))?;
            let path = PathBuf::from(std::ffi::OsStr::from_bytes(&match &long_name {
                Some(name) => name.clone(),
                None => entry.path_bytes().into_owned(),
            }));
            self.count(&path)?;
            match entry.header().entry_type() {
                EntryType::GNULongName => long_name = Some(self.extension(&mut entry)?),
                EntryType::GNULongLink => long_link = Some(self.extension(&mut entry)?),
                EntryType::XHeader => {
                    let records = self.extension(&mut entry)?;
                    for record in tar::PaxExtensions::new(&records) {
                        let record = record.map_err(|e| self.malformed(e))?;
                        match record.key_bytes() {
                            b"path" => long_name = Some(record.value_bytes().to_vec()),
                            b"linkpath" => long_link = Some(record.value_bytes().to_vec()),
                            b"size" => return Err(self.unsafe_entry(&path, "has a size beyond all limits")),
                            _ => {}
                        }
                    }
                }
                EntryType::XGlobalHeader => drop(self.extension(&mut entry)?),
                kind => {
                    let link = match long_link.take() {
                        Some(link) => Some(link),
                        None => entry.link_name_bytes().map(|link| link.into_owned()),
                    };
                    self.entry(kind, &path, link.as_deref(), &mut entry)?;
                    long_name = None;
                }
            }
        }
        Ok(())
    }

    /// The content of an entry that describes the next one.
    fn extension(&self, entry: &mut Entry<'_, impl Read>) -> Result<Vec<u8>, FetchError> {
        let mut bytes = Vec::new();
        entry
            .take(64 << 10)
            .read_to_end(&mut bytes)
            .map_err(|e| self.malformed(e))?;
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        Ok(bytes)
    }

    fn entry(
        &mut self,
        kind: EntryType,
        path: &Path,
        link: Option<&[u8]>,
        entry: &mut Entry<'_, impl Read>,
    ) -> Result<(), FetchError> {
        let Some(inside) = self.inside(path)? else {
            return match kind {
                EntryType::Directory => Ok(()),
                _ => Err(self.unsafe_entry(path, "is not in the one directory of the bundle")),
            };
        };
        let place = self.target.join(&inside);
        match kind {
            EntryType::Directory => self.make_directory(&inside),
            EntryType::Regular | EntryType::Continuous => self.file(&inside, path, entry),
            EntryType::Link => {
                let source = Path::new(std::ffi::OsStr::from_bytes(link.unwrap_or_default()));
                let source = match self.inside(source)? {
                    Some(source) => self.target.join(source),
                    None => return Err(self.unsafe_entry(path, "is a link that leads out")),
                };
                self.make_parent(&inside)?;
                fs::hard_link(&source, &place).map_err(|e| match e.kind() {
                    io::ErrorKind::NotFound => self.unsafe_entry(path, "is a link to nothing"),
                    io::ErrorKind::AlreadyExists => self.unsafe_entry(path, "is there twice"),
                    _ => self.io(&place, e),
                })
            }
            EntryType::Symlink => {
                let target = PathBuf::from(std::ffi::OsStr::from_bytes(link.unwrap_or_default()));
                if !stays_inside(&inside, &target) {
                    return Err(self.unsafe_entry(path, "is a link that leads out"));
                }
                match self.links.insert(inside, target) {
                    None => Ok(()),
                    Some(_) => Err(self.unsafe_entry(path, "is there twice")),
                }
            }
            _ => Err(self.unsafe_entry(path, "is neither file, directory nor link")),
        }
    }

    fn file(&mut self, inside: &Path, path: &Path, entry: &mut Entry<'_, impl Read>) -> Result<(), FetchError> {
        self.make_parent(inside)?;
        let place = &self.target.join(inside);
        let executable = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(if executable { 0o755 } else { 0o644 })
            .open(place)
            .map_err(|e| match e.kind() {
                io::ErrorKind::AlreadyExists => self.unsafe_entry(path, "is there twice"),
                _ => self.io(place, e),
            })?;
        let expected = entry.size();
        let copied = copy(entry, &mut file).map_err(|failure| match failure {
            Failure::Reading(e) => self.malformed(e),
            Failure::Writing(e) => self.io(place, e),
        })?;
        if copied != expected {
            return Err(self.malformed(io::ErrorKind::UnexpectedEof.into()));
        }
        // make compares times: generated files must not seem older than what they were made from.
        let time =
            SystemTime::UNIX_EPOCH + Duration::from_secs(entry.header().mtime().unwrap_or(0).min(u32::MAX.into()));
        file.set_modified(time).map_err(|e| self.io(place, e))
    }

    fn make_links(&mut self) -> Result<(), FetchError> {
        let links = std::mem::take(&mut self.links);
        for (inside, target) in &links {
            let place = self.target.join(inside);
            // Directories only: a link among the parents, made a moment ago, would be followed.
            let parents = inside.ancestors().skip(1);
            if parents.into_iter().any(|parent| links.contains_key(parent)) {
                return Err(self.unsafe_entry(inside, "is below a link"));
            }
            self.make_parent(inside)?;
            symlink(target, &place).map_err(|e| match e.kind() {
                io::ErrorKind::AlreadyExists => self.unsafe_entry(inside, "is there twice"),
                _ => self.io(&place, e),
            })?;
        }
        Ok(())
    }

    /// The path without the bundle's one directory; `None` for that directory itself.
    fn inside(&mut self, path: &Path) -> Result<Option<PathBuf>, FetchError> {
        let bytes = path.as_os_str().as_bytes();
        if bytes.is_empty() || bytes.len() > PATH_MAX_BYTES || bytes.contains(&0) {
            return Err(self.unsafe_entry(path, "is no path"));
        }
        let mut parts = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(part) => parts.push(part),
                Component::CurDir => {}
                _ => return Err(self.unsafe_entry(path, "leads out of the bundle")),
            }
        }
        let Some((top, rest)) = parts.split_first() else {
            return Ok(None);
        };
        let known = self.top.get_or_insert_with(|| PathBuf::from(top));
        if known.as_os_str() != *top {
            return Err(self.unsafe_entry(path, "is not in the one directory of the bundle"));
        }
        if rest.len() > DEPTH_MAX {
            return Err(self.unsafe_entry(path, "lies in too many directories"));
        }
        Ok((!rest.is_empty()).then(|| rest.iter().collect()))
    }

    fn make_parent(&mut self, inside: &Path) -> Result<(), FetchError> {
        inside.parent().map_or(Ok(()), |parent| self.make_directory(parent))
    }

    /// Makes a directory and those that it lies in, each of which counts as an entry.
    fn make_directory(&mut self, inside: &Path) -> Result<(), FetchError> {
        let is_missing = |dir: &&Path| !dir.as_os_str().is_empty() && !self.directories.contains(*dir);
        let missing: Vec<&Path> = inside.ancestors().take_while(is_missing).collect();
        for dir in missing.into_iter().rev() {
            self.count(dir)?;
            if self.directories.len() >= DIRECTORIES_MAX {
                return Err(self.unsafe_entry(dir, "is one directory too many"));
            }
            let place = self.target.join(dir);
            fs::create_dir(&place).map_err(|e| match e.kind() {
                io::ErrorKind::AlreadyExists => self.unsafe_entry(dir, "is there twice"),
                _ => self.io(&place, e),
            })?;
            self.directories.insert(dir.to_owned());
        }
        Ok(())
    }

    /// Counts an entry.
    fn count(&mut self, path: &Path) -> Result<(), FetchError> {
        self.entries += 1;
        if self.entries > ENTRIES_MAX {
            return Err(self.unsafe_entry(path, "is one file too many"));
        }
        Ok(())
    }

    fn unsafe_entry(&self, path: &Path, why: &'static str) -> FetchError {
        FetchError::Unsafe {
            package: self.package.to_owned(),
            entry: path.display().to_string().chars().take(200).collect(),
            why,
        }
    }

    fn malformed(&self, source: io::Error) -> FetchError {
        FetchError::Malformed {
            package: self.package.to_owned(),
            source,
        }
    }

    fn io(&self, path: &Path, source: io::Error) -> FetchError {
        FetchError::Io {
            package: self.package.to_owned(),
            path: path.to_owned(),
            source,
        }
    }
}

/// Whether a link at `link` (below the bundle's directory) that leads to `target` stays in that directory.
fn stays_inside(link: &Path, target: &Path) -> bool {
    let above = link.components().count().saturating_sub(1);
    let ups = target.components().take_while(|c| *c == Component::ParentDir).count();
    let rest_is_plain = target
        .components()
        .skip(ups)
        .all(|c| matches!(c, Component::Normal(_)) || c == Component::CurDir);
    let bytes = target.as_os_str().as_bytes();
    !bytes.is_empty() && bytes.len() <= PATH_MAX_BYTES && !bytes.contains(&0) && ups <= above && rest_is_plain
}

/// Which side of a copy failed.
enum Failure {
    Reading(io::Error),
    Writing(io::Error),
}

fn copy(from: &mut impl Read, to: &mut File) -> Result<u64, Failure> {
    let mut buffer = vec![0; 64 << 10];
    let mut copied = 0;
    loop {
        match from.read(&mut buffer).map_err(Failure::Reading)? {
            0 => return Ok(copied),
            n => {
                to.write_all(&buffer[..n]).map_err(Failure::Writing)?;
                copied += n as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests;
