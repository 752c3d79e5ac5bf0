//! The agent beside a real signed repository: from the pinned root to an unpacked source, and all that can be wrong on the way.

mod cache;
mod deltas;
mod mirrors;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dkms_engine::root::Root;
use dkms_fetch::config::{Config, Repository};
use dkms_fetch::fetch::{self, FetchError, Store};
use dkms_fetch::state::Paths;
use dkms_fetch::state::index::Index;
use dkms_fetch::sync::{Network, Session, SyncError, Update};
use dkms_fetch::transport::{Options, Transport};
use dkms_index::modalias::Modalias;
use dkms_index::trust::Expiry;
use dkms_tests::published::{self, Published, now};
use jiff::{SignedDuration, Timestamp};

/// QEMU's educational device.
const EDU: &str = "pci:v00001234d000011E8sv00001AF4sd00001100bc00scFFi00";

/// A machine with one repository.
struct Machine {
    dir: tempfile::TempDir,
    paths: Paths,
    transport: Transport,
}

/// What one run of the whole way came to.
#[derive(Debug)]
struct Came {
    update: Update,
    from_cache: bool,
    source: String,
}

impl Machine {
    fn new(published: &Published, urls: &[String]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let etc = dir.path().join("etc/dkms-fetch/repos.d");
        fs::create_dir_all(&etc).expect("a directory");
        fs::copy(published.pinned_root(), etc.join("made-up.root.json")).expect("a copy");
        let machine = Self {
            paths: Paths::of(&Root::at(dir.path())),
            transport: Transport::new(Options {
                backoff: Duration::from_millis(1),
                ..Options::default()
            }),
            dir,
        };
        machine.use_mirrors(urls);
        machine
    }

    /// Another machine in the same state.
    fn copy(&self) -> Self {
        let dir = published::copy_of(self.dir.path());
        Self {
            paths: Paths::of(&Root::at(dir.path())),
            transport: Transport::new(Options::default()),
            dir,
        }
    }

    fn use_mirrors(&self, urls: &[String]) {
        let text = format!("name = \"made-up\"\nroot = \"made-up.root.json\"\nurls = {urls:?}\n");
        fs::write(self.dir.path().join("etc/dkms-fetch/repos.d/made-up.toml"), text).expect("a file");
    }

    fn repository(&self) -> Repository {
        let config = Config::read(&Root::at(self.dir.path())).expect("a good configuration");
        config.repositories.into_iter().next().expect("one repository")
    }

    /// Refresh and index.
    fn sync(&self, network: Network, now: Timestamp) -> Result<(Update, bool), SyncError> {
        let repository = self.repository();
        let session = Session::new(&repository, &self.paths, &self.transport, network);
        run(async {
            let refreshed = session.refresh(now, Expiry::Enforce).await?;
            let update = session.update_index(&refreshed.metadata).await?;
            Ok((update, refreshed.from_cache.is_some()))
        })
    }

    /// The whole way, from the pinned root to the text of a source file.
    fn all(&self, network: Network) -> Result<Came, FetchError> {
        let repository = self.repository();
        let session = Session::new(&repository, &self.paths, &self.transport, network);
        run(async {
            let mut refreshed = session.refresh(now(), Expiry::Enforce).await?;
            let update = session.update_index(&refreshed.metadata).await?;
            let index = self.index();
            let matches = index.find(&edu()).map_err(SyncError::from)?;
            let record = index.record(matches[0].package).map_err(SyncError::from)?;
            let manifest = session.manifest(&mut refreshed.metadata, &record.manifest).await?;
            let bundle = Store::of(&self.paths).bundle(&manifest, &session, &mut |_| {}).await?;
            let tree = fetch::unpack(&bundle, self.dir.path())?;
            Ok(Came {
                update,
                from_cache: refreshed.from_cache.is_some(),
                source: fs::read_to_string(tree.path().join("main.c")).expect("it was unpacked"),
            })
        })
    }

    fn index(&self) -> Index {
        Index::open(&self.paths, [&self.repository().name])
    }

    fn index_file(&self) -> PathBuf {
        self.paths.index(&self.repository().name)
    }

    fn finds(&self) -> usize {
        self.index().find(&edu()).expect("a sound index").len()
    }
}

fn edu() -> Modalias {
    EDU.parse().expect("a modalias")
}

fn file_url(tree: &Path) -> String {
    format!("file://{}/", tree.display())
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

fn days(n: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * n)
}
