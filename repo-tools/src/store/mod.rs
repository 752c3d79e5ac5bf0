//! Where a published tree lies: in a directory, in an object store, or behind a server that takes PUT.
//!
//! [`Address`] is what people write; [`Store::open`] makes a store of it. Files are written whole or not at all. The one file that is
//! ever replaced, `timestamp.json`, is replaced on the condition that it is what was read before: in one step where the store has such
//! writes (S3, Google Cloud Storage, Azure, a directory of this machine), else by reading it once more just before.

mod address;
mod connect;
mod directory;
mod error;
mod objects;

use std::collections::BTreeMap;

pub use address::{Address, AddressError};
pub use error::StoreError;

use directory::Directory;
use objects::Objects;

/// The one file that changes under its name.
pub const TIMESTAMP: &str = "metadata/timestamp.json";

/// The first root: which repository it is.
pub const FIRST_ROOT: &str = "metadata/1.root.json";

/// A place with files by path, such as `metadata/timestamp.json`.
#[derive(Debug)]
pub struct Store {
    address: String,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Directory(Directory),
    Objects(Objects),
}

/// A file that was read.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its content.
    pub bytes: Vec<u8>,
    /// Which one it was, as the store tells them apart.
    version: objects::Version,
}

/// What became of a file that others may write, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It was written.
    Done,
    /// Another file was there, and still is.
    Refused,
}

impl Store {
    /// Opens a store to read from it.
    ///
    /// # Errors
    /// When the settings in the environment are not usable.
    pub fn open(address: &Address) -> Result<Self, StoreError> {
        let place = match address {
            Address::Directory(path) => Place::Directory(Directory::at(path)),
            Address::Url(url) => Place::Objects(Objects::at(url)?),
        };
        Ok(Self {
            address: address.to_string(),
            place,
        })
    }

    /// Opens a store to write into it. A directory is made, and locked against other writers of this machine.
    ///
    /// # Errors
    /// As [`Store::open`], and when the directory cannot be made or locked.
    pub fn open_to_write(address: &Address) -> Result<Self, StoreError> {
        let mut store = Self::open(address)?;
        if let Place::Directory(directory) = &mut store.place {
            directory.lock()?;
        }
        Ok(store)
    }

    /// The address, for people.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether reading from it is quick.
    pub fn is_directory(&self) -> bool {
        matches!(self.place, Place::Directory(_))
    }

    /// A file of at most `most_bytes`; none where there is no such file.
    ///
    /// # Errors
    /// When the store fails, or the file is larger.
    pub async fn read(&self, path: &str, most_bytes: u64) -> Result<Option<Found>, StoreError> {
        match &self.place {
            Place::Directory(directory) => Ok(directory.read(path, most_bytes)?.map(|bytes| Found {
                bytes,
                version: objects::Version::default(),
            })),
            Place::Objects(objects) => {
                let found = objects.read(path, most_bytes).await?;
                Ok(found.map(|(bytes, version)| Found { bytes, version }))
            }
        }
    }

    /// The lengths of all files by path; none where the store has no lists.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self) -> Result<Option<BTreeMap<String, u64>>, StoreError> {
        match &self.place {
            Place::Directory(directory) => Ok(Some(directory.list()?)),
            Place::Objects(objects) => objects.list().await,
        }
    }

    /// The length of a file; none where there is no such file.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn length(&self, path: &str) -> Result<Option<u64>, StoreError> {
        match &self.place {
            Place::Directory(directory) => directory.length(path),
            Place::Objects(objects) => objects.length(path).await,
        }
    }

    /// Writes a file that has this content under this name for ever; whatever is there is replaced.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn write(&self, path: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        match &self.place {
            Place::Directory(directory) => directory.write(path, &bytes),
            Place::Objects(objects) => objects.write(path, bytes).await,
        }
    }

    /// Writes a file where there is none.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn write_new(&self, path: &str, bytes: Vec<u8>) -> Result<Written, StoreError> {
        self.replace(path, bytes, None).await
    }

    /// Replaces a file on the condition that it is still the one that was read `before`, or still is not there.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn replace(&self, path: &str, bytes: Vec<u8>, before: Option<&Found>) -> Result<Written, StoreError> {
        match &self.place {
            Place::Directory(directory) => directory.replace(path, &bytes, before.map(|found| &found.bytes[..])),
            Place::Objects(objects) => {
                let before = before.map(|found| (&found.bytes[..], &found.version));
                objects.replace(path, bytes, before).await
            }
        }
    }

    /// Removes a file; one that is gone already is as good.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn remove(&self, path: &str) -> Result<(), StoreError> {
        match &self.place {
            Place::Directory(directory) => directory.remove(path),
            Place::Objects(objects) => objects.remove(path).await,
        }
    }

    /// Makes what was written survive a power cut, where that is up to this machine.
    ///
    /// # Errors
    /// The file system's.
    pub fn flush(&self) -> Result<(), StoreError> {
        match &self.place {
            Place::Directory(directory) => directory.flush(),
            Place::Objects(_) => Ok(()),
        }
    }
}
