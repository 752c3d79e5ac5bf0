//! A signed repository of made-up packages, published into a temporary directory and served on loopback.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::header::CONTENT_LENGTH;
use axum::middleware::{self, Next};
use dkms_index::document::manifest::{self, Manifest, Module};
use dkms_index::document::record::PackageRecord;
use dkms_index::document::{BundleFormat, BundleRef};
use dkms_index::pattern::Pattern;
use dkms_repo::init::{Plan, Quorum};
use dkms_repo::intake::{self, Intake};
use dkms_repo::package::Vendors;
use dkms_repo::publish::{self, Extent};
use dkms_repo::repository::{Config, Expiry, Repository};
use dkms_repo::stage::{Stage, StagedPackage};
use jiff::Timestamp;
use tokio::sync::oneshot;
use tower_http::services::ServeDir;

use crate::synthetic::Synthetic;

/// When the repository is published first, and what tests take for now.
pub const NOW: &str = "2026-06-01T12:00:00Z";

/// [`NOW`] as a time.
///
/// # Panics
/// Never.
pub fn now() -> Timestamp {
    NOW.parse().expect("a time")
}

/// A repository's working directory, made and published.
pub struct Published {
    dir: tempfile::TempDir,
    repository: Repository,
}

impl Published {
    /// A repository with nothing in it.
    ///
    /// # Panics
    /// When it cannot be made, as all of this.
    pub fn empty() -> Self {
        Self::empty_at(now())
    }

    /// The same, made at another time.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn empty_at(now: Timestamp) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let one = Quorum { threshold: 1, keys: 1 };
        let plan = Plan {
            config: Config {
                name: "made-up".to_owned(),
                expires_days: Expiry::default(),
                segment_bytes: 16 << 20,
                publish_to: Vec::new(),
                sandbox: dkms_engine::sandbox::Policy::default(),
            },
            root: one,
            targets: one,
            curated: one,
            secrets: Default::default(),
        };
        dkms_repo::init::init(dir.path(), &plan, now).expect("a new repository");
        Self {
            repository: Repository::open(dir.path()).expect("the new repository"),
            dir,
        }
    }

    /// A repository of one package, [`Published::add_driver`]'s.
    pub fn with_driver() -> Self {
        let published = Self::empty();
        published.add_driver("1.0");
        published.publish(now());
        published
    }

    /// Stages the package `made-up-driver` for QEMU's `edu` device, with a bundle of a few files.
    pub fn add_driver(&self, version: &str) {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, text) in [("dkms.conf", "PACKAGE_NAME=made-up-driver\n"), ("main.c", "int x;\n")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            let path = format!("made-up-driver-{version}/{name}");
            tar.append_data(&mut header, path, text.as_bytes()).expect("a tar");
        }
        let bundle = zstd::encode_all(tar.into_inner().expect("a tar").as_slice(), 3).expect("zstd");
        let mut record = Synthetic::new(7).package(0);
        record.name = "made-up-driver".to_owned();
        record.version = version.to_owned();
        record.patterns = vec!["pci:v00001234d000011E8sv*sd*bc*sc*i*".to_owned()];
        self.stage(record, &self.bundle(&bundle));
    }

    /// Stages the driver whose source is in the directory `dir`, as `dkms-repo add` does.
    pub fn add_source(&self, dir: &Path) {
        let intake = Intake::on_this_machine(Vendors::of(&self.repository));
        let prepared = intake.prepare(dir).expect("a package");
        intake::stage(&Stage::of(&self.repository), &prepared, dir, true).expect("staged");
    }

    /// Stages so many packages that differ in all that matters; they share one bundle.
    pub fn add_many(&self, packages: usize, seed: u64) {
        let mut synthetic = Synthetic::new(seed);
        let bundle = self.bundle(b"the same for all");
        for n in 0..packages {
            self.stage(synthetic.package(n), &bundle);
        }
    }

    /// Stages every `every`-th package of the same [`Published::add_many`] again, with another bundle and summary.
    pub fn change_many(&self, packages: usize, seed: u64, every: usize) {
        let mut synthetic = Synthetic::new(seed);
        let packages = (0..packages).map(|n| synthetic.package(n));
        for mut record in packages.step_by(every) {
            record.summary.push_str(" (now also for newer kernels)");
            let bundle = format!("mended {}", record.name);
            self.stage(record, &self.bundle(bundle.as_bytes()));
        }
    }

    /// Stages so many packages of so many patterns each, and returns one pattern of each package.
    pub fn add_large(&self, packages: usize, patterns: usize, seed: u64) -> Vec<Pattern> {
        let mut synthetic = Synthetic::new(seed);
        let bundle = self.bundle(b"the same for all");
        let mut large = |n| {
            let mut record = synthetic.package(n);
            let one = synthetic.pattern();
            let others = (1..patterns).map(|_| synthetic.pattern());
            record.patterns = others.chain([one.clone()]).map(|p| p.to_string()).collect();
            record.patterns.sort_unstable();
            record.patterns.dedup();
            self.stage(record, &bundle);
            one
        };
        (0..packages).map(&mut large).collect()
    }

    fn bundle(&self, bytes: &[u8]) -> BundleRef {
        let stage = Stage::of(&self.repository);
        stage
            .put_bundle(bytes, BundleFormat::TarZst)
            .expect("room for a bundle")
    }

    /// As [`Stage::put`] does, but nothing is flushed: that takes minutes for ten thousand packages, and a test has nothing to lose.
    fn stage(&self, mut record: PackageRecord, bundle: &BundleRef) {
        record.bundle = bundle.clone();
        record.manifest = format!("curated/{}@{}.json", record.name, record.version);
        let manifest = Manifest {
            schema: manifest::SCHEMA,
            name: record.name.clone(),
            version: record.version.clone(),
            dkms_version: record.dkms_version.clone(),
            scope: "curated".to_owned(),
            summary: record.summary.clone(),
            license: String::new(),
            homepage: String::new(),
            bundle: record.bundle.clone(),
            modules: record
                .modules
                .iter()
                .map(|name| Module {
                    name: name.clone(),
                    aliases: record.patterns.clone(),
                    declared: Vec::new(),
                    other_aliases: Vec::new(),
                })
                .collect(),
            recipe: record.recipe.clone(),
            upstream_since: record.upstream_since.clone(),
            firmware: Vec::new(),
            conflicts: record.conflicts.clone(),
            oem_sets: record.oem_sets.clone(),
        };
        let package = StagedPackage { manifest, record };
        Stage::check(&package).expect("a good package");
        let StagedPackage { manifest, record } = package;
        let dir = Stage::of(&self.repository).package_dir(&manifest.name, &manifest.version);
        fs::create_dir_all(&dir).expect("a directory");
        let manifest = serde_json::to_vec(&manifest).expect("JSON");
        let record = serde_json::to_vec(&record).expect("JSON");
        fs::write(dir.join("manifest.json"), manifest).expect("a file");
        fs::write(dir.join("record.json"), record).expect("a file");
    }

    /// Signs and publishes what is staged.
    pub fn publish(&self, now: Timestamp) {
        publish::publish(&self.repository, Extent::All, now).expect("a publication");
    }

    /// The tree that clients read.
    pub fn public(&self) -> PathBuf {
        self.repository.public_dir()
    }

    /// A copy of the tree as it is now, to be tampered with.
    pub fn copy(&self) -> tempfile::TempDir {
        copy_of(&self.public())
    }

    /// The root that machines pin.
    pub fn pinned_root(&self) -> PathBuf {
        self.public().join("metadata/1.root.json")
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// All files below `dir`, sorted.
///
/// # Panics
/// When it cannot be read.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(dir).sort_by_file_name().into_iter();
    entries
        .map(|entry| entry.expect("a readable directory"))
        .filter(|entry| entry.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
        .collect()
}

/// A copy of a tree in a directory of its own.
///
/// # Panics
/// When it cannot be made.
pub fn copy_of(tree: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a temporary directory");
    for file in files(tree) {
        let to = copy.path().join(file.strip_prefix(tree).expect("below it"));
        fs::create_dir_all(to.parent().expect("a directory")).expect("a directory");
        fs::copy(&file, &to).expect("a copy");
    }
    copy
}

/// A mirror on loopback that remembers what it was asked for.
pub struct Mirror {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    sent: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<io::Result<()>>>,
}

impl Mirror {
    /// Serves `tree` until dropped.
    ///
    /// # Panics
    /// When no port is free.
    pub fn of(tree: &Path) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let sent = Arc::new(AtomicU64::new(0));
        let (log, bytes) = (Arc::clone(&asked), Arc::clone(&sent));
        let remember = middleware::from_fn(move |request: Request, next: Next| {
            if let Ok(mut log) = log.lock() {
                log.push(request.uri().path().to_owned());
            }
            let bytes = Arc::clone(&bytes);
            async move {
                let response = next.run(request).await;
                let length = response.headers().get(CONTENT_LENGTH).and_then(|l| l.to_str().ok());
                let length = length.and_then(|l| l.parse().ok()).unwrap_or(0);
                bytes.fetch_add(length, Ordering::Relaxed);
                response
            }
        });
        let app = Router::new().fallback_service(ServeDir::new(tree)).layer(remember);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let server = axum::serve(tokio::net::TcpListener::from_std(listener)?, app);
                tokio::select! {
                    ended = server => ended,
                    _ = stopped => Ok(()),
                }
            })
        });
        Self {
            address,
            asked,
            sent,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The paths it was asked for since the last call.
    ///
    /// # Panics
    /// When the server panicked.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("the server lives"))
    }

    /// How many bytes of files it sent since the last call.
    pub fn sent(&self) -> u64 {
        self.sent.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
