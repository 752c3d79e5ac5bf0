//! Reads a tarball.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use super::error::{TarballError, io_error};
use super::layout::{BINARIES_ONLY, BUILT, SOURCE};
use crate::package::KernelId;

/// The most that a tarball may unpack to. The largest real source (nvidia's) has 0.2 GB.
const MAX_UNPACKED_LEN: u64 = 8 << 30;

/// The most files in a tarball.
const MAX_ENTRIES: usize = 500_000;

/// Unpacks a tarball of any of these compressions, detected by its first bytes, into the empty directory `to`.
///
/// Names and links that lead outside, devices, and archives over a limit are refused; nothing is written outside `to`.
///
/// # Errors
/// [`TarballError`]; what was unpacked so far is left in `to`.
pub fn unpack(path: &Path, to: &Path) -> Result<(), TarballError> {
    if !path.exists() {
        return Err(TarballError::Missing(path.to_owned()));
    }
    let file = File::open(path).map_err(io_error("read", path))?;
    let reader = decompressor(file).map_err(io_error("read", path))?;
    let mut tar = tar::Archive::new(reader.take(MAX_UNPACKED_LEN));
    tar.set_preserve_permissions(true);
    tar.set_preserve_mtime(true);
    let entries = tar.entries().map_err(io_error("read", path))?;
    for (index, entry) in entries.enumerate() {
        let mut entry = entry.map_err(io_error("read", path))?;
        let name = entry.path().map_err(io_error("read", path))?.into_owned();
        let refuse = |why| {
            Err(TarballError::Unsafe {
                path: path.to_owned(),
                entry: name.display().to_string(),
                why,
            })
        };
        if index >= MAX_ENTRIES {
            return refuse("is one entry too many");
        }
        let kind = entry.header().entry_type();
        let link = entry
            .link_name()
            .map_err(io_error("read", path))?
            .map(|link| link.into_owned());
        if !stays_inside(&name) {
            return refuse("would be written outside");
        }
        match (kind, link) {
            (tar::EntryType::Symlink, Some(link)) => {
                let from = name.parent().unwrap_or(Path::new(""));
                if link.is_absolute() || !stays_inside(&from.join(&link)) {
                    return refuse("is a link that leads outside");
                }
            }
            (tar::EntryType::Link, Some(link)) if stays_inside(&link) => {}
            (tar::EntryType::Link | tar::EntryType::Symlink, _) => return refuse("is a link that leads outside"),
            (tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::Directory, _) => {}
            (tar::EntryType::XGlobalHeader, _) => continue,
            _ => return refuse("is no file, directory or link"),
        }
        // `unpack_in` also looks whether a link that was unpacked before leads this name outside.
        if !entry.unpack_in(to).map_err(io_error("unpack", path))? {
            return refuse("would be written outside");
        }
    }
    Ok(())
}

/// True for a relative path that never leads above its beginning.
fn stays_inside(path: &Path) -> bool {
    let mut depth = 0_usize;
    for part in path.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return false,
            },
            Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

fn decompressor(file: File) -> io::Result<Box<dyn Read>> {
    use io::BufRead;
    let mut file = BufReader::new(file);
    let magic = file.fill_buf()?;
    Ok(match magic {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(file)),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::read::MultiBzDecoder::new(file)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Box::new(liblzma::read::XzDecoder::new_multi_decoder(file)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::with_buffer(file)?),
        _ => Box::new(file),
    })
}

/// The contents of an unpacked tarball.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// The directory with the dkms.conf.
    pub conf_dir: PathBuf,
    /// False when there is only a dkms.conf.
    pub has_source: bool,
    /// The builds in it.
    pub built: Vec<(KernelId, PathBuf)>,
}

/// Finds the parts of a tarball unpacked to `dir`: dkms's own layout, or any directory with a dkms.conf.
///
/// # Errors
/// [`TarballError::NotDkms`], about `path`.
pub fn examine(path: &Path, dir: &Path) -> Result<Unpacked, TarballError> {
    for (name, has_source) in [(SOURCE, true), (BINARIES_ONLY, false)] {
        let conf_dir = dir.join(name);
        if conf_dir.join("dkms.conf").is_file() {
            return Ok(Unpacked {
                conf_dir,
                has_source,
                built: builds(&dir.join(BUILT)),
            });
        }
    }
    let confs = walkdir::WalkDir::new(dir)
        .max_depth(4)
        .sort_by_file_name()
        .into_iter()
        .flatten();
    let conf = confs
        .filter(|entry| entry.file_type().is_file() && entry.file_name() == "dkms.conf")
        .min_by_key(walkdir::DirEntry::depth);
    match conf.as_ref().and_then(|entry| entry.path().parent()) {
        Some(conf_dir) => Ok(Unpacked {
            conf_dir: conf_dir.to_owned(),
            has_source: true,
            built: Vec::new(),
        }),
        None => Err(TarballError::NotDkms(path.to_owned())),
    }
}

fn builds(dir: &Path) -> Vec<(KernelId, PathBuf)> {
    let found = walkdir::WalkDir::new(dir)
        .min_depth(2)
        .max_depth(2)
        .sort_by_file_name()
        .into_iter()
        .flatten();
    found
        .filter(|entry| entry.file_type().is_dir())
        .filter_map(|entry| {
            let release = entry.path().parent()?.file_name()?.to_str()?.to_owned();
            Some((KernelId::new(&release, entry.file_name().to_str()?)?, entry.into_path()))
        })
        .collect()
}
