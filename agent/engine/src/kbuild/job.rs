//! The state that the steps of one build share.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::error::BuildError;
use super::queue::Alone;
use super::sign::Signers;
use super::{BuildOptions, BuildRequest};
use crate::command::Jobserver;
use crate::event::{Event, Sink, Step};
use crate::package::KernelId;
use crate::tree::{BuildKey, Tree, TreeLock};

/// The part of a log, from its end, that is searched for a cause.
const MAX_LOG_LEN: u64 = 8 << 20;

/// What the builds share that one worker carries out.
pub(super) struct Shared<'a> {
    pub(super) tree: &'a Tree,
    pub(super) lock: &'a TreeLock,
    pub(super) options: &'a BuildOptions,
    pub(super) signers: &'a Signers<'a>,
    /// Where their makes take their jobs from.
    pub(super) jobserver: &'a Jobserver,
    pub(super) sink: &'a dyn Sink,
}

/// One build while it runs.
pub(super) struct Job<'a> {
    pub(super) tree: &'a Tree,
    pub(super) request: &'a BuildRequest,
    pub(super) kernel: KernelId,
    pub(super) options: &'a BuildOptions,
    pub(super) signers: &'a Signers<'a>,
    /// Where its makes take their jobs from.
    pub(super) jobserver: &'a Jobserver,
    pub(super) sink: &'a dyn Sink,
    /// The log, kept in memory once the workspace is gone.
    pub(super) log: Option<String>,
    /// What the build is made from, once that is known.
    pub(super) key: Option<BuildKey>,
    /// Why it is built by itself.
    pub(super) alone: Alone,
}

impl<'a> Job<'a> {
    pub(super) fn new(shared: &Shared<'a>, request: &'a BuildRequest) -> Job<'a> {
        Job {
            tree: shared.tree,
            request,
            kernel: request.kernel_id(),
            options: shared.options,
            signers: shared.signers,
            jobserver: shared.jobserver,
            sink: shared.sink,
            log: None,
            key: None,
            alone: Alone::default(),
        }
    }

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
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(MAX_LOG_LEN)))?;
        let mut bytes = Vec::new();
        file.take(MAX_LOG_LEN).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

pub(super) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BuildError {
    let path = path.to_owned();
    move |source| BuildError::Io { what, path, source }
}
