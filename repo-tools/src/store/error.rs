//! What can go wrong with a store.

use object_store::Error as Cause;

use crate::files::FileError;

/// A store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A request failed, after it was tried again where that can help.
    #[error("cannot {what} {address}: {}", first_line(cause))]
    Object {
        /// What was being done: `read`, `write`, …
        what: &'static str,
        /// The file, or the whole store.
        address: String,
        /// Why.
        cause: Box<Cause>,
    },
    /// The settings in the environment cannot be used.
    #[error("cannot use {address}: {why}")]
    Settings {
        /// The store.
        address: String,
        /// Why.
        why: String,
    },
    /// No credentials are set, and the address of a cloud may not be asked for them.
    #[error(
        "cannot use {address}: no credentials are set, and AWS_EC2_METADATA_DISABLED forbids to ask the machine's cloud for them"
    )]
    NoCredentials {
        /// The store.
        address: String,
    },
    /// More than is read.
    #[error("{address} has more than {most_bytes} bytes")]
    TooLarge {
        /// The file.
        address: String,
        /// The limit.
        most_bytes: u64,
    },
    /// A name that would lead out of the tree.
    #[error("{0:?} is not the name of a file in a published tree")]
    Name(String),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl StoreError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Object { address, cause, .. } => of_cause(address, cause),
            Self::Settings { .. } => {
                Some("docs/publishing.md has the variables of the environment that are read".to_owned())
            }
            Self::NoCredentials { address } => Some(credentials(address).to_owned()),
            Self::TooLarge { .. } | Self::Name(_) => Some("it is not a repository, or it is damaged".to_owned()),
            Self::File(error) => error.hint(),
        }
    }
}

/// Servers answer with whole pages; the first line says what it is about.
fn first_line(cause: &Cause) -> String {
    const MOST: usize = 400;
    let text = cause.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(MOST).collect()
}

fn of_cause(address: &str, cause: &Cause) -> Option<String> {
    let text = cause.to_string();
    let is_refused = matches!(cause, Cause::PermissionDenied { .. } | Cause::Unauthenticated { .. });
    // Where no credentials are set, S3's library asks the machine that a cloud would have at this address.
    if is_refused || text.contains("169.254.169.254") {
        return Some(credentials(address).to_owned());
    }
    match cause {
        Cause::NotFound { .. } => Some("the bucket, container or directory has to exist before something is put into it".to_owned()),
        _ if text.contains("builder error") || text.contains("URL scheme is not allowed") => Some(
            "without TLS only where that is allowed: AWS_ALLOW_HTTP=true for s3://, AZURE_ALLOW_HTTP=true for az://, GOOGLE_ALLOW_HTTP=true \
             for gs://"
                .to_owned(),
        ),
        _ => Some("the same command again goes on where this one ended".to_owned()),
    }
}

/// Which variables have the credentials of the store at an address.
fn credentials(address: &str) -> &'static str {
    let scheme = address.split("://").next().unwrap_or_default();
    match scheme {
        "s3" | "s3a" => {
            "credentials are read from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and without them from the machine's cloud unless \
             AWS_EC2_METADATA_DISABLED is true; AWS_REGION and AWS_ENDPOINT say where"
        }
        "gs" => {
            "credentials are read from the file that GOOGLE_SERVICE_ACCOUNT or GOOGLE_APPLICATION_CREDENTIALS names"
        }
        "http" | "https" => {
            "credentials are read from DKMS_REPO_HTTP_USER and DKMS_REPO_HTTP_PASSWORD, or DKMS_REPO_HTTP_TOKEN"
        }
        _ => {
            "credentials are read from AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN or those of a client"
        }
    }
}
