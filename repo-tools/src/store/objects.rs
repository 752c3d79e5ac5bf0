//! Object stores, and servers that take PUT.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error, ObjectStore, ObjectStoreExt, ObjectStoreScheme, PutMode, PutOptions, PutPayload,
    UpdateVersion,
};
use tokio::sync::Mutex;
use url::Url;

use super::address::HTTP;
use super::connect::connect;
use super::{StoreError, TIMESTAMP, Written};

/// Files under a prefix of a store.
#[derive(Debug)]
pub(super) struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    address: String,
    /// Whether it is a plain server, which may have no lists.
    is_plain: bool,
    /// Directories of a plain server that are there. Two requests that make the same one at the same time refuse each other.
    made: Mutex<BTreeSet<String>>,
}

/// How a store tells one content of a file from the next.
#[derive(Debug, Clone, Default)]
pub(super) struct Version {
    e_tag: Option<String>,
    version: Option<String>,
}

impl Objects {
    pub(super) fn at(url: &Url) -> Result<Self, StoreError> {
        let unusable = |why: String| StoreError::Settings {
            address: url.to_string(),
            why,
        };
        let is_plain = HTTP.contains(&url.scheme());
        let prefix = if is_plain {
            Path::from_url_path(url.path()).map_err(|error| unusable(error.to_string()))?
        } else {
            ObjectStoreScheme::parse(url)
                .map_err(|error| unusable(error.to_string()))?
                .1
        };
        Ok(Self {
            store: connect(url)?,
            prefix,
            address: url.as_str().trim_end_matches('/').to_owned(),
            is_plain,
            made: Mutex::default(),
        })
    }

    fn location(&self, path: &str) -> Result<Path, StoreError> {
        let whole = format!("{}/{path}", self.prefix);
        Path::parse(whole).map_err(|_| StoreError::Name(path.to_owned()))
    }

    fn failed(&self, what: &'static str, path: &str) -> impl FnOnce(Error) -> StoreError + use<> {
        let address = format!("{}/{path}", self.address);
        move |source| StoreError::Object {
            what,
            address,
            cause: Box::new(source),
        }
    }

    pub(super) async fn read(&self, path: &str, most_bytes: u64) -> Result<Option<(Vec<u8>, Version)>, StoreError> {
        let got = match self.store.get(&self.location(path)?).await {
            Ok(got) => got,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.failed("read", path)(error)),
        };
        let version = Version {
            e_tag: got.meta.e_tag.clone(),
            version: got.meta.version.clone(),
        };
        let mut bytes = Vec::new();
        let mut chunks = got.into_stream();
        while let Some(chunk) = chunks.try_next().await.map_err(self.failed("read", path))? {
            if (bytes.len() + chunk.len()) as u64 > most_bytes {
                return Err(StoreError::TooLarge {
                    address: format!("{}/{path}", self.address),
                    most_bytes,
                });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some((bytes, version)))
    }

    pub(super) async fn list(&self) -> Result<Option<BTreeMap<String, u64>>, StoreError> {
        let prefix = (!self.prefix.as_ref().is_empty()).then_some(&self.prefix);
        let mut objects = self.store.list(prefix);
        let mut found = BTreeMap::new();
        loop {
            match objects.try_next().await {
                Ok(None) => return Ok(Some(found)),
                Ok(Some(object)) => {
                    let path = object.location.prefix_match(&self.prefix);
                    let parts: Option<Vec<String>> =
                        path.map(|parts| parts.map(|part| part.as_ref().to_owned()).collect());
                    found.extend(parts.map(|parts| (parts.join("/"), object.size)));
                }
                // A server without WebDAV's PROPFIND: each file is asked for by its name.
                Err(error) if self.is_plain && !is_of_the_network(&error) => return Ok(None),
                Err(error) => return Err(self.failed("list", "")(error)),
            }
        }
    }

    pub(super) async fn length(&self, path: &str) -> Result<Option<u64>, StoreError> {
        match self.store.head(&self.location(path)?).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("look for", path)(error)),
        }
    }

    pub(super) async fn write(&self, path: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.put(path, bytes, PutMode::Overwrite)
            .await
            .map_err(self.failed("write", path))
    }

    pub(super) async fn replace(
        &self,
        path: &str,
        bytes: Vec<u8>,
        before: Option<(&[u8], &Version)>,
    ) -> Result<Written, StoreError> {
        let mode = match before {
            None => PutMode::Create,
            Some((_, version)) => PutMode::Update(UpdateVersion {
                e_tag: version.e_tag.clone(),
                version: version.version.clone(),
            }),
        };
        let has_condition = before.is_none_or(|(_, version)| version.e_tag.is_some() || version.version.is_some());
        if has_condition {
            match self.put(path, bytes.clone(), mode).await {
                Ok(()) => return Ok(Written::Done),
                Err(Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. }) => {
                    return Ok(Written::Refused);
                }
                Err(Error::NotImplemented { .. }) => {}
                Err(error) => return Err(self.failed("write", path)(error)),
            }
        }
        // A store without conditional writes. Somebody who writes between the two requests is overwritten.
        let most_bytes = before.map_or(0, |(bytes, _)| bytes.len() as u64);
        let now = match self.read(path, most_bytes).await {
            Err(StoreError::TooLarge { .. }) => return Ok(Written::Refused),
            other => other?,
        };
        if now.as_ref().map(|(bytes, _)| &bytes[..]) != before.map(|(bytes, _)| bytes) {
            return Ok(Written::Refused);
        }
        self.write(path, bytes).await?;
        Ok(Written::Done)
    }

    pub(super) async fn remove(&self, path: &str) -> Result<(), StoreError> {
        match self.store.delete(&self.location(path)?).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("remove", path)(error)),
        }
    }

    async fn put(&self, path: &str, bytes: Vec<u8>, mode: PutMode) -> Result<(), Error> {
        let location = self.location(path).map_err(|error| Error::Generic {
            store: "store",
            source: error.into(),
        })?;
        let options = PutOptions {
            mode,
            attributes: attributes(path),
            ..PutOptions::default()
        };
        let payload = PutPayload::from(bytes);
        let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
        if self.is_plain {
            let mut made = self.made.lock().await;
            if !made.contains(dir) {
                self.store.put_opts(&location, payload, options).await?;
                made.insert(dir.to_owned());
                return Ok(());
            }
        }
        self.store.put_opts(&location, payload, options).await.map(drop)
    }
}

/// Whether nobody answered, or somebody refused: then a list is not merely unknown.
fn is_of_the_network(error: &Error) -> bool {
    match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => true,
        // The text has the status where there was an answer; one of 5xx may be another one next time.
        error => {
            let text = error.to_string();
            !text.contains("status code: 4")
                && !text.contains("status code: 501")
                && !text.contains("PROPFIND response")
        }
    }
}

/// What servers tell with a file: everything but the timestamp is the same for ever.
fn attributes(path: &str) -> Attributes {
    let is_replaced = path == TIMESTAMP;
    let cache = if is_replaced {
        "no-cache"
    } else {
        "public, max-age=31536000, immutable"
    };
    let kind = if path.ends_with(".json") {
        "application/json"
    } else if path.ends_with(".zst") {
        "application/zstd"
    } else {
        "application/octet-stream"
    };
    Attributes::from_iter([(Attribute::CacheControl, cache), (Attribute::ContentType, kind)])
}
