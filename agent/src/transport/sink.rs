//! Where a body is written: memory, or a file that a later run can resume.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

/// Takes a body as it arrives.
pub trait Sink: Send {
    /// How many bytes it holds already.
    fn held(&self) -> u64;

    /// A body begins at byte `at`; whatever is held beyond is dropped.
    ///
    /// # Errors
    /// The operating system's answer.
    fn start(&mut self, at: u64) -> io::Result<()>;

    /// The next bytes.
    ///
    /// # Errors
    /// The operating system's answer, such as a full disk.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
}

impl Sink for Vec<u8> {
    fn held(&self) -> u64 {
        self.len() as u64
    }

    fn start(&mut self, at: u64) -> io::Result<()> {
        self.truncate(usize::try_from(at).unwrap_or(usize::MAX));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// A partial download on disk.
pub struct PartFile<'a> {
    file: &'a mut File,
    held: u64,
    progress: &'a mut (dyn FnMut(u64) + Send),
}

impl std::fmt::Debug for PartFile<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartFile")
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

impl<'a> PartFile<'a> {
    /// Resumes at the end of `file`; `progress` is called with the number of bytes.
    ///
    /// # Errors
    /// The operating system's answer.
    pub fn new(file: &'a mut File, progress: &'a mut (dyn FnMut(u64) + Send)) -> io::Result<Self> {
        let held = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, held, progress })
    }
}

impl Sink for PartFile<'_> {
    fn held(&self) -> u64 {
        self.held
    }

    fn start(&mut self, at: u64) -> io::Result<()> {
        self.file.set_len(at)?;
        self.held = self.file.seek(SeekFrom::Start(at))?;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.held += bytes.len() as u64;
        (self.progress)(self.held);
        Ok(())
    }
}
