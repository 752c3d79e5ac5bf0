//! Files of an archive, by https, http or from a directory. What arrives is checked by whoever asked for it.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use dkms_support::chain;
use reqwest::Client;
use tokio::runtime::Runtime;

use super::error::ImportError;
use crate::http;

/// A server slower than this counts as silent.
const SLOWEST_BYTES_PER_S: u64 = 4 << 10;

/// Where an archive is.
#[derive(Debug)]
enum Place {
    Directory(PathBuf),
    /// The runtime serves one request at a time for each thread that asks.
    Server(String, Client, Runtime),
}

/// Fetches files below one address.
#[derive(Debug)]
pub(super) struct Fetcher {
    mirror: String,
    place: Place,
}

impl Fetcher {
    pub(super) fn new(mirror: &str) -> Result<Self, ImportError> {
        let mirror = mirror.trim_end_matches('/').to_owned();
        let unusable = || ImportError::Address(mirror.clone());
        let place = if let Some(path) = mirror.strip_prefix("file://") {
            if !path.starts_with('/') {
                return Err(unusable());
            }
            Place::Directory(PathBuf::from(path))
        } else if mirror.starts_with("https://") || mirror.starts_with("http://") {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build();
            let failed = |why: String| ImportError::Fetch {
                url: mirror.clone(),
                why,
            };
            let client = http::client(http::Purpose::default()).map_err(failed)?;
            let runtime = runtime.map_err(|error| failed(error.to_string()))?;
            Place::Server(mirror.clone(), client, runtime)
        } else {
            return Err(unusable());
        };
        Ok(Self { mirror, place })
    }

    /// The address of a file, for messages.
    pub(super) fn address(&self, path: &str) -> String {
        format!("{}/{path}", self.mirror)
    }

    /// A file of at most `most_bytes`.
    pub(super) fn get(&self, path: &str, most_bytes: u64) -> Result<Vec<u8>, ImportError> {
        let url = self.address(path);
        let failed = |why: String| ImportError::Fetch { url: url.clone(), why };
        let bytes = match &self.place {
            Place::Directory(dir) => {
                let mut bytes = Vec::new();
                let file = File::open(dir.join(path)).map_err(|error| failed(error.to_string()))?;
                file.take(most_bytes + 1)
                    .read_to_end(&mut bytes)
                    .map_err(|error| failed(error.to_string()))?;
                bytes
            }
            Place::Server(mirror, client, runtime) => {
                let limit = Duration::from_secs(60 + most_bytes / SLOWEST_BYTES_PER_S);
                let got = runtime.block_on(async {
                    tokio::time::timeout(limit, receive(client, &format!("{mirror}/{path}"), most_bytes)).await
                });
                got.unwrap_or_else(|_| Err(format!("not done after {} s", limit.as_secs())))
                    .map_err(failed)?
            }
        };
        if bytes.len() as u64 > most_bytes {
            return Err(ImportError::TooLarge { url, most_bytes });
        }
        Ok(bytes)
    }
}

/// At most one byte more than `most_bytes`.
async fn receive(client: &Client, url: &str, most_bytes: u64) -> Result<Vec<u8>, String> {
    let why = |error: reqwest::Error| chain(&error.without_url());
    let mut response = client.get(url).send().await.map_err(why)?;
    if !response.status().is_success() {
        return Err(format!("the server answers {}", response.status()));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(why)? {
        let room = (most_bytes + 1).saturating_sub(bytes.len() as u64);
        bytes.extend_from_slice(&chunk[..chunk.len().min(usize::try_from(room).unwrap_or(usize::MAX))]);
        if bytes.len() as u64 > most_bytes {
            break;
        }
    }
    Ok(bytes)
}
