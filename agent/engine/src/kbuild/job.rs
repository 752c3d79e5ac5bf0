//! What the steps of one build share.

use std::fs;
use std::io;
use std::path::Path;

use super::error::BuildError;
use super::sign::Signers;
use super::{BuildOptions, BuildRequest};
use crate::event::{Event, Sink, Step};
use crate::package::KernelId;
use crate::tree::{BuildKey, Tree};

/// The most of a log that is looked at for a cause.
const MAX_LOG_LEN: usize = 8 << 20;

/// One build while it runs.
pub(super) struct Job<'a> {
    pub(super) tree: &'a Tree,
    pub(super) request: &'a BuildRequest,
    pub(super) kernel: KernelId,
    pub(super) options: &'a BuildOptions,
    pub(super) signers: &'a Signers<'a>,
    pub(super) client: &'a jobserver::Client,
    pub(super) sink: &'a dyn Sink,
    /// The log, kept in memory once the workspace is gone.
    pub(super) log: Option<String>,
    /// What the build is made from, once that is known.
    pub(super) key: Option<BuildKey>,
}

impl Job<'_> {
    /// Reports that a step begins.
    pub(super) fn step(&self, step: Step, detail: &str) {
        let subject = self.request.package.subject(Some(&self.kernel));
        self.sink.emit(Event::Started {
            subject,
            step,
            detail: detail.to_owned(),
        });
    }
}

/// The log at `path`, cut to its end where it is long.
pub(super) fn read_log(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let start = bytes.len().saturating_sub(MAX_LOG_LEN);
    String::from_utf8_lossy(&bytes[start..]).into_owned()
}

/// A [`BuildError::Io`] about `path`.
pub(super) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BuildError {
    let path = path.to_owned();
    move |source| BuildError::Io { what, path, source }
}
