//! Gets files of a repository from its mirrors: https, http on loopback (elsewhere when policy allows), and `file://`.
//!
//! Nothing that arrives here is trusted. Every body has a size limit that is enforced while it streams, every wait has a time
//! limit, and every failure names its address and its cause.

mod error;
mod file;
mod http;
mod mirrors;
mod retry;
mod sink;

use std::time::Duration;

use jiff::Timestamp;

pub use error::TransportError;
pub use mirrors::Mirrors;
pub use sink::{PartFile, Sink};

use http::Clients;
use retry::Backoff;

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
    /// How long a server may be silent.
    pub idle_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            allow_plain_http: false,
            not_before: Timestamp::UNIX_EPOCH,
            retries: 3,
            backoff: Duration::from_millis(300),
            idle_timeout: Duration::from_secs(30),
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
}

impl<'a> Request<'a> {
    /// Asks for the whole of a small file.
    pub fn whole(path: &'a str, max_bytes: u64) -> Self {
        Self {
            path,
            max_bytes,
            resume: false,
            etag: None,
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

/// Reaches mirrors.
#[derive(Debug)]
pub struct Transport {
    options: Options,
    clients: Clients,
}

impl Transport {
    /// Opens no connection yet.
    pub fn new(options: Options) -> Self {
        let clients = Clients::new(&options);
        Self { options, clients }
    }

    /// Gets one file into `sink` from the first mirror that gives it, trying all again a few times when a failure may pass.
    ///
    /// # Errors
    /// The last mirror's failure; at once when the failure is this machine's own (a full disk).
    pub async fn get(
        &self,
        mirrors: &Mirrors,
        request: Request<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Answer, TransportError> {
        let mut backoff = Backoff::new(self.options.retries, self.options.backoff);
        loop {
            let error = match self.round(mirrors, request, sink).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let Some(wait) = error.may_pass().then(|| backoff.next(error.retry_after())).flatten() else {
                return Err(error);
            };
            tracing::debug!(%error, ?wait, "trying again");
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

    /// Asks each mirror once, the one that answered last first.
    async fn round(
        &self,
        mirrors: &Mirrors,
        request: Request<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Answer, TransportError> {
        let mut not_found = false;
        let mut failure: Option<TransportError> = None;
        for (number, mirror) in mirrors.in_order() {
            match self.attempt(mirror, request, sink).await {
                Ok(Answer::NotFound) => not_found = true,
                Ok(answer) => {
                    mirrors.prefer(number);
                    return Ok(answer);
                }
                Err(error) if error.is_ours() => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, "mirror failed");
                    // A failure that may pass is worth a retry, whatever the other mirrors said.
                    if failure
                        .as_ref()
                        .is_none_or(|known| error.may_pass() || !known.may_pass())
                    {
                        failure = Some(error);
                    }
                }
            }
        }
        match failure {
            Some(error) if !not_found => Err(error),
            _ => Ok(Answer::NotFound),
        }
    }

    async fn attempt(
        &self,
        mirror: &url::Url,
        request: Request<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Answer, TransportError> {
        let url = mirrors::below(mirror, request.path)?;
        mirrors::check_scheme(&url, self.options.allow_plain_http)?;
        if url.scheme() == "file" {
            file::get(&url, request, sink)
        } else {
            self.clients.get(&url, request, sink).await
        }
    }
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
