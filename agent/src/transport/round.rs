//! One round over the mirrors: they are asked one after another, each with a head start, and the quickest one that has the file wins.

use std::collections::VecDeque;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;
use url::Url;

use super::error::shown;
use super::mirrors::{below, check_scheme};
use super::{Answer, Mirrors, Request, Sink, Transport, TransportError, file, http};

/// How a mirror answered.
enum Start {
    Http(http::Start),
    /// It is a directory, which has the file or not.
    File(Option<file::Opened>),
}

impl Start {
    fn has_file(&self) -> bool {
        matches!(self, Self::Http(http::Start::Body(_)) | Self::File(Some(_)))
    }
}

/// What the mirrors said that do not have it.
#[derive(Default)]
struct Refusals {
    not_found: bool,
    failure: Option<TransportError>,
}

impl Refusals {
    /// A failure that may pass is worth a retry, whatever the other mirrors said.
    fn add(&mut self, error: TransportError) {
        tracing::debug!(%error, "mirror failed");
        let is_worth_more = |known: &TransportError| error.may_pass() || !known.may_pass();
        if self.failure.as_ref().is_none_or(is_worth_more) {
            self.failure = Some(error);
        }
    }

    fn end(self) -> Result<Answer, TransportError> {
        match self.failure {
            Some(error) if !self.not_found => Err(error),
            _ => Ok(Answer::NotFound),
        }
    }
}

impl Transport {
    /// Asks each mirror once, the one that answered last first.
    pub(super) async fn round(
        &self,
        mirrors: &Mirrors,
        request: Request<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Answer, TransportError> {
        let begun = Instant::now();
        let mut left: VecDeque<usize> = mirrors.in_order().collect();
        let mut racing: Vec<usize> = Vec::new();
        let mut asked = FuturesUnordered::new();
        let mut refusals = Refusals::default();
        // When no more is waited for mirrors that may have what another one has not.
        let mut patience: Option<Instant> = None;
        loop {
            if let Some(number) = left.pop_front() {
                racing.push(number);
                asked.push(self.ask(mirrors.at(number), number, request, sink.held()));
            } else if racing.is_empty() {
                return refusals.end();
            }
            let answered = tokio::select! {
                biased;
                answered = asked.next() => answered,
                () = tokio::time::sleep(self.options.head_start), if !left.is_empty() => continue,
                () = tokio::time::sleep_until(patience.unwrap_or(begun)), if patience.is_some() => {
                    return Ok(Answer::NotFound);
                }
            };
            let Some((number, started)) = answered else { continue };
            racing.retain(|one| *one != number);
            if started.as_ref().is_ok_and(Start::has_file) {
                // The others are asked again only if this one does not come to an end.
                asked.clear();
                racing.drain(..).rev().for_each(|one| left.push_front(one));
            }
            match finish(started, mirrors.at(number), sink).await {
                Ok(Answer::NotFound) => {
                    if request.may_be_absent && !refusals.not_found {
                        // The others are asked each after a head start, and get one more.
                        let others = u32::try_from(left.len() + 1).unwrap_or(u32::MAX);
                        patience = Some(Instant::now() + self.options.head_start.saturating_mul(others));
                        mirrors.prefer(number);
                    }
                    refusals.not_found = true;
                }
                Ok(answer) => {
                    mirrors.prefer(number);
                    return Ok(answer);
                }
                Err(error) if error.is_ours() => return Err(error),
                Err(error) => refusals.add(error),
            }
        }
    }

    /// Asks one mirror, and says which one it was.
    async fn ask(
        &self,
        mirror: &Url,
        number: usize,
        request: Request<'_>,
        held: u64,
    ) -> (usize, Result<Start, TransportError>) {
        let ask = async {
            let url = below(mirror, request.path)?;
            check_scheme(&url, self.options.allow_plain_http)?;
            if url.scheme() == "file" {
                file::open(&url, request, held).map(Start::File)
            } else {
                self.clients.begin(&url, request, held).await.map(Start::Http)
            }
        };
        (number, ask.await)
    }
}

async fn finish(
    started: Result<Start, TransportError>,
    mirror: &Url,
    sink: &mut dyn Sink,
) -> Result<Answer, TransportError> {
    match started? {
        Start::Http(http::Start::Body(body)) => body.finish(sink).await,
        Start::File(Some(opened)) => opened.copy(sink),
        Start::Http(http::Start::NotModified) => Ok(Answer::NotModified),
        Start::Http(http::Start::NotFound) | Start::File(None) => Ok(Answer::NotFound),
        Start::Http(http::Start::Misfit) => {
            // The next one is asked for the whole.
            sink.start(0).map_err(|source| TransportError::Write {
                url: shown(mirror),
                source,
            })?;
            Err(TransportError::Interrupted {
                url: shown(mirror),
                received: 0,
                why: "the part from an earlier run does not fit".to_owned(),
            })
        }
    }
}
