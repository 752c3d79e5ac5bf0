//! Why something was not prepared, signed or merged.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::authority::AuthorityError;
use crate::files::FileError;
use crate::keys::KeyError;
use crate::publish::PublishError;
use crate::signed::SignError;

/// Why a ceremony did not go on. Nothing that was signed is lost by any of them.
#[derive(Debug, thiserror::Error)]
pub enum CeremonyError {
    /// The name of the file does not say which role it is of.
    #[error("{} is not named as metadata is: VERSION.ROLE.json", .0.display())]
    Name(PathBuf),
    /// It is not metadata, or not as it would be signed.
    #[error("{} is not metadata that can be signed: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// What it replaces is not beside it.
    #[error("what {} changes cannot be told: {what} is missing in {}", path.display(), dir.display())]
    NoBase {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: String,
        /// Where it should be.
        dir: PathBuf,
    },
    /// The metadata beside it is not what the repository signed.
    #[error("{} is not to be trusted: {why}", path.display())]
    Unvouched {
        /// A file in `published`.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It is not newer than what it replaces.
    #[error("{} has version {offered} of {role}, and version {before} is published", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its role.
        role: String,
        /// Its version.
        offered: u64,
        /// The published one.
        before: u64,
    },
    /// The key is not one that has to sign it.
    #[error("key {key} does not sign {role} version {version}, which is in {}", path.display())]
    NotItsKey {
        /// The file.
        path: PathBuf,
        /// Its role.
        role: String,
        /// Its version.
        version: u64,
        /// The key's id.
        key: String,
        /// The ids of those that sign it.
        keys: Vec<String>,
    },
    /// A signature in it is not one of it.
    #[error("{} has a signature by key {key} that does not fit it", path.display())]
    BadSignature {
        /// The file.
        path: PathBuf,
        /// The key's id.
        key: String,
    },
    /// All keys are here.
    #[error("nothing is left for others to sign: nothing changes, or all keys that have to sign are in {}", .0.display())]
    NothingToSign(PathBuf),
    /// Another change has this version already.
    #[error("version {version} of {role} is prepared already, in {}", dir.display())]
    PreparedAlready {
        /// The role.
        role: String,
        /// The version.
        version: u64,
        /// Where.
        dir: PathBuf,
    },
    /// There is no prepared change of this number.
    #[error("there is no prepared change {0}")]
    NoSet(u64),
    /// No prepared change has the document.
    #[error("{} was not prepared in this repository, or was dropped since", .0.display())]
    NotPrepared(PathBuf),
    /// Somebody signed something else.
    #[error(
        "{} is not the {role} version {version} that was prepared in {}:{}",
        path.display(), dir.display(), differences.iter().map(|line| format!("\n  {line}")).collect::<String>()
    )]
    OtherBytes {
        /// The file.
        path: PathBuf,
        /// Its role.
        role: String,
        /// Its version.
        version: u64,
        /// Where the prepared one is.
        dir: PathBuf,
        /// In what it differs.
        differences: Vec<String>,
    },
    /// The repository went on.
    #[error("{} has version {offered} of {role}, and version {before} is published: the repository went on since", dir.display())]
    Moved {
        /// The prepared change.
        dir: PathBuf,
        /// The role.
        role: String,
        /// The prepared version.
        offered: u64,
        /// The published version.
        before: u64,
    },
    /// What is staged, or who may sign, changed since.
    #[error(
        "{} is not what would be published of role {role} now:{}",
        dir.display(), differences.iter().map(|line| format!("\n  {line}")).collect::<String>()
    )]
    Differs {
        /// The prepared change.
        dir: PathBuf,
        /// The role.
        role: String,
        /// How what would be published differs from what was prepared.
        differences: Vec<String>,
    },
    /// Its lifetime ended before it was signed by all.
    #[error("{role} version {version} in {} expired at {expired}", dir.display())]
    Expired {
        /// The prepared change.
        dir: PathBuf,
        /// The role.
        role: String,
        /// The version.
        version: u64,
        /// When.
        expired: Timestamp,
    },
    /// What was asked for cannot be.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// Publication failed.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Keys are missing that sign now.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl CeremonyError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        let again = |dir: &PathBuf| {
            let number = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
            format!(
                "`dkms-repo merge --drop {number}`, and prepare the change again; what was published stays as it is"
            )
        };
        Some(match self {
            Self::Name(_) => "give it the name that it had, such as 5.root.json".to_owned(),
            Self::Malformed { .. } => "take the file again from the machine that prepared it".to_owned(),
            Self::NoBase { .. } => "copy the whole directory that was prepared, with `published` in it".to_owned(),
            Self::Unvouched { .. } | Self::Version { .. } => {
                "do not sign; ask whoever prepared it, by another way than the one by which it came".to_owned()
            }
            Self::NotItsKey { keys, .. } => format!("these keys sign it: {}", keys.join(", ")),
            Self::BadSignature { .. } => {
                "take the file again from the machine that prepared it, and let this person sign again".to_owned()
            }
            Self::NothingToSign(_) => "the same command without --prepare signs and publishes".to_owned(),
            Self::PreparedAlready { dir, .. } => {
                let number = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
                format!("let it be signed and merge it, or `dkms-repo merge --drop {number}`")
            }
            Self::NoSet(_) => "`dkms-repo merge` lists them".to_owned(),
            Self::NotPrepared(_) => "`dkms-repo merge` lists what is prepared; prepare the change again".to_owned(),
            Self::OtherBytes { dir, .. } => format!("let everybody sign the same file: the one in {}", dir.display()),
            Self::Moved { dir, .. } | Self::Differs { dir, .. } | Self::Expired { dir, .. } => again(dir),
            Self::Authority(e) => return e.hint(),
            Self::Publish(e) => return e.hint(),
            Self::Key(e) => return e.hint(),
            Self::Sign(e) => return e.hint(),
            Self::File(e) => return e.hint(),
        })
    }

    /// Whether something is not what its signatures, or those who prepared it, say.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Malformed { .. }
                | Self::Unvouched { .. }
                | Self::Version { .. }
                | Self::BadSignature { .. }
                | Self::OtherBytes { .. }
        )
    }
}
