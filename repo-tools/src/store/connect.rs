//! Stores behind a network, with credentials from the environment and the HTTP client that everything else has.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{ClientConfigKey, HttpClient, HttpConnector};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use reqwest::header::HeaderValue;
use url::{Host, Url};

use super::StoreError;
use super::address::{AZURE, GOOGLE, S3};
use crate::http::{self, Purpose};

const USER: &str = "DKMS_REPO_HTTP_USER";
const PASSWORD: &str = "DKMS_REPO_HTTP_PASSWORD";
const TOKEN: &str = "DKMS_REPO_HTTP_TOKEN";

/// Connects to the store of a URL.
pub(super) fn connect(url: &Url) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let failed = |error: object_store::Error| StoreError::Settings {
        address: url.to_string(),
        why: error.to_string(),
    };
    let scheme = url.scheme();
    let connector = Connector { authorization: None };
    if S3.contains(&scheme) {
        if !may_ask_cloud() {
            return Err(StoreError::NoCredentials {
                address: url.to_string(),
            });
        }
        let builder = AmazonS3Builder::from_env().with_url(url.as_str()).with_retry(retry());
        return Ok(Arc::new(
            builder.with_http_connector(connector).build().map_err(failed)?,
        ));
    }
    if GOOGLE.contains(&scheme) {
        let builder = GoogleCloudStorageBuilder::from_env()
            .with_url(url.as_str())
            .with_retry(retry());
        return Ok(Arc::new(
            builder.with_http_connector(connector).build().map_err(failed)?,
        ));
    }
    if AZURE.contains(&scheme) {
        let builder = MicrosoftAzureBuilder::from_env()
            .with_url(url.as_str())
            .with_retry(retry());
        return Ok(Arc::new(
            builder.with_http_connector(connector).build().map_err(failed)?,
        ));
    }
    let authorization = authorization(url)?;
    // The path is part of every file's name, so that lists of a server, which begin at its root, can be read.
    let mut origin = url.clone();
    origin.set_path("/");
    let builder = HttpBuilder::new()
        .with_url(origin.as_str())
        .with_client_options(ClientOptions::new().with_allow_http(true))
        .with_retry(retry())
        .with_http_connector(Connector { authorization });
    Ok(Arc::new(builder.build().map_err(failed)?))
}

/// The variables with which S3's library does not ask the address of a cloud's own machines for credentials.
const S3_CREDENTIALS: [&str; 5] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
];

/// Whether credentials are set, or the address of a cloud may be asked for them. The variable is that of Amazon's own programs.
fn may_ask_cloud() -> bool {
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_off = std::env::var("AWS_EC2_METADATA_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"));
    !is_off || S3_CREDENTIALS.iter().any(is_set)
}

/// A person waits; what takes longer is told, and the same command goes on later.
fn retry() -> RetryConfig {
    RetryConfig {
        max_retries: 4,
        retry_timeout: Duration::from_secs(60),
        ..RetryConfig::default()
    }
}

/// The credentials of a plain server, never sent without TLS to another machine.
fn authorization(url: &Url) -> Result<Option<HeaderValue>, StoreError> {
    let unusable = |why: String| StoreError::Settings {
        address: url.to_string(),
        why,
    };
    let var = |name: &str| match std::env::var(name) {
        Ok(value) if !value.is_empty() => Ok(Some(value)),
        Ok(_) | Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(unusable(format!("{name} is not UTF-8"))),
    };
    let value = match (var(USER)?, var(PASSWORD)?, var(TOKEN)?) {
        (None, None, None) => return Ok(None),
        (None, None, Some(token)) => format!("Bearer {token}"),
        (Some(user), Some(password), None) if !user.contains(':') => {
            format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
        }
        _ => return Err(unusable(format!("set {USER} and {PASSWORD}, or {TOKEN} alone"))),
    };
    if url.scheme() == "http" && !is_loopback(url) {
        return Err(unusable(
            "credentials are set, and without TLS everybody on the way could read them".to_owned(),
        ));
    }
    HeaderValue::from_str(&value)
        .map(Some)
        .map_err(|_| unusable("the credentials have characters that a header cannot have".to_owned()))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Gives object stores our client instead of one of their own.
#[derive(Debug)]
struct Connector {
    authorization: Option<HeaderValue>,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let allow_http = options
            .get_config_value(&ClientConfigKey::AllowHttp)
            .is_some_and(|value| value == "true");
        let purpose = Purpose {
            authorization: self.authorization.clone(),
            https_only: !allow_http,
        };
        let client = http::client(purpose).map_err(|why| object_store::Error::Generic {
            store: "HTTP client",
            source: why.into(),
        })?;
        Ok(HttpClient::new(client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_this_machine() {
        let check = |url: &str, expected: bool| assert_eq!(is_loopback(&url.parse().unwrap()), expected, "{url}");
        check("http://127.0.0.1:80/", true);
        check("http://[::1]/", true);
        check("http://localhost/", true);
        check("http://localhost.example.org/", false);
        check("http://10.0.0.1/", false);
    }
}
