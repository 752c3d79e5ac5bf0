//! A repository's working directory: where its parts lie, and `repo.toml`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dkms_engine::sandbox;
use serde::{Deserialize, Serialize};

use crate::files::{self, FileError};
use crate::keys::{KeyError, KeyRing, Secrets};
use crate::lock::LOCK_FILE;
use crate::store::Address;

/// The file that makes a directory a repository.
pub const CONFIG_FILE: &str = "repo.toml";

/// Why a directory could not be used as a repository.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// There is no `repo.toml`.
    #[error("{} is not a repository: it has no {CONFIG_FILE}", .0.display())]
    NotARepository(PathBuf),
    /// `repo.toml` cannot be understood.
    #[error("{} is not valid: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Line and reason.
        source: Box<toml::de::Error>,
    },
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl RepositoryError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotARepository(path) => Some(format!("make one with `dkms-repo init {}`", path.display())),
            Self::Config { path, .. } => Some(format!(
                "correct {}; `dkms-repo init` writes a valid one",
                path.display()
            )),
            Self::File(e) => e.hint(),
        }
    }
}

/// `repo.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The repository's name, for people and for the agent's `repos.d`.
    pub name: String,
    /// Whether packages are evaluated and built where they cannot be confined.
    #[serde(default)]
    pub sandbox: sandbox::Policy,
    /// How long each role's signature is good for.
    #[serde(default)]
    pub expires_days: Expiry,
    /// The largest index segment, in bytes before compression.
    #[serde(default = "default_segment_bytes")]
    pub segment_bytes: usize,
    /// Where each publication is put, besides `public/`. Directories are below the repository's own, unless they are absolute.
    #[serde(default)]
    pub publish_to: Vec<Address>,
}

fn default_segment_bytes() -> usize {
    16 << 20
}

/// Lifetimes of signed metadata by role, in days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expiry {
    /// Offline, m of n.
    pub root: u32,
    /// Offline, delegates only.
    pub targets: u32,
    /// Offline, signs manifests.
    pub curated: u32,
    /// Offline, one for each vendor, signs manifests.
    pub vendor: u32,
    /// Online, hints for matching.
    pub index: u32,
    /// Online, can only deny.
    pub revocations: u32,
    /// Online, consistency.
    pub snapshot: u32,
    /// Online, freshness.
    pub timestamp: u32,
}

impl Default for Expiry {
    fn default() -> Self {
        Self {
            root: 365,
            targets: 182,
            curated: 120,
            vendor: 120,
            index: 7,
            revocations: 7,
            snapshot: 7,
            timestamp: 2,
        }
    }
}

/// Where a bundle lies below `public/`.
pub(crate) fn bundle_path(sha256: &str) -> String {
    format!("bundles/sha256/{}/{sha256}", sha256.get(..2).unwrap_or("__"))
}

/// An opened working directory.
#[derive(Debug, Clone)]
pub struct Repository {
    path: PathBuf,
    config: Config,
    secrets: Arc<Secrets>,
}

impl Repository {
    /// Opens an existing repository.
    pub fn open(path: &Path) -> Result<Self, RepositoryError> {
        let file = path.join(CONFIG_FILE);
        let bytes = files::read_if_exists(&file)?.ok_or_else(|| RepositoryError::NotARepository(path.to_owned()))?;
        let config = toml::from_slice(&bytes).map_err(|source| RepositoryError::Config {
            path: file,
            source: Box::new(source),
        })?;
        Ok(Self {
            path: path.to_owned(),
            config,
            secrets: Arc::default(),
        })
    }

    /// With another place for the passphrases of its keys.
    #[must_use]
    pub fn with_secrets(mut self, secrets: Arc<Secrets>) -> Self {
        self.secrets = secrets;
        self
    }

    /// The private keys that are at hand.
    ///
    /// # Errors
    /// When a file is no key, or not only for its owner.
    pub fn keys(&self) -> Result<KeyRing, KeyError> {
        KeyRing::open(&self.keys_dir(), Arc::clone(&self.secrets))
    }

    /// Where passphrases come from.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Lays out an empty repository: the directories and `repo.toml`. Keys and roles are made by `init`.
    pub fn create(path: &Path, config: Config) -> Result<Self, RepositoryError> {
        let repository = Self::lay_out(path, config)?;
        repository.save_config()?;
        Ok(repository)
    }

    /// Makes the directories alone.
    pub fn lay_out(path: &Path, config: Config) -> Result<Self, RepositoryError> {
        let repository = Self {
            path: path.to_owned(),
            config,
            secrets: Arc::default(),
        };
        for dir in [
            repository.staging_dir(),
            repository.bundle_dir(),
            repository.public_dir(),
        ] {
            files::create_dir(&dir)?;
        }
        Ok(repository)
    }

    /// Writes `repo.toml`, which makes the directory a repository.
    pub fn save_config(&self) -> Result<(), RepositoryError> {
        let text = format!(
            "# A dkms-repo repository. Lifetimes are in days, sizes in bytes.\n{}",
            toml::to_string(&self.config).unwrap_or_default()
        );
        Ok(files::write_atomic(&self.path.join(CONFIG_FILE), text.as_bytes())?)
    }

    /// The working directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `repo.toml`.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Private keys; never below [`Repository::public_dir`].
    pub fn keys_dir(&self) -> PathBuf {
        self.path.join("keys")
    }

    /// Packages that were added but may not be published yet; see [`crate::stage`].
    pub fn staging_dir(&self) -> PathBuf {
        self.path.join("staging")
    }

    /// Source bundles of staged packages, content addressed.
    pub fn bundle_dir(&self) -> PathBuf {
        self.path.join("bundles")
    }

    /// What the last publication knew of the staged packages: it can be removed at any time.
    pub fn known_file(&self) -> PathBuf {
        self.path.join("cache/published")
    }

    /// The file that every writer locks.
    pub fn lock_file(&self) -> PathBuf {
        self.path.join(LOCK_FILE)
    }

    /// Where each publication is put, besides [`Repository::public_dir`].
    pub fn targets(&self) -> Vec<Address> {
        let absolute = |address: &Address| match address {
            Address::Directory(path) => Address::Directory(self.path.join(path)),
            Address::Url(_) => address.clone(),
        };
        self.config.publish_to.iter().map(absolute).collect()
    }

    /// The static tree that clients read.
    pub fn public_dir(&self) -> PathBuf {
        self.path.join("public")
    }
}
