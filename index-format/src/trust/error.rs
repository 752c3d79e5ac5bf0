//! Why something is not trusted.

use jiff::Timestamp;

use super::time::Now;

/// Why a file was not accepted. Every variant names the file, as a path below the repository's root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// All signatures are right, but the file has expired. Nothing is lost: what was verified before
    /// stays, and nothing new is taken.
    #[error(
        "{file} is out of date: the signature of role {role} expired at {expired}, and {} {now}",
        if *is_signed { "the newest verified timestamp.json was issued at" } else { "now is" }
    )]
    Stale {
        /// The file.
        file: String,
        /// The role that signed it.
        role: String,
        /// When it expired.
        expired: Timestamp,
        /// The time it was compared with.
        now: Timestamp,
        /// Whether that time is the one at which the newest verified timestamp.json was issued, and not the clock's.
        is_signed: bool,
    },
    /// Something is not as its signature, or the rules of this index, say it must be.
    #[error("{}", refusal(file, role, why))]
    Refused {
        /// The file.
        file: String,
        /// The role that signs it.
        role: String,
        /// What is wrong.
        why: Why,
    },
    /// More bytes than signed or allowed.
    #[error("{file} is longer than {max_bytes} bytes")]
    TooLong {
        /// The file.
        file: String,
        /// The most that may be.
        max_bytes: u64,
    },
    /// A file that must be there is not.
    #[error("the repository does not have {file}")]
    Missing {
        /// The file.
        file: String,
    },
    /// No role lists this target.
    #[error("no role of the repository vouches for target {target}")]
    Unlisted {
        /// TUF target path.
        target: String,
    },
}

/// What is wrong with a refused file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// It cannot be understood.
    #[error("it is malformed: {0}")]
    Malformed(String),
    /// Too few of its signatures are right.
    #[error("{found} of at least {needed} signatures are right")]
    Threshold {
        /// Right signatures by different keys.
        found: usize,
        /// Signatures needed.
        needed: usize,
    },
    /// It is older than what was trusted before.
    #[error("it goes back from version {trusted} to {offered}")]
    Rollback {
        /// The version known.
        trusted: u64,
        /// The version offered.
        offered: u64,
    },
    /// Its length, hash or version is not the signed one.
    #[error("it is not what was signed: {0}")]
    Mismatch(String),
    /// The role is not known to those who could delegate to it.
    #[error("nobody delegates to role {0}")]
    UnknownRole(String),
    /// Its content is outside the scope of its role.
    #[error("it oversteps its role: {0}")]
    Scope(String),
    /// It claims devices that its role may not sign for.
    #[error("it claims {0}")]
    Devices(String),
}

/// The sentence about a refused file.
fn refusal(file: &str, role: &str, why: &Why) -> String {
    match why {
        Why::Devices(pattern) => format!("{file}: role {role} may not sign for {pattern}"),
        why => format!("{file} of role {role} is not acceptable: {why}"),
    }
}

impl TrustError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Stale { is_signed: true, .. } => {
                "this machine's clock is behind the repository's timestamp.json: check the clock (`timedatectl`); if it is \
                 right, timestamp.json is dated ahead: tell the publisher, and try again in some days or after new keys"
                    .to_owned()
            }
            Self::Stale { .. } => {
                "check this machine's clock (`timedatectl`); if it is right, the mirror or the repository is out of date: \
                 try again later or another mirror"
                    .to_owned()
            }
            Self::Refused { role, .. } if role == "root" => {
                "check that the pinned root.json is this repository's; get it again from its publisher".to_owned()
            }
            Self::Refused { .. } | Self::TooLong { .. } => {
                "the mirror or the connection may be hostile or broken: try another mirror, and tell the publisher".to_owned()
            }
            Self::Missing { .. } => "the mirror may be in the middle of an update: try again later".to_owned(),
            Self::Unlisted { .. } => "refresh first; the package may have been withdrawn".to_owned(),
        })
    }

    /// Whether the signatures are right and have only expired.
    pub fn is_stale(&self) -> bool {
        matches!(self, Self::Stale { .. })
    }

    /// Whether the file may come from an attacker: it was served, and is refused for another reason than its age.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::TooLong { .. })
    }

    pub(super) fn refused(file: &str, role: &str, why: Why) -> Self {
        Self::Refused {
            file: file.to_owned(),
            role: role.to_owned(),
            why,
        }
    }

    pub(super) fn mismatch(file: &str, role: &str, what: impl Into<String>) -> Self {
        Self::refused(file, role, Why::Mismatch(what.into()))
    }

    /// Translates the TUF core's error about `file` of `role`.
    pub(super) fn from_tuf(error: sigstore_tuf::Error, file: &str, role: &str, now: Now) -> Self {
        use sigstore_tuf::Error as Tuf;
        let why = match error {
            Tuf::Expired { role, expires } => {
                return Self::Stale {
                    file: file.to_owned(),
                    role,
                    expired: expires,
                    now: now.time,
                    is_signed: now.is_signed,
                };
            }
            Tuf::ThresholdNotMet { found, threshold, .. } => Why::Threshold {
                found,
                needed: threshold,
            },
            Tuf::Rollback { trusted, new, .. } => Why::Rollback { trusted, offered: new },
            Tuf::BadRootVersion { trusted, new } if new <= trusted => Why::Rollback { trusted, offered: new },
            Tuf::BadRootVersion { trusted, new } => {
                Why::Mismatch(format!("version {new} does not follow version {trusted}"))
            }
            Tuf::IntegrityMismatch(what) => Why::Mismatch(what),
            Tuf::UnknownRole(role) => Why::UnknownRole(role),
            other => Why::Malformed(chain(&other)),
        };
        Self::refused(file, role, why)
    }
}

/// An error and its causes in one fragment.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
