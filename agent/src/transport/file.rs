//! `file://` mirrors: the same tree on a disk, a stick or a DVD.

use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;
use url::Url;

use super::error::{TransportError, shown};
use super::{Answer, Request, Sink};

pub(super) fn get(url: &Url, request: Request<'_>, sink: &mut dyn Sink) -> Result<Answer, TransportError> {
    let path = url.to_file_path().map_err(|()| TransportError::Protocol {
        url: shown(url),
        why: "a file:// address has no host".to_owned(),
    })?;
    let failed = |source| TransportError::File {
        path: path.clone(),
        source,
    };
    // Without O_NONBLOCK, opening a FIFO on a stick would block for ever.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(&path);
    let mut file = match opened {
        Ok(file) => file,
        // A missing file means that the repository does not have it only if the medium itself is there.
        Err(e) if e.kind() == io::ErrorKind::NotFound && medium_is_there(&path, request.path) => {
            return Ok(Answer::NotFound);
        }
        Err(e) => return Err(failed(e)),
    };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        )));
    }
    if metadata.len() > request.max_bytes {
        return Err(TransportError::TooBig {
            url: shown(url),
            max_bytes: request.max_bytes,
        });
    }
    let write = |source| TransportError::Write {
        url: shown(url),
        source,
    };
    let at = if request.resume && sink.held() <= metadata.len() {
        sink.held()
    } else {
        0
    };
    sink.start(at).map_err(write)?;
    file.seek(SeekFrom::Start(at)).map_err(failed)?;
    let mut rest = file.take(request.max_bytes - at);
    let mut buffer = vec![0; 64 << 10];
    loop {
        match rest.read(&mut buffer).map_err(failed)? {
            0 => return Ok(Answer::Body { etag: None }),
            n => sink.write(&buffer[..n]).map_err(write)?,
        }
    }
}

/// Whether the directory of the mirror itself exists.
fn medium_is_there(path: &std::path::Path, below: &str) -> bool {
    path.ancestors()
        .nth(below.split('/').count())
        .is_some_and(std::path::Path::is_dir)
}
