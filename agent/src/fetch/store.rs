//! The content-addressed store, `bundles/sha256/<2 hex>/<64 hex>`: the same layout as on a mirror.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dkms_index::document::limits::BUNDLE_MAX_BYTES;
use dkms_index::trust::TrustedManifest;
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

use super::{FetchError, VerifiedBundle, label};
use crate::state::Paths;
use crate::sync::Session;
use crate::transport::{Answer, Limit, PartFile, Request};

/// How long another run's download of the same bundle is waited for between looks.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// The bundles on this machine.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
}

/// One bundle that is wanted.
struct Wanted {
    package: String,
    sha256: String,
    length: u64,
    /// Its place below a mirror.
    remote: String,
    /// Its place in the store.
    path: PathBuf,
}

impl Store {
    /// The store of this machine.
    pub fn of(paths: &Paths) -> Self {
        Self { dir: paths.bundles() }
    }

    /// A store in another directory.
    pub fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The bundle that `manifest` names: from the store, else from a mirror. A download that was interrupted goes on where it
    /// stopped, in this run or a later one. `progress` is called with the number of bytes received.
    ///
    /// # Errors
    /// When it cannot be had, or is not what the manifest names.
    pub async fn bundle(
        &self,
        manifest: &TrustedManifest,
        session: &Session<'_>,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<VerifiedBundle, FetchError> {
        let wanted = self.wanted(manifest)?;
        let file = match wanted.stored()? {
            Some(file) => file,
            None => wanted.download(session, progress).await?,
        };
        Ok(VerifiedBundle {
            file,
            path: wanted.path,
            format: manifest.manifest().bundle.format,
            label: wanted.package,
        })
    }

    fn wanted(&self, manifest: &TrustedManifest) -> Result<Wanted, FetchError> {
        let package = label(manifest);
        let bundle = &manifest.manifest().bundle;
        let (sha256, length) = (bundle.sha256.clone(), bundle.length);
        let wrong = |what: String| FetchError::Manifest {
            package: package.clone(),
            what,
        };
        // It becomes a part of a path, so it must be a hash.
        if sha256.len() != 64 || !sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(wrong(format!("{sha256:.80?} is no sha256")));
        }
        if length > BUNDLE_MAX_BYTES {
            return Err(wrong(format!(
                "bundle of {length} bytes is above the limit of {BUNDLE_MAX_BYTES}"
            )));
        }
        let below = format!("{}/{sha256}", &sha256[..2]);
        Ok(Wanted {
            path: self.dir.join(&below),
            remote: format!("bundles/sha256/{below}"),
            package,
            sha256,
            length,
        })
    }
}

impl Wanted {
    /// The file in the store, if its hash is still right; a damaged one is removed.
    fn stored(&self) -> Result<Option<File>, FetchError> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(self.failed(&self.path, e)),
        };
        if self.hash(&mut file, &self.path)? == self.sha256 {
            return Ok(Some(file));
        }
        tracing::warn!(path = %self.path.display(), "a stored bundle is damaged and will be fetched again");
        fs::remove_file(&self.path).map_err(|e| self.failed(&self.path, e))?;
        Ok(None)
    }

    async fn download(
        &self,
        session: &Session<'_>,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<File, FetchError> {
        if session.mirrors().is_empty() {
            return Err(FetchError::NotCached {
                package: self.package.clone(),
            });
        }
        let (mut file, part) = self.open_part().await?;
        // The run that held the lock before us may have fetched it.
        if let Some(stored) = self.stored()? {
            return Ok(stored);
        }
        let mut tries = 0;
        let found = loop {
            let resumed = self.length_of(&file, &part)? > 0;
            self.receive(session, &mut file, &part, progress).await?;
            let found = self.hash(&mut file, &part)?;
            if found == self.sha256 {
                break None;
            }
            // The part of an earlier run may be wrong; each mirror is tried.
            file.set_len(0).map_err(|e| self.failed(&part, e))?;
            tries += usize::from(!resumed);
            if tries >= session.mirrors().len() {
                break Some(found);
            }
            if !resumed {
                session.mirrors().prefer_next();
            }
        };
        if let Some(found) = found {
            // A later run must not resume it.
            let _ = fs::remove_file(&part);
            return Err(FetchError::Hash {
                package: self.package.clone(),
                expected: self.sha256.clone(),
                found,
            });
        }
        file.sync_all().map_err(|e| self.failed(&part, e))?;
        fs::rename(&part, &self.path).map_err(|e| self.failed(&self.path, e))?;
        let dir = self.directory();
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(|e| self.failed(dir, e))?;
        Ok(file)
    }

    /// Gets what is missing of the file.
    async fn receive(
        &self,
        session: &Session<'_>,
        file: &mut File,
        part: &Path,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), FetchError> {
        if self.length_of(file, part)? == self.length {
            return Ok(());
        }
        let request = Request {
            resume: true,
            limit: Limit::BySize,
            ..Request::whole(&self.remote, self.length)
        };
        let mut sink = PartFile::new(file, progress).map_err(|e| self.failed(part, e))?;
        let answer = session.transport().get(session.mirrors(), request, &mut sink).await;
        match answer {
            Ok(Answer::Body { .. }) => Ok(()),
            Ok(Answer::NotFound | Answer::NotModified) => Err(FetchError::Missing {
                package: self.package.clone(),
                path: self.remote.clone(),
            }),
            Err(source) => Err(FetchError::Transport {
                package: self.package.clone(),
                source,
            }),
        }
    }

    /// The partial download, locked, so that two runs do not write to one file.
    async fn open_part(&self) -> Result<(File, PathBuf), FetchError> {
        let part = self.path.with_extension("part");
        let dir = self.directory();
        fs::create_dir_all(dir).map_err(|e| self.failed(dir, e))?;
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&part)
                .map_err(|e| self.failed(&part, e))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // Renamed or removed by the run that held it: that is another file now.
                Ok(()) if is_the_file_at(&file, &part) => return Ok((file, part)),
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => tokio::time::sleep(LOCK_POLL).await,
                Err(e) => return Err(self.failed(&part, e.into())),
            }
        }
    }

    fn hash(&self, file: &mut File, path: &Path) -> Result<String, FetchError> {
        let mut hash = || -> io::Result<String> {
            file.seek(SeekFrom::Start(0))?;
            let mut hasher = Sha256::new();
            let mut buffer = vec![0; 64 << 10];
            // One byte more than it may have is enough to know.
            let mut reader = Read::by_ref(file).take(self.length + 1);
            loop {
                match reader.read(&mut buffer)? {
                    0 => break,
                    n => hasher.update(&buffer[..n]),
                }
            }
            file.seek(SeekFrom::Start(0))?;
            Ok(hex::encode(hasher.finalize()))
        };
        hash().map_err(|e| self.failed(path, e))
    }

    fn length_of(&self, file: &File, path: &Path) -> Result<u64, FetchError> {
        file.metadata().map(|m| m.len()).map_err(|e| self.failed(path, e))
    }

    fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    fn failed(&self, path: &Path, source: io::Error) -> FetchError {
        FetchError::Io {
            package: self.package.clone(),
            path: path.to_owned(),
            source,
        }
    }
}

fn is_the_file_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
