//! `mktarball` and `ldtarball`: a package with what was built of it, in one file.
//!
//! The layout is upstream's: `dkms_source_tree/` with the source, or `dkms_binaries_only/` with the dkms.conf alone, and
//! `dkms_main_tree/K/A/` with `log/` and `module/` of each kernel.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Component, Path, PathBuf};

use crate::package::{DkmsId, KernelId};

/// The source, with its dkms.conf.
pub const SOURCE: &str = "dkms_source_tree";
/// A dkms.conf without source.
pub const BINARIES_ONLY: &str = "dkms_binaries_only";
/// What was built.
pub const BUILT: &str = "dkms_main_tree";

/// The most that a tarball may unpack to. The largest real source (nvidia's) has 0.2 GB.
const MAX_UNPACKED_LEN: u64 = 8 << 30;

/// The most files in a tarball.
const MAX_ENTRIES: usize = 500_000;

/// Why a tarball was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum TarballError {
    /// It is not there.
    #[error("the tarball {} does not exist", .0.display())]
    Missing(PathBuf),
    /// It cannot be read or written.
    #[error("cannot {what} {}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// An entry that must not be unpacked.
    #[error("{} cannot be unpacked: {entry:?} {why}", .path.display())]
    Unsafe {
        /// The tarball.
        path: PathBuf,
        /// The entry's name.
        entry: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Nothing in it that dkms knows.
    #[error("there is no dkms.conf in the tarball {}", .0.display())]
    NotDkms(PathBuf),
}

impl TarballError {
    /// The way out.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing(path) => Some(format!("ls -l {}", path.display())),
            Self::Io { source, path, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some(format!("df {}", path.parent().unwrap_or(path).display()))
            }
            Self::Io { .. } => None,
            Self::Unsafe { path, .. } | Self::NotDkms(path) => Some(format!("tar -tvf {}", path.display())),
        }
    }
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TarballError {
    let path = path.to_owned();
    move |source| TarballError::Io { what, path, source }
}

/// What goes into a tarball.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The package.
    pub package: DkmsId,
    /// Its source directory; None packs only the dkms.conf of `conf`.
    pub source: Option<PathBuf>,
    /// Its dkms.conf.
    pub conf: PathBuf,
    /// The directory of each build.
    pub built: Vec<(KernelId, PathBuf)>,
}

/// The name upstream gives a tarball: `M-V-kernelK-A….dkms.tar.gz`.
pub fn default_name(package: &DkmsId, kernels: &[KernelId]) -> String {
    let kernels: Vec<String> = kernels
        .iter()
        .map(|kernel| format!("kernel{}-{}", kernel.release, kernel.arch))
        .collect();
    let kernels = match kernels.join("-") {
        none if none.is_empty() => "source-only".to_owned(),
        long if long.len() > 200 => "manykernels".to_owned(),
        names => names,
    };
    format!("{}-{kernels}.dkms.tar.gz", package.dashed())
}

/// Writes a tarball; its suffix picks the compressor (`.gz` `.tgz` `.bz2` `.xz` `.zst`, else none). It appears whole or not.
///
/// # Errors
/// When something cannot be read, or `to` cannot be written.
pub fn pack(contents: &Contents, to: &Path) -> Result<(), TarballError> {
    let dir = to
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let temporary = dkms_support::temporary_in(dir, ".dkms-tarball-", 0o644).map_err(io_error("write in", dir))?;
    let file = temporary.as_file().try_clone().map_err(io_error("write", to))?;
    let written = compressor(to, BufWriter::new(file)).and_then(|writer| write_entries(contents, writer));
    written.map_err(io_error("write", to))?;
    dkms_support::persist(temporary, to).map_err(io_error("write", to))
}

fn write_entries(contents: &Contents, writer: Box<dyn Finish>) -> io::Result<()> {
    let mut tar = tar::Builder::new(writer);
    tar.follow_symlinks(false);
    match &contents.source {
        Some(source) => tar.append_dir_all(SOURCE, source)?,
        None => {
            for (name, text) in [
                ("PACKAGE_NAME", &contents.package.module),
                ("PACKAGE_VERSION", &contents.package.version),
            ] {
                let text = format!("{text}\n");
                let mut header = tar::Header::new_gnu();
                header.set_size(text.len() as u64);
                header.set_mode(0o644);
                tar.append_data(&mut header, format!("{BINARIES_ONLY}/{name}"), text.as_bytes())?;
            }
            tar.append_path_with_name(&contents.conf, format!("{BINARIES_ONLY}/dkms.conf"))?;
        }
    }
    for (kernel, dir) in &contents.built {
        tar.append_dir_all(Path::new(BUILT).join(&kernel.release).join(&kernel.arch), dir)?;
    }
    tar.into_inner()?.finish()
}

/// A writer that has an end to write.
trait Finish: Write {
    fn finish(self: Box<Self>) -> io::Result<()>;
}

impl Finish for BufWriter<File> {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.flush()
    }
}
impl<W: Write> Finish for flate2::write::GzEncoder<W> {
    fn finish(self: Box<Self>) -> io::Result<()> {
        flate2::write::GzEncoder::finish(*self)?.flush()
    }
}
impl<W: Write> Finish for bzip2::write::BzEncoder<W> {
    fn finish(self: Box<Self>) -> io::Result<()> {
        bzip2::write::BzEncoder::finish(*self)?.flush()
    }
}
impl<W: Write> Finish for liblzma::write::XzEncoder<W> {
    fn finish(self: Box<Self>) -> io::Result<()> {
        liblzma::write::XzEncoder::finish(*self)?.flush()
    }
}
impl<W: Write> Finish for zstd::Encoder<'static, W> {
    fn finish(self: Box<Self>) -> io::Result<()> {
        zstd::Encoder::finish(*self)?.flush()
    }
}

fn compressor(to: &Path, file: BufWriter<File>) -> io::Result<Box<dyn Finish>> {
    let suffix = to.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default();
    Ok(match suffix {
        "gz" | "tgz" => Box::new(flate2::write::GzEncoder::new(file, flate2::Compression::default())),
        "bz2" | "tbz" => Box::new(bzip2::write::BzEncoder::new(file, bzip2::Compression::default())),
        "xz" | "txz" => Box::new(liblzma::write::XzEncoder::new(file, 6)),
        "zst" => Box::new(zstd::Encoder::new(file, 0)?),
        _ => Box::new(file),
    })
}

/// Unpacks a tarball of any of these compressions, told by its first bytes, into the empty directory `to`.
///
/// Hostile names, links that leave, devices and bombs are refused; nothing is written outside `to`.
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

/// True for a relative path that never climbs above where it begins.
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

/// What lies in an unpacked tarball.
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn package() -> DkmsId {
        DkmsId {
            module: "m".into(),
            version: "1".into(),
        }
    }

    fn kernel(release: &str) -> KernelId {
        KernelId {
            release: release.into(),
            arch: "x86_64".into(),
        }
    }

    #[test]
    fn names() {
        let check = |kernels: &[KernelId], expected: &str| assert_eq!(default_name(&package(), kernels), expected);
        check(&[], "m-1-source-only.dkms.tar.gz");
        check(
            &[kernel("6.1"), kernel("6.2")],
            "m-1-kernel6.1-x86_64-kernel6.2-x86_64.dkms.tar.gz",
        );
        check(&vec![kernel("6.1"); 20], "m-1-manykernels.dkms.tar.gz");
    }

    #[test]
    fn what_is_packed_is_unpacked_with_every_compressor() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (source, built) = (dir.path().join("source"), dir.path().join("built"));
        for (path, text) in [(source.join("dkms.conf"), "conf"), (built.join("module/m.ko"), "ko")] {
            fs::create_dir_all(path.parent().expect("parent")).expect("dir");
            fs::write(path, text).expect("file");
        }
        let conf = source.join("dkms.conf");
        let contents = Contents {
            package: package(),
            source: Some(source),
            conf,
            built: vec![(kernel("6.1"), built)],
        };
        for suffix in ["tar", "tar.gz", "tgz", "tar.bz2", "tar.xz", "tar.zst"] {
            for contents in [
                contents.clone(),
                Contents {
                    source: None,
                    ..contents.clone()
                },
            ] {
                let (tarball, to) = (
                    dir.path().join(format!("t.{suffix}")),
                    tempfile::tempdir().expect("temp dir"),
                );
                pack(&contents, &tarball).expect("pack");
                unpack(&tarball, to.path()).expect("unpack");
                let found = examine(&tarball, to.path()).expect("examine");
                assert_eq!(found.has_source, contents.source.is_some(), "{suffix}");
                assert_eq!(
                    fs::read_to_string(found.conf_dir.join("dkms.conf")).expect("conf"),
                    "conf"
                );
                let [(id, dir)] = found.built.as_slice() else {
                    panic!("{found:?}")
                };
                assert_eq!(
                    (id, fs::read_to_string(dir.join("module/m.ko")).expect("ko")),
                    (&kernel("6.1"), "ko".into())
                );
            }
        }
    }

    #[test]
    fn hostile_tarballs_write_nothing_outside() {
        let entry = |name: &str, kind: tar::EntryType, link: &str| {
            let mut header = tar::Header::new_gnu();
            header.as_gnu_mut().expect("gnu").name[..name.len()].copy_from_slice(name.as_bytes());
            header.as_gnu_mut().expect("gnu").linkname[..link.len()].copy_from_slice(link.as_bytes());
            header.set_entry_type(kind);
            header.set_mode(0o644);
            header.set_size(0);
            header.set_cksum();
            header
        };
        use tar::EntryType as Kind;
        for (name, kind, link) in [
            ("../x", Kind::Regular, ""),
            ("/x", Kind::Regular, ""),
            ("a/../../x", Kind::Regular, ""),
            ("l", Kind::Symlink, "/etc"),
            ("l", Kind::Symlink, "../x"),
            ("a/l", Kind::Symlink, "../../x"),
            ("l", Kind::Link, "/etc/passwd"),
            ("d", Kind::Char, ""),
            ("f", Kind::Fifo, ""),
        ] {
            let dir = tempfile::tempdir().expect("temp dir");
            let tarball = dir.path().join("t.tar");
            let mut tar = tar::Builder::new(File::create(&tarball).expect("file"));
            tar.append(&entry(name, kind, link), io::empty()).expect("entry");
            tar.finish().expect("tar");
            let to = dir.path().join("to");
            fs::create_dir(&to).expect("dir");
            let error = unpack(&tarball, &to).expect_err(name);
            assert!(matches!(error, TarballError::Unsafe { .. }), "{name}: {error}");
            assert_eq!(fs::read_dir(&to).expect("dir").count(), 0, "{name}");
        }
    }
}
