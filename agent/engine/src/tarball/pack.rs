//! Writes a tarball.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::error::{TarballError, io_error};
use super::layout::{BINARIES_ONLY, BUILT, SOURCE};
use crate::package::{DkmsId, KernelId};

/// The contents of a tarball that is to be written.
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

/// Writes a tarball; its suffix picks the compressor (`.gz` `.tgz` `.bz2` `.xz` `.zst`, else none). The file appears when it is complete.
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

/// A writer with a trailer, such as a compressor.
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
