//! `file://` mirrors: the same tree on a disk, a stick or a DVD.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::fs::OFlags;
use url::Url;

use super::error::{TransportError, shown};
use super::{Answer, Request, Sink};

/// A file of a repository, open.
pub(super) struct Opened {
    url: Url,
    path: PathBuf,
    file: File,
    /// Where the part begins that is wanted.
    at: u64,
    max_bytes: u64,
}

/// Opens the file, of which `held` bytes are there; `None` where the repository does not have it.
pub(super) fn open(url: &Url, request: Request<'_>, held: u64) -> Result<Option<Opened>, TransportError> {
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
    let file = match opened {
        Ok(file) => file,
        // A missing file means that the repository does not have it only if the medium itself is there.
        Err(e) if e.kind() == io::ErrorKind::NotFound && medium_is_there(&path, request.path) => {
            return Ok(None);
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
    let at = if request.resume && held <= metadata.len() {
        held
    } else {
        0
    };
    Ok(Some(Opened {
        url: url.clone(),
        path,
        file,
        at,
        max_bytes: request.max_bytes,
    }))
}

impl Opened {
    /// Copies it into the sink.
    pub(super) fn copy(mut self, sink: &mut dyn Sink) -> Result<Answer, TransportError> {
        let failed = |source| TransportError::File {
            path: self.path.clone(),
            source,
        };
        let write = |source| TransportError::Write {
            url: shown(&self.url),
            source,
        };
        sink.start(self.at).map_err(write)?;
        self.file.seek(SeekFrom::Start(self.at)).map_err(failed)?;
        let mut rest = self.file.take(self.max_bytes.saturating_sub(self.at));
        let mut buffer = vec![0; 64 << 10];
        loop {
            match rest.read(&mut buffer).map_err(failed)? {
                0 => return Ok(Answer::Body { etag: None }),
                n => sink.write(&buffer[..n]).map_err(write)?,
            }
        }
    }
}

/// Whether the directory of the mirror itself exists.
fn medium_is_there(path: &std::path::Path, below: &str) -> bool {
    path.ancestors()
        .nth(below.split('/').count())
        .is_some_and(std::path::Path::is_dir)
}
