//! Gets files of a repository from its mirrors: https, http on loopback (elsewhere when policy allows), and `file://`.
//!
//! Nothing that arrives here is trusted. Every body has a size limit that is enforced while it streams, every wait has a time
//! limit, and every failure names its address and its cause. What a server can make a run wait, in all: a time to connect, a time
//! without progress, and for metadata a budget of the whole run.

mod budget;
mod error;
mod file;
mod http;
mod mirrors;
mod pace;
mod retry;
mod round;
mod sink;

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

pub use error::TransportError;
pub use mirrors::Mirrors;
pub use sink::{PartFile, Sink};

use budget::Budget;
use http::Clients;
use retry::Backoff;

/// A file that is not metadata has the time of the metadata, and a second for each of these.
const SLOWEST_BYTES_PER_S: u64 = 4 << 10;

/// How to reach mirrors.
#[derive(Debug, Clone)]
pub struct Options {
    /// Allow plain http beyond loopback.
    pub allow_plain_http: bool,
    /// The earliest time it can be. A machine whose clock starts in 1970 would refuse every certificate as not yet
    /// valid; certificates are checked at the later of this and the clock.
    pub not_before: Timestamp,
    /// How often all mirrors are tried again after a failure that may pass.
    pub retries: u32,
    /// The first wait between tries; it doubles, with jitter.
    pub backoff: Duration,
    /// How long a connection may take: name, TCP and TLS.
    pub connect_timeout: Duration,
    /// How long a server may send nothing, or less than 1 KiB a second.
    pub idle_timeout: Duration,
    /// How long a mirror is waited for before the next one is asked too.
    pub head_start: Duration,
    /// How long all metadata of a run may be waited for.
    pub metadata_budget: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            allow_plain_http: false,
            not_before: Timestamp::UNIX_EPOCH,
            retries: 3,
            backoff: Duration::from_millis(300),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            head_start: Duration::from_secs(2),
            metadata_budget: Duration::from_secs(90),
        }
    }
}

/// One file to get.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Its place below the mirror, `metadata/timestamp.json`.
    pub path: &'a str,
    /// The longest body that is accepted.
    pub max_bytes: u64,
    /// Whether what the sink holds already is the start of the same file: only set where the hash of the whole is verified afterwards.
    pub resume: bool,
    /// The `ETag` of the copy that the caller has.
    pub etag: Option<&'a str>,
    /// How long it may take.
    pub limit: Limit,
    /// Whether it is no surprise that it is not there, as of the next root.json: once a mirror does not have it, the others get no more
    /// than a head start to say otherwise.
    pub may_be_absent: bool,
}

/// How long a file may take, over all mirrors and tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// What is left of the run's budget for metadata.
    Metadata,
    /// As long as its size allows.
    BySize,
}

impl<'a> Request<'a> {
    /// Asks for the whole of a small file of metadata.
    pub fn whole(path: &'a str, max_bytes: u64) -> Self {
        Self {
            path,
            max_bytes,
            resume: false,
            etag: None,
            limit: Limit::Metadata,
            may_be_absent: false,
        }
    }
}

/// The result of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The body is in the sink.
    Body {
        /// Its `ETag`, if the server sent one.
        etag: Option<String>,
    },
    /// The caller's copy is still the newest.
    NotModified,
    /// No mirror has it, and at least one answered.
    NotFound,
}

/// Reaches mirrors. One for a run: it counts how long the run has waited for metadata.
#[derive(Debug)]
pub struct Transport {
    options: Options,
    clients: Clients,
    metadata: Budget,
}

impl Transport {
    /// Opens no connection yet.
    pub fn new(options: Options) -> Self {
        let clients = Clients::new(&options);
        let metadata = Budget::new(options.metadata_budget);
        Self {
            options,
            clients,
            metadata,
        }
    }

    /// Gets one file into `sink` from the quickest mirror that gives it, trying all again a few times when a failure may pass.
    ///
    /// # Errors
    /// The last mirror's failure, or that the time is over; at once when the failure is this machine's own (a full disk).
    pub async fn get(
        &self,
        mirrors: &Mirrors,
        request: Request<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Answer, TransportError> {
        let (waiting, deadline, allowed) = match request.limit {
            Limit::Metadata => {
                let waiting = self.metadata.wait();
                let deadline = waiting.deadline();
                (Some(waiting), deadline, self.options.metadata_budget)
            }
            Limit::BySize => {
                let allowed =
                    self.options.metadata_budget + Duration::from_secs(request.max_bytes / SLOWEST_BYTES_PER_S);
                (None, Instant::now() + allowed, allowed)
            }
        };
        let mut last = None;
        let tries = async {
            // A timer of no length is rounded up, and would let a request begin.
            if deadline <= Instant::now() {
                std::future::pending::<()>().await;
            }
            self.tries(mirrors, request, sink, deadline, &mut last).await
        };
        let done = tokio::time::timeout_at(deadline, tries).await;
        drop(waiting);
        let answer = done.unwrap_or_else(|_| {
            Err(TransportError::OutOfTime {
                path: request.path.to_owned(),
                allowed,
                is_metadata: request.limit == Limit::Metadata,
                last: last.map(Box::new),
            })
        });
        mirrors.note(answer.is_ok());
        answer
    }

    async fn tries(
        &self,
        mirrors: &Mirrors,
        request: Request<'_>,
        sink: &mut dyn Sink,
        deadline: Instant,
        last: &mut Option<TransportError>,
    ) -> Result<Answer, TransportError> {
        // Mirrors of which none gave the file before this one are asked once.
        let retries = if mirrors.has_failed() { 0 } else { self.options.retries };
        let mut backoff = Backoff::new(retries, self.options.backoff);
        loop {
            let (begun, held) = (Instant::now(), sink.held());
            let error = match self.round(mirrors, request, sink).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // Servers that were silent for as long as they may be are not waited for once more.
            let is_silent = begun.elapsed() >= self.options.idle_timeout && sink.held() <= held;
            let wait = (error.may_pass() && !is_silent)
                .then(|| backoff.next(error.retry_after()))
                .flatten()
                .filter(|wait| Instant::now() + *wait < deadline);
            let Some(wait) = wait else {
                return Err(error);
            };
            tracing::debug!(%error, ?wait, "trying again");
            *last = Some(error);
            tokio::time::sleep(wait).await;
        }
    }

    /// Gets one small file into memory.
    ///
    /// # Errors
    /// As [`Transport::get`].
    pub async fn get_bytes(
        &self,
        mirrors: &Mirrors,
        request: Request<'_>,
    ) -> Result<(Answer, Vec<u8>), TransportError> {
        let mut bytes = Vec::new();
        let answer = self.get(mirrors, request, &mut bytes).await?;
        Ok((answer, bytes))
    }
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
