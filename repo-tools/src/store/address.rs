//! What people write for a place: a path, or a URL.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

/// The schemes, by the kind of store.
pub(super) const S3: [&str; 2] = ["s3", "s3a"];
pub(super) const GOOGLE: [&str; 1] = ["gs"];
pub(super) const AZURE: [&str; 4] = ["az", "azure", "abfs", "abfss"];
pub(super) const HTTP: [&str; 2] = ["http", "https"];

/// Where a published tree is, or is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// A directory of this machine.
    Directory(PathBuf),
    /// A store, with the path of the tree in it.
    Url(Url),
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No such store is known.
    #[error("the address {0} does not begin with s3://, gs://, az://, https://, http:// or file://, and is no path")]
    Scheme(String),
    /// It is no URL.
    #[error("the address {address} is not a URL: {why}")]
    Malformed {
        /// As it was written.
        address: String,
        /// What is wrong.
        why: String,
    },
    /// Everybody on this machine can read arguments, and addresses are in logs.
    #[error("the address of {0} has a user name or password in it")]
    Secret(String),
    /// A query or fragment would be dropped, and with it perhaps a token.
    #[error("the address of {0} has a query or fragment (? or #) in it")]
    Query(String),
}

impl AddressError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Scheme(_) | Self::Malformed { .. } => {
                "such as s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX, https://HOST/PATH or a directory".to_owned()
            }
            Self::Secret(_) | Self::Query(_) => {
                "give the address without it; credentials are read from the environment (docs/publishing.md has the names)"
                    .to_owned()
            }
        })
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self::Directory(PathBuf::from(text)));
        };
        if scheme == "file" {
            return match rest.strip_prefix('/') {
                Some(path) => Ok(Self::Directory(PathBuf::from(format!("/{path}")))),
                None => Err(AddressError::Malformed {
                    address: text.to_owned(),
                    why: "file:// is followed by a path from the root directory".to_owned(),
                }),
            };
        }
        let known = [&S3[..], &GOOGLE, &AZURE, &HTTP].concat();
        if !known.contains(&scheme) {
            return Err(AddressError::Scheme(shown(scheme, rest)));
        }
        let url = Url::parse(text).map_err(|error| AddressError::Malformed {
            address: shown(scheme, rest),
            why: error.to_string(),
        })?;
        if url.host_str().is_none_or(str::is_empty) {
            return Err(AddressError::Malformed {
                address: text.to_owned(),
                why: "it names no bucket or host".to_owned(),
            });
        }
        // abfss://CONTAINER@ACCOUNT.dfs.core.windows.net has the container in the place of a user.
        let has_user = !url.username().is_empty() && !scheme.starts_with("abfs");
        if has_user || url.password().is_some() {
            return Err(AddressError::Secret(place(&url)));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(AddressError::Query(place(&url)));
        }
        Ok(Self::Url(url))
    }
}

/// An address that could not be understood, without what may be a password.
fn shown(scheme: &str, rest: &str) -> String {
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    format!("{scheme}://{rest}")
}

fn place(url: &Url) -> String {
    format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default())
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            Self::Url(url) => f.write_str(url.as_str().trim_end_matches('/')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let parsed = text.parse::<Address>();
            match (parsed, expected) {
                (Ok(address), Ok(expected)) => assert_eq!(address.to_string(), expected, "{text}"),
                (Err(error), Err(expected)) => {
                    assert!(error.to_string().contains(expected), "{text}: {error}");
                    assert!(!error.to_string().contains("hunter2"), "{text}: {error}");
                    assert!(error.hint().is_some());
                }
                (got, _) => panic!("{text}: {got:?}"),
            }
        };
        check("mirror", Ok("mirror"));
        check("file:///srv/mirror", Ok("/srv/mirror"));
        check("file://srv", Err("file:// is followed by a path"));
        check("s3://bucket/a/b/", Ok("s3://bucket/a/b"));
        check("gs://bucket", Ok("gs://bucket"));
        check("az://container/x", Ok("az://container/x"));
        check(
            "abfss://box@account.dfs.core.windows.net/x",
            Ok("abfss://box@account.dfs.core.windows.net/x"),
        );
        check("https://example.org/drivers", Ok("https://example.org/drivers"));
        check("ftp://example.org/", Err("ftp://example.org/ does not begin"));
        check(
            "ftp://me:hunter2@example.org/",
            Err("ftp://example.org/ does not begin"),
        );
        check(
            "https://me:hunter2@example.org/",
            Err("https://example.org has a user name or password"),
        );
        check("https://me@example.org/", Err("has a user name or password"));
        check("https://example.org/?sig=hunter2", Err("has a query"));
        check("s3:///prefix", Err("names no bucket"));
        check("http://", Err("is not a URL"));
    }
}
