//! One request to one https or http mirror.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

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
use super::retry::parse_retry_after;
use super::{Answer, Options, Request, Sink};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const REDIRECTS_MAX: usize = 5;
/// A server slower than this counts as silent. It gives the time limit of a whole body.
const SLOWEST_BYTES_PER_S: u64 = 4 << 10;

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

    /// Gets `url` into `sink`.
    pub(super) async fn get(
        &self,
        url: &Url,
        request: Request<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Answer, TransportError> {
        let deadline = Duration::from_secs(60 + request.max_bytes / SLOWEST_BYTES_PER_S);
        let held = sink.held();
        match tokio::time::timeout(deadline, self.get_without_limit(url, request, sink)).await {
            Ok(answer) => answer,
            Err(_) => Err(TransportError::Interrupted {
                url: shown(url),
                received: sink.held().saturating_sub(held),
                why: format!("not done after {} s", deadline.as_secs()),
            }),
        }
    }

    async fn get_without_limit(
        &self,
        url: &Url,
        request: Request<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Answer, TransportError> {
        let mut builder = self.client(url)?.get(url.clone());
        let resume_at = if request.resume { sink.held() } else { 0 };
        if resume_at > 0 {
            builder = builder.header(RANGE, format!("bytes={resume_at}-"));
        }
        if let Some(etag) = request.etag {
            builder = builder.header(IF_NONE_MATCH, etag);
        }
        let response = builder.send().await.map_err(|e| unreachable(url, e))?;
        let at = match response.status() {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT if resume_at > 0 => {
                check_range(response.headers(), resume_at)
                    .map_err(|why| TransportError::Protocol { url: shown(url), why })?;
                resume_at
            }
            StatusCode::NOT_MODIFIED if request.etag.is_some() => return Ok(Answer::NotModified),
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(Answer::NotFound),
            StatusCode::RANGE_NOT_SATISFIABLE if resume_at > 0 => {
                // What is held is longer than the file: it is not the start of it. The next try asks for the whole.
                sink.start(0).map_err(|source| TransportError::Write {
                    url: shown(url),
                    source,
                })?;
                return Err(TransportError::Interrupted {
                    url: shown(url),
                    received: 0,
                    why: "the part from an earlier run does not fit".to_owned(),
                });
            }
            status => {
                return Err(TransportError::Status {
                    url: shown(url),
                    status: status.as_u16(),
                    retry_after: header(response.headers(), &RETRY_AFTER)
                        .and_then(|value| parse_retry_after(value, Timestamp::now())),
                });
            }
        };
        let etag = header(response.headers(), &ETAG).map(str::to_owned);
        sink.start(at).map_err(|source| TransportError::Write {
            url: shown(url),
            source,
        })?;
        receive(url, response, request.max_bytes, sink).await?;
        Ok(Answer::Body { etag })
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

/// Streams the body into the sink and stops at `max_bytes`.
async fn receive(url: &Url, mut response: Response, max_bytes: u64, sink: &mut dyn Sink) -> Result<(), TransportError> {
    let too_big = || TransportError::TooBig {
        url: shown(url),
        max_bytes,
    };
    let start = sink.held();
    if response
        .content_length()
        .is_some_and(|length| start.saturating_add(length) > max_bytes)
    {
        return Err(too_big());
    }
    loop {
        let chunk = response.chunk().await.map_err(|e| TransportError::Interrupted {
            url: shown(url),
            received: sink.held() - start,
            why: chain(&e.without_url()),
        })?;
        let Some(chunk) = chunk else { return Ok(()) };
        if sink.held() + chunk.len() as u64 > max_bytes {
            return Err(too_big());
        }
        sink.write(&chunk).map_err(|source| TransportError::Write {
            url: shown(url),
            source,
        })?;
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
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(options.idle_timeout)
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
