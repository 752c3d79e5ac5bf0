//! The compressions that kernels load modules in.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

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

/// Compresses a module in the way that the kernel's own decompressor reads: xz with CRC32 and a dictionary of 1 MiB.
///
/// # Errors
/// When the compressor fails.
pub fn compress(bytes: &[u8], compression: Compression) -> io::Result<Vec<u8>> {
    match compression {
        Compression::None => Ok(bytes.to_vec()),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(bytes)?;
            encoder.finish()
        }
        Compression::Xz => {
            let mut options = liblzma::stream::LzmaOptions::new_preset(6)?;
            options.dict_size(1 << 20);
            let mut filters = liblzma::stream::Filters::new();
            filters.lzma2(&options);
            let stream = liblzma::stream::Stream::new_stream_encoder(&filters, liblzma::stream::Check::Crc32)?;
            let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
            encoder.write_all(bytes)?;
            encoder.finish()
        }
        Compression::Zstd => zstd::stream::encode_all(bytes, 3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        let dir = tempfile::tempdir().expect("temp dir");
        let text = b"module ".repeat(1000);
        for compression in [Compression::None, Compression::Gzip, Compression::Xz, Compression::Zstd] {
            let path = dir.path().join(format!("a.ko{}", compression.suffix()));
            std::fs::write(&path, compress(&text, compression).expect("compresses")).expect("writes");
            assert_eq!(decompress(&path, 7000).expect("reads"), text, "{compression:?}");
            assert!(decompress(&path, 6999).is_err(), "{compression:?} over its limit");
        }
    }
}
