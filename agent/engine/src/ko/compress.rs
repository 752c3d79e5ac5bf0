//! The compressions that kernels load modules in.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use liblzma::stream::{Check, Filters, LzmaOptions, Stream};

use super::options::{CompressOptions, XzCheck};

/// A compression, by the suffix of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// `.ko`
    None,
    /// `.ko.gz`
    Gzip,
    /// `.ko.xz`
    Xz,
    /// `.ko.zst`
    Zstd,
}

impl Compression {
    /// The compression of a suffix such as `.xz`; anything else is none.
    pub fn from_suffix(suffix: &str) -> Compression {
        match suffix {
            ".gz" => Compression::Gzip,
            ".xz" => Compression::Xz,
            ".zst" => Compression::Zstd,
            _ => Compression::None,
        }
    }

    /// What a file of it is called after `.ko`.
    pub fn suffix(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Xz => ".xz",
            Compression::Zstd => ".zst",
        }
    }

    fn of(path: &Path) -> Compression {
        match path.extension().and_then(|e| e.to_str()) {
            Some("gz") => Compression::Gzip,
            Some("xz") => Compression::Xz,
            Some("zst") => Compression::Zstd,
            _ => Compression::None,
        }
    }
}

/// Reads the file `path`, decompressed by its suffix, at most `limit_len` bytes.
///
/// # Errors
/// When it cannot be read, is damaged, or holds more than allowed.
pub fn decompress(path: &Path, limit_len: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut reader: Box<dyn Read> = match Compression::of(path) {
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(file)),
        Compression::Xz => Box::new(liblzma::read::XzDecoder::new_multi_decoder(file)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(file)?),
    };
    let mut bytes = Vec::new();
    reader.by_ref().take(limit_len).read_to_end(&mut bytes)?;
    if reader.read(&mut [0])? != 0 {
        return Err(io::Error::other(format!("it holds more than {limit_len} bytes")));
    }
    Ok(bytes)
}

/// Compresses a module, by default in the way that the kernel's own decompressor reads.
///
/// # Errors
/// When the compressor fails.
pub fn compress(bytes: &[u8], compression: Compression, options: &CompressOptions) -> io::Result<Vec<u8>> {
    match compression {
        Compression::None => Ok(bytes.to_vec()),
        Compression::Gzip => {
            let level = flate2::Compression::new(options.gzip_level);
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(bytes)?;
            encoder.finish()
        }
        Compression::Xz => {
            let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), xz_stream(options)?);
            encoder.write_all(bytes)?;
            encoder.finish()
        }
        Compression::Zstd => zstd::stream::encode_all(bytes, options.zstd_level),
    }
}

fn xz_stream(options: &CompressOptions) -> Result<Stream, liblzma::stream::Error> {
    // LZMA_PRESET_EXTREME of lzma/container.h.
    let extreme = if options.xz_extreme { 1 << 31 } else { 0 };
    let mut lzma = LzmaOptions::new_preset(options.xz_level | extreme)?;
    lzma.dict_size(options.xz_dict_len);
    let mut filters = Filters::new();
    filters.lzma2(&lzma);
    let check = match options.xz_check {
        XzCheck::None => Check::None,
        XzCheck::Crc32 => Check::Crc32,
        XzCheck::Crc64 => Check::Crc64,
        XzCheck::Sha256 => Check::Sha256,
    };
    Stream::new_stream_encoder(&filters, check)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(compression: Compression, options: &CompressOptions) -> Vec<u8> {
        let dir = tempfile::tempdir().expect("temp dir");
        let text = b"module ".repeat(1000);
        let path = dir.path().join(format!("a.ko{}", compression.suffix()));
        let packed = compress(&text, compression, options).expect("compresses");
        std::fs::write(&path, &packed).expect("writes");
        assert_eq!(decompress(&path, 7000).expect("reads"), text, "{compression:?}");
        assert!(decompress(&path, 6999).is_err(), "{compression:?} over its limit");
        packed
    }

    #[test]
    fn round_trips() {
        let (hard, _) = CompressOptions::read("-1", "-9e --check=sha256 --lzma2=dict=4KiB", "--ultra -22");
        for compression in [Compression::None, Compression::Gzip, Compression::Xz, Compression::Zstd] {
            for options in [&CompressOptions::default(), &hard] {
                check(compression, options);
            }
        }
        // The stream flags of an xz file name its check: The .xz File Format, 2.1.1.2.
        assert_eq!(check(Compression::Xz, &CompressOptions::default())[7], 1);
        assert_eq!(check(Compression::Xz, &hard)[7], 10);
    }
}
