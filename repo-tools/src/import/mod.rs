//! Packages from a whole archive of a distribution: which ones there are, by its signed index, and their files, by the hashes in it.

mod error;
mod fetch;
mod packages;
mod release;

use std::path::Path;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

pub use error::ImportError;
pub use packages::Offered;
pub(crate) use packages::{offered, paragraph};

use fetch::Fetcher;
use packages::{Compression, INDEXES};
use release::Release;

/// The largest InRelease that is read; those of Debian have 200 kB.
const RELEASE_MAX_BYTES: u64 = 16 << 20;
/// The largest index of packages, packed and unpacked; that of Debian's main has 50 MB.
const INDEX_MAX_BYTES: u64 = 512 << 20;

/// The index of a suite, whose signature was right.
#[derive(Debug)]
pub(crate) struct Suite {
    name: String,
    release: Release,
    /// SHA-256 of the file.
    pub(crate) digest: String,
}

/// An apt archive, and whose signature counts.
#[derive(Debug)]
pub struct Archive<'a> {
    fetcher: Fetcher,
    keyring: &'a Path,
}

impl<'a> Archive<'a> {
    /// The archive at the address `mirror`: what is before `dists/` in the addresses of its files.
    ///
    /// # Errors
    /// When the address is none that files can be fetched from.
    pub fn new(mirror: &str, keyring: &'a Path) -> Result<Self, ImportError> {
        Ok(Self {
            fetcher: Fetcher::new(mirror)?,
            keyring,
        })
    }

    /// The *-dkms packages of some components of one suite for `arch`, and those for all architectures.
    ///
    /// # Errors
    /// When the index is not there, is not signed by a key of the keyring, has expired at `now`, or is not what its hash says.
    pub fn offered(
        &self,
        suite: &str,
        components: &[String],
        arch: &str,
        now: Timestamp,
    ) -> Result<Vec<Offered>, ImportError> {
        let suite = self.suite(suite, Some(now))?;
        let mut all = Vec::new();
        for component in components {
            for (bytes, compression, url) in self.indexes(&suite, component, arch)? {
                all.extend(packages::dkms_packages(&bytes, compression, &url)?);
            }
        }
        Ok(all)
    }

    /// The signed index of a suite. Without a time, it may have expired.
    ///
    /// # Errors
    /// When it is not there, is not signed by a key of the keyring, or has expired at `now`.
    pub(crate) fn suite(&self, name: &str, now: Option<Timestamp>) -> Result<Suite, ImportError> {
        let place = format!("dists/{name}/InRelease");
        let signed = self.fetcher.get(&place, RELEASE_MAX_BYTES)?;
        let url = self.fetcher.address(&place);
        Ok(Suite {
            name: name.to_owned(),
            release: Release::verified(&signed, &url, self.keyring, now)?,
            digest: hex::encode(Sha256::digest(&signed)),
        })
    }

    /// Hands over the text of each entry of a component's index, once its hash is right.
    ///
    /// # Errors
    /// When the index is not there or is not what its hash says, and what `take` says is wrong with it.
    pub(crate) fn each_entry(
        &self,
        suite: &Suite,
        component: &str,
        arch: &str,
        take: &mut dyn FnMut(&str) -> Result<(), String>,
    ) -> Result<(), ImportError> {
        for (bytes, compression, url) in self.indexes(suite, component, arch)? {
            packages::each_entry(&bytes, compression, &url, take)?;
        }
        Ok(())
    }

    /// The verified indexes of a component, with their addresses.
    fn indexes(
        &self,
        suite: &Suite,
        component: &str,
        arch: &str,
    ) -> Result<Vec<(Vec<u8>, Compression, String)>, ImportError> {
        let mut found = Vec::new();
        // Packages for all architectures are in the index of each, or in one of their own. Debian has both, and brings only the first up to
        // date.
        let apart = (!suite.release.has_all_everywhere).then_some("all");
        for arch in [arch].into_iter().chain(apart) {
            let index = |ending: &str| format!("{component}/binary-{arch}/Packages{ending}");
            let listed = INDEXES.iter().find_map(|(ending, compression)| {
                Some((index(ending), *compression, suite.release.file(&index(ending))?))
            });
            let Some((path, compression, (sha256, length))) = listed else {
                continue;
            };
            let place = format!("dists/{}/{path}", suite.name);
            let bytes = self.verified(&place, length, sha256)?;
            found.push((bytes, compression, self.fetcher.address(&place)));
        }
        if found.is_empty() {
            return Err(ImportError::NoIndex {
                url: self.fetcher.address(&format!("dists/{}", suite.name)),
                component: component.to_owned(),
                arch: arch.to_owned(),
            });
        }
        Ok(found)
    }

    /// The file of a package, once its hash is right.
    ///
    /// # Errors
    /// When it cannot be fetched, or is not what the index says.
    pub fn file(&self, package: &Offered, most_bytes: u64) -> Result<Vec<u8>, ImportError> {
        if package.length > most_bytes {
            return Err(ImportError::TooLarge {
                url: self.fetcher.address(&package.path),
                most_bytes,
            });
        }
        self.verified(&package.path, package.length, &package.sha256)
    }

    fn verified(&self, place: &str, length: u64, sha256: &str) -> Result<Vec<u8>, ImportError> {
        if length > INDEX_MAX_BYTES {
            return Err(ImportError::TooLarge {
                url: self.fetcher.address(place),
                most_bytes: INDEX_MAX_BYTES,
            });
        }
        let bytes = self.fetcher.get(place, length)?;
        if hex::encode(Sha256::digest(&bytes)) != sha256 {
            return Err(ImportError::Hash {
                url: self.fetcher.address(place),
            });
        }
        Ok(bytes)
    }
}
