//! The kernel of a suite: resolved, fetched and unpacked, unless it is there and current.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::thread;

use dkms_engine::kernel::{KernelOptions, KernelTarget, is_release};
use dkms_engine::root::Root;
use dkms_engine::sandbox::{Confinement, Layers};
use dkms_support::chain;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tempfile::TempDir;

use super::cache::{Cache, Part, Record, directory_name};
use super::error::KernelsError;
use super::resolve::{Entry, Index, newest};
use super::suite::{Suite, debian_arch};
use super::unpack;
use crate::files::FileError;
use crate::import::{self, Archive, ImportError};

/// The component that has kernels and compilers.
const COMPONENT: &str = "main";
/// What a build needs beside what each system has and the headers ask for.
const NEEDED: [&str; 4] = ["gcc", "libc6-dev", "make", "patch"];
const HEADERS: &str = "linux-headers-";
/// The most that is fetched for one suite; today's take 110 MB.
const FETCHED_MAX_BYTES: u64 = 2 << 30;
/// The most that it unpacks to; today's have 450 MB.
const UNPACKED_MAX_BYTES: u64 = 8 << 30;
/// Packages that wait in memory to be unpacked.
const WAITING: usize = 3;

/// Where the packages come from, and what is trusted.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The address before `dists/`.
    pub mirror: &'a str,
    /// The keys that may sign its indexes.
    pub keyring: &'a Path,
    /// The time now.
    pub now: Timestamp,
    /// Whether indexes may have expired.
    pub allow_expired: bool,
}

/// A kernel that can be built for.
#[derive(Debug)]
pub struct Ready {
    /// The suite.
    pub suite: Suite,
    /// The release of its kernel.
    pub release: String,
    /// The directory of the system with its headers and compiler.
    pub dir: PathBuf,
    /// It is not removed while this is open.
    _in_use: File,
}

/// What goes on.
#[derive(Debug)]
pub enum News<'a> {
    /// The archive cannot be reached; what was unpacked before is taken.
    Offline {
        /// The suite.
        suite: &'a Suite,
        /// When it was current, `YYYY-MM-DD`.
        date: &'a str,
        /// Why it cannot be reached.
        why: String,
    },
    /// Packages are fetched.
    Fetching {
        /// The suite.
        suite: &'a Suite,
        /// The release of its kernel.
        release: &'a str,
        /// How many there are.
        packages: usize,
        /// How large they are together.
        bytes: u64,
    },
    /// One is unpacked, of so many bytes.
    Unpacked(u64),
    /// All are.
    Done,
}

/// The kernels of `suites`, as they are now.
///
/// # Errors
/// For the first one that cannot be had: why. Those before it are unpacked by then.
pub fn ready(
    suites: &[Suite],
    source: &Source<'_>,
    cache: &Cache,
    news: &dyn Fn(&News<'_>),
) -> Result<Vec<Ready>, KernelsError> {
    let Some(first) = suites.first() else {
        return Ok(Vec::new());
    };
    let layers = Layers::here();
    if layers.confinement != Confinement::MountNamespace {
        return Err(KernelsError::NoSandbox {
            suite: first.name().to_owned(),
            reason: layers.no_mount_namespace.clone().unwrap_or_default(),
        });
    }
    let (arch, headers) = debian_arch()?;
    let failed = |error| of_suite(first, error);
    let mut work = Work {
        archive: Archive::new(source.mirror, source.keyring).map_err(failed)?,
        source,
        cache,
        news,
        arch,
        headers,
        signed: BTreeMap::new(),
        entries: BTreeMap::new(),
    };
    let _lock = cache.lock()?;
    let mut all = Vec::new();
    for suite in suites {
        let record = work.current(suite)?;
        all.push(Ready {
            suite: suite.clone(),
            _in_use: cache.hold(&record)?,
            dir: cache.directory(&record),
            release: record.kernel,
        });
    }
    Ok(all)
}

fn of_suite(suite: &Suite, source: ImportError) -> KernelsError {
    KernelsError::Archive {
        suite: suite.name().to_owned(),
        source,
    }
}

/// What several suites have in common.
struct Work<'a> {
    archive: Archive<'a>,
    source: &'a Source<'a>,
    cache: &'a Cache,
    news: &'a dyn Fn(&News<'_>),
    arch: &'static str,
    /// The package that stands for the current headers.
    headers: &'static str,
    signed: BTreeMap<String, import::Suite>,
    entries: BTreeMap<String, Vec<Entry>>,
}

impl Work<'_> {
    fn current(&mut self, suite: &Suite) -> Result<Record, KernelsError> {
        let known = self.cache.record(suite.name(), self.arch);
        let indexes = match (self.indexes(suite), &known) {
            (Err(error @ ImportError::Fetch { .. }), Some(known)) => {
                (self.news)(&News::Offline {
                    suite,
                    date: &known.date,
                    why: chain(&error),
                });
                return Ok(known.clone());
            }
            (indexes, _) => indexes.map_err(|error| of_suite(suite, error))?,
        };
        if let Some(known) = known.as_ref().filter(|known| known.indexes == indexes) {
            return Ok(known.clone());
        }
        for layer in suite.layers() {
            self.read(layer).map_err(|error| of_suite(suite, error))?;
        }
        let (kernel, chosen) = self.resolve(suite)?;
        let parts: Vec<Part> = chosen.iter().map(|entry| part(entry)).collect();
        let record = Record {
            directory: directory_name(suite.name(), self.arch, &parts),
            kernel,
            indexes,
            date: self.source.now.to_zoned(TimeZone::UTC).date().to_string(),
            packages: parts,
        };
        if known.is_none_or(|known| known.packages != record.packages) {
            let unpacked = self.unpack(suite, &record.kernel, &chosen)?;
            self.cache.finish(unpacked, &record)?;
        }
        self.cache.keep(suite.name(), self.arch, &record)?;
        Ok(record)
    }

    /// The hashes of the signed indexes of a suite and of those that it builds on.
    fn indexes(&mut self, suite: &Suite) -> Result<BTreeMap<String, String>, ImportError> {
        let now = (!self.source.allow_expired).then_some(self.source.now);
        let mut digests = BTreeMap::new();
        for layer in suite.layers() {
            if !self.signed.contains_key(layer) {
                self.signed.insert(layer.to_owned(), self.archive.suite(layer, now)?);
            }
            digests.insert(layer.to_owned(), self.signed[layer].digest.clone());
        }
        Ok(digests)
    }

    fn read(&mut self, layer: &str) -> Result<(), ImportError> {
        if self.entries.contains_key(layer) {
            return Ok(());
        }
        let mut entries = Vec::new();
        self.archive
            .each_entry(&self.signed[layer], COMPONENT, self.arch, &mut |text| {
                entries.push(Entry::of(&import::paragraph(text)?)?);
                Ok(())
            })?;
        self.entries.insert(layer.to_owned(), entries);
        Ok(())
    }

    /// The release of the kernel, and all packages for it.
    fn resolve(&self, suite: &Suite) -> Result<(String, Vec<&Entry>), KernelsError> {
        let no_kernel = || KernelsError::NoKernel {
            suite: suite.name().to_owned(),
            package: self.headers.to_owned(),
        };
        let layers: Vec<&[Entry]> = suite.layers().iter().map(|layer| &self.entries[*layer][..]).collect();
        let own = layers.last().ok_or_else(no_kernel)?;
        let headers = newest(own, self.headers).ok_or_else(no_kernel)?;
        let kernel = headers
            .depends_on(HEADERS)
            .and_then(|name| name.strip_prefix(HEADERS))
            .filter(|release| is_release(release))
            .ok_or_else(no_kernel)?;
        let chosen = Index::of(&layers)
            .closure(headers, &NEEDED)
            .map_err(|missing| KernelsError::Missing {
                suite: suite.name().to_owned(),
                package: missing.package,
                needed_by: missing.needed_by,
            })?;
        Ok((kernel.to_owned(), chosen))
    }

    fn unpack(&self, suite: &Suite, kernel: &str, chosen: &[&Entry]) -> Result<TempDir, KernelsError> {
        let bytes: u64 = chosen.iter().map(|entry| entry.file.length).sum();
        if bytes > FETCHED_MAX_BYTES {
            return Err(KernelsError::TooLarge {
                suite: suite.name().to_owned(),
                most_bytes: FETCHED_MAX_BYTES,
            });
        }
        (self.news)(&News::Fetching {
            suite,
            release: kernel,
            packages: chosen.len(),
            bytes,
        });
        let dir = self.cache.unfinished()?;
        unpack::lay_out(dir.path()).map_err(FileError::on("write", dir.path()))?;
        self.fetch_into(dir.path(), suite, chosen)?;
        unpack::link_alternatives(dir.path()).map_err(FileError::on("write", dir.path()))?;
        (self.news)(&News::Done);
        let incomplete = |what| KernelsError::Incomplete {
            suite: suite.name().to_owned(),
            kernel: kernel.to_owned(),
            what,
        };
        let root = Root::at(dir.path());
        let options = KernelOptions {
            source_dir: Some(root.join(format!("/lib/modules/{kernel}/build"))),
            system: Some(root.path().to_owned()),
            ..KernelOptions::default()
        };
        let target = KernelTarget::find(&root, kernel, &options).map_err(|_| incomplete("headers"))?;
        target
            .toolchain()
            .present
            .as_ref()
            .ok_or_else(|| incomplete("compiler"))?;
        Ok(dir)
    }

    /// Fetches packages while others are unpacked.
    fn fetch_into(&self, dir: &Path, suite: &Suite, chosen: &[&Entry]) -> Result<(), KernelsError> {
        let root = Root::at(dir);
        let mut room_bytes = UNPACKED_MAX_BYTES;
        let (archive, files) = (&self.archive, chosen.iter().map(|entry| &entry.file));
        thread::scope(|scope| {
            let (sender, receiver) = sync_channel(WAITING);
            scope.spawn(move || {
                for file in files {
                    let bytes = archive.file(file, FETCHED_MAX_BYTES);
                    // The other end is closed where unpacking failed.
                    if sender.send((file, bytes)).is_err() {
                        return;
                    }
                }
            });
            for (file, bytes) in receiver {
                let bytes = bytes.map_err(|error| of_suite(suite, error))?;
                unpack::package(&bytes, &root, &mut room_bytes).map_err(|why| KernelsError::Unpack {
                    suite: suite.name().to_owned(),
                    package: format!("{} {}", file.package, file.version),
                    why,
                })?;
                (self.news)(&News::Unpacked(file.length));
            }
            Ok(())
        })
    }
}

fn part(entry: &Entry) -> Part {
    Part {
        package: entry.file.package.clone(),
        version: entry.file.version.clone(),
        sha256: entry.file.sha256.clone(),
    }
}
