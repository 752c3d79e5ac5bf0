//! One request to one https or http mirror.

use std::sync::{Arc, OnceLock};

use dkms_support::chain;
use jiff::Timestamp;
use reqwest::header::{CONTENT_RANGE, ETAG, HeaderMap, IF_NONE_MATCH, RANGE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use url::Url;

use super::error::{TransportError, shown};
use super::mirrors::{check_scheme, is_loopback};
use super::pace::{Next, Pace};
use super::retry::parse_retry_after;
use super::{Answer, Options, Request, Sink};

const REDIRECTS_MAX: usize = 5;
/// A mirror wins over others by the first bytes of a body: the whole of most metadata, and little on a slow line.
const FIRST_BYTES: usize = 4 << 10;

/// The HTTP clients, made when first needed: reading the certificate authorities takes 10 ms that a `file://` or
/// loopback repository need not pay.
#[derive(Debug)]
pub(super) struct Clients {
    options: Options,
    /// Beyond this machine: system proxy, system certificate authorities.
    remote: OnceLock<Client>,
    /// This machine: never through a proxy.
    loopback: OnceLock<Client>,
}

impl Clients {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            options: options.clone(),
            remote: OnceLock::new(),
            loopback: OnceLock::new(),
        }
    }

    /// Asks for `url`, of which `held` bytes are there, and waits for the first bytes of the body.
    pub(super) async fn begin(&self, url: &Url, request: Request<'_>, held: u64) -> Result<Start, TransportError> {
        let idle = self.options.idle_timeout;
        let at = if request.resume { held } else { 0 };
        // This covers redirects, and a server that sends one informational response after another.
        let Ok(response) = tokio::time::timeout(idle, self.send(url, request, at)).await else {
            return Err(TransportError::Unreachable {
                url: shown(url),
                why: format!("no answer within {} s", idle.as_secs_f64()),
            });
        };
        let response = response?;
        let at = match response.status() {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT if at > 0 => {
                check_range(response.headers(), at).map_err(|why| TransportError::Protocol { url: shown(url), why })?;
                at
            }
            StatusCode::NOT_MODIFIED if request.etag.is_some() => return Ok(Start::NotModified),
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(Start::NotFound),
            StatusCode::RANGE_NOT_SATISFIABLE if at > 0 => return Ok(Start::Misfit),
            status => {
                return Err(TransportError::Status {
                    url: shown(url),
                    status: status.as_u16(),
                    retry_after: header(response.headers(), &RETRY_AFTER)
                        .and_then(|value| parse_retry_after(value, Timestamp::now())),
                });
            }
        };
        let mut body = Body {
            url: url.clone(),
            etag: header(response.headers(), &ETAG).map(str::to_owned),
            at,
            max_bytes: request.max_bytes,
            first: Vec::new(),
            rest: Some(response),
            broken: None,
            pace: Pace::new(idle),
        };
        match body.begin().await {
            // What came is the start of the file: the next request is for the rest.
            Err(error @ TransportError::Interrupted { .. }) if request.resume && !body.first.is_empty() => {
                body.broken = Some(error);
            }
            begun => begun?,
        }
        Ok(Start::Body(body))
    }

    async fn send(&self, url: &Url, request: Request<'_>, at: u64) -> Result<Response, TransportError> {
        let mut builder = self.client(url)?.get(url.clone());
        if at > 0 {
            builder = builder.header(RANGE, format!("bytes={at}-"));
        }
        if let Some(etag) = request.etag {
            builder = builder.header(IF_NONE_MATCH, etag);
        }
        builder.send().await.map_err(|e| unreachable(url, e))
    }

    fn client(&self, url: &Url) -> Result<&Client, TransportError> {
        let (slot, loopback) = if url.scheme() == "http" && is_loopback(url) {
            (&self.loopback, true)
        } else {
            (&self.remote, false)
        };
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let roots = if loopback {
            RootCertStore::empty()
        } else {
            system_roots()
        };
        if url.scheme() == "https" && roots.is_empty() {
            return Err(TransportError::NoCertificates { url: shown(url) });
        }
        let client = build(&self.options, roots, loopback).map_err(|why| TransportError::Client { why })?;
        Ok(slot.get_or_init(|| client))
    }
}

/// How a server answered.
pub(super) enum Start {
    /// It sends the file.
    Body(Body),
    NotModified,
    NotFound,
    /// What is held is longer than the file: it is not the start of it.
    Misfit,
}

/// A body of which the first bytes are there.
pub(super) struct Body {
    url: Url,
    etag: Option<String>,
    /// Where in the file it begins.
    at: u64,
    max_bytes: u64,
    first: Vec<u8>,
    /// `None` when `first` is all.
    rest: Option<Response>,
    /// Why nothing comes after `first`.
    broken: Option<TransportError>,
    pace: Pace,
}

impl Body {
    async fn begin(&mut self) -> Result<(), TransportError> {
        let announced = self.rest.as_ref().and_then(Response::content_length);
        if announced.is_some_and(|length| self.at.saturating_add(length) > self.max_bytes) {
            return Err(self.too_big());
        }
        while self.first.len() < FIRST_BYTES {
            let Some(bytes) = self.next(self.first.len() as u64).await? else {
                break;
            };
            self.first.extend_from_slice(bytes.as_ref());
            self.check_length(self.first.len() as u64)?;
        }
        Ok(())
    }

    /// Streams it into the sink and stops at the limit.
    pub(super) async fn finish(mut self, sink: &mut dyn Sink) -> Result<Answer, TransportError> {
        let write = |url: &Url, source| TransportError::Write {
            url: shown(url),
            source,
        };
        sink.start(self.at).map_err(|e| write(&self.url, e))?;
        sink.write(&self.first).map_err(|e| write(&self.url, e))?;
        if let Some(error) = self.broken {
            return Err(error);
        }
        let mut received = self.first.len() as u64;
        // Another mirror may have been waited for meanwhile.
        self.pace.restart();
        while let Some(bytes) = self.next(received).await? {
            let bytes = bytes.as_ref();
            received += bytes.len() as u64;
            self.check_length(received)?;
            sink.write(bytes).map_err(|e| write(&self.url, e))?;
        }
        Ok(Answer::Body { etag: self.etag })
    }

    async fn next(&mut self, received: u64) -> Result<Option<impl AsRef<[u8]> + use<>>, TransportError> {
        let Some(response) = &mut self.rest else {
            return Ok(None);
        };
        let why = match self.pace.next(response).await {
            Next::Bytes(bytes) => return Ok(Some(bytes)),
            Next::End => {
                self.rest = None;
                return Ok(None);
            }
            Next::Failed(error) => chain(&error.without_url()),
            Next::TooSlow(bytes) => {
                let idle = self.pace.idle().as_secs_f64();
                format!("no more than {bytes} bytes arrived within {idle} s")
            }
        };
        Err(TransportError::Interrupted {
            url: shown(&self.url),
            received,
            why,
        })
    }

    fn check_length(&self, received: u64) -> Result<(), TransportError> {
        if self.at.saturating_add(received) > self.max_bytes {
            return Err(self.too_big());
        }
        Ok(())
    }

    fn too_big(&self) -> TransportError {
        TransportError::TooBig {
            url: shown(&self.url),
            max_bytes: self.max_bytes,
        }
    }
}

/// A 206 must begin where we asked (`Content-Range: bytes 5-9/10`).
fn check_range(headers: &HeaderMap, at: u64) -> Result<(), String> {
    let value = header(headers, &CONTENT_RANGE).unwrap_or_default();
    let begins = value
        .strip_prefix("bytes ")
        .and_then(|range| range.split_once('-'))
        .and_then(|(first, _)| first.parse::<u64>().ok());
    if begins == Some(at) {
        Ok(())
    } else {
        Err(format!("asked for the bytes from {at}, the server sent {value:?}"))
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &reqwest::header::HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn unreachable(url: &Url, error: reqwest::Error) -> TransportError {
    let why = chain(&error.without_url());
    TransportError::Unreachable { url: shown(url), why }
}

/// The machine's certificate authorities (`SSL_CERT_FILE` and `SSL_CERT_DIR` are respected); those that cannot be
/// parsed are left out.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn build(options: &Options, roots: RootCertStore, loopback: bool) -> Result<Client, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clock = Arc::new(Clock {
        not_before: options.not_before,
    });
    let mut tls = ClientConfig::builder_with_details(provider, clock)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut builder = Client::builder()
        .user_agent(concat!("dkms-fetch/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(options.connect_timeout)
        .redirect(redirects(options.allow_plain_http))
        .tls_backend_preconfigured(tls);
    if loopback {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|e| chain(&e))
}

/// A few redirects, never from https to http, never to where the first address could not have gone.
fn redirects(allow_plain_http: bool) -> Policy {
    Policy::custom(move |attempt| {
        let from_https = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
        if attempt.previous().len() > REDIRECTS_MAX {
            attempt.error("too many redirects")
        } else if attempt.url().scheme() != "https"
            && (from_https || check_scheme(attempt.url(), allow_plain_http).is_err())
        {
            attempt.error("redirected to plain http")
        } else {
            attempt.follow()
        }
    })
}

/// The time at which certificates are judged.
#[derive(Debug)]
struct Clock {
    not_before: Timestamp,
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let now = Timestamp::now().max(self.not_before);
        let since_epoch = now.duration_since(Timestamp::UNIX_EPOCH).try_into().ok()?;
        Some(UnixTime::since_unix_epoch(since_epoch))
    }
}
