//! Decompression by content, not by file name, and never beyond a limit.

use std::io::{self, Read};

use super::error::Problem;

/// The largest window or dictionary a stream may ask the decoder to hold, in bytes (as a power of two).
const MEMORY_LOG2: u32 = 27;

/// `packed` as a plain stream, whatever it is compressed with, cut with an error after `limit` bytes.
pub(crate) fn open<'a>(packed: &'a [u8], limit: u64) -> Result<impl Read + 'a, Problem> {
    let malformed = |error: io::Error| Problem::Malformed(error.to_string());
    let stream: Box<dyn Read + 'a> = match packed {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(packed)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            let stream = liblzma::stream::Stream::new_stream_decoder(1 << MEMORY_LOG2, liblzma::stream::CONCATENATED)
                .map_err(|e| malformed(e.into()))?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(packed, stream))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(malformed)?;
            decoder.window_log_max(MEMORY_LOG2).map_err(malformed)?;
            Box::new(decoder)
        }
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::read::MultiBzDecoder::new(packed)),
        _ => Box::new(packed),
    };
    Ok(Bounded { stream, left: limit })
}

/// All of a compressed file, of at most `limit` bytes.
pub(super) fn whole(packed: &[u8], limit: u64) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let mut stream = open(packed, limit)?;
    stream.read_to_end(&mut bytes).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => Problem::TooLarge(limit),
        _ => Problem::Malformed(error.to_string()),
    })?;
    Ok(bytes)
}

/// A reader that fails, instead of ending quietly, when more than `left` bytes come.
struct Bounded<R> {
    stream: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.left = self
            .left
            .checked_sub(count as u64)
            .ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, "it unpacks to more than is allowed"))?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(packed: &[u8], limit: u64) -> Result<Vec<u8>, io::ErrorKind> {
        let mut bytes = Vec::new();
        open(packed, limit)
            .unwrap()
            .read_to_end(&mut bytes)
            .map_err(|e| e.kind())?;
        Ok(bytes)
    }

    #[test]
    fn every_packing_opens_and_is_bounded() {
        let text = vec![b'x'; 100_000];
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(&text).unwrap();
        let mut bz = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
        bz.write_all(&text).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
        xz.write_all(&text).unwrap();
        let packings = [
            text.clone(),
            gz.finish().unwrap(),
            bz.finish().unwrap(),
            xz.finish().unwrap(),
            zstd::encode_all(text.as_slice(), 3).unwrap(),
        ];
        for packed in packings {
            assert_eq!(read(&packed, 100_000).as_ref(), Ok(&text));
            assert_eq!(read(&packed, 99_999), Err(io::ErrorKind::FileTooLarge));
        }
    }
}
