//! The one HTTP client of this program: TLS by rustls with the machine's certificates.

use std::sync::Arc;
use std::time::Duration;

use dkms_support::chain;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, redirect};
use rustls::{ClientConfig, RootCertStore};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const MOST_REDIRECTS: usize = 10;

/// What a client is for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Purpose {
    /// Sent with every request, and to no other host.
    pub(crate) authorization: Option<HeaderValue>,
    /// Whether requests without TLS are refused.
    pub(crate) https_only: bool,
}

/// Makes one. The error is a text, for there is nothing to tell apart.
pub(crate) fn client(purpose: Purpose) -> Result<Client, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut headers = HeaderMap::new();
    // A redirect would take the header to wherever the server says.
    let redirects = match purpose.authorization {
        Some(mut value) => {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
            redirect::Policy::none()
        }
        None => redirect::Policy::limited(MOST_REDIRECTS),
    };
    Client::builder()
        .user_agent(concat!("dkms-repo/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .redirect(redirects)
        .https_only(purpose.https_only)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(IDLE_TIMEOUT)
        .tls_backend_preconfigured(tls)
        .build()
        .map_err(|error| chain(&error))
}
