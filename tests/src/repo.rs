//! Signed repositories made by code, and a mirror and a client in memory to try them with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use dkms_index::document::BundleFormat;
use dkms_index::document::manifest::Manifest;
use dkms_index::document::record::{PackageRecord, Record};
use dkms_index::trust::{
    Answer, Exchange, Expiry, Kept, Refresh, SegmentWant, TrustError, TrustedManifest, TrustedMetadata, Want,
};
use dkms_repo::init::{Plan, Quorum, init};
use dkms_repo::publish::{Extent, Report, publish};
use dkms_repo::repository::{Config, Expiry as Lifetimes, Repository};
use dkms_repo::stage::{Stage, StagedPackage};
use jiff::{Timestamp, ToSpan};

/// A repository in a directory of its own.
#[derive(Debug)]
pub struct TestRepo {
    dir: tempfile::TempDir,
    /// The working directory.
    pub repository: Repository,
    /// When it was made.
    pub now: Timestamp,
}

impl TestRepo {
    /// A filled, published repository of today, for programs that read the clock.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn of_today() -> Result<Self> {
        Self::at(Timestamp::now(), Lifetimes::default())?.fill()
    }

    /// Stages a version of one more package.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn stage_moving(&self, version: &str) -> Result<()> {
        let aliases = ["usb:v1234p0001d*dc*dsc*dp*ic*isc*ip*in*"];
        self.stage("moving", version, "curated", &aliases).map(|_| ())
    }

    /// An empty, published repository: root 2 of 2.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> Result<Self> {
        Self::with_lifetimes(Lifetimes::default())
    }

    /// The same, with other lifetimes of the roles' signatures.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn with_lifetimes(expires_days: Lifetimes) -> Result<Self> {
        Self::at("2026-03-01T12:00:00Z".parse()?, expires_days)
    }

    /// The same, made at another time.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn at(now: Timestamp, expires_days: Lifetimes) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let one = Quorum { threshold: 1, keys: 1 };
        let plan = Plan {
            config: Config {
                name: "test".to_owned(),
                expires_days,
                segment_bytes: 16 << 20,
                publish_to: Vec::new(),
                sandbox: dkms_engine::sandbox::Policy::default(),
            },
            root: Quorum { threshold: 2, keys: 2 },
            targets: one,
            curated: one,
            secrets: Default::default(),
        };
        let path = dir.path().join("repo");
        init(&path, &plan, now)?;
        Ok(Self {
            repository: Repository::open(&path)?,
            dir,
            now,
        })
    }

    /// The same, with `ddcci` (curated), `r8168` and `r8169x` (of vendor pci-10ec) published.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn with_packages() -> Result<Self> {
        Self::new()?.fill()
    }

    /// Adds and publishes the packages of [`TestRepo::with_packages`].
    ///
    /// # Errors
    /// When they cannot be published.
    pub fn fill(self) -> Result<Self> {
        self.stage("ddcci", "0.4.5", "curated", &["ddcci:*"])?;
        self.stage(
            "r8168",
            "8.051",
            "by-id/pci-10ec",
            &["pci:v000010ECd00008168sv*sd*bc*sc*i*"],
        )?;
        self.stage(
            "r8169x",
            "1",
            "by-id/pci-10ec",
            &["pci:v000010ECd00008169sv*sd*bc*sc*i*"],
        )?;
        dkms_repo::authority::delegate_missing(&self.repository, self.now)?;
        self.publish(0)?;
        Ok(self)
    }

    /// Stages a package whose bundle is its own name.
    ///
    /// # Errors
    /// When it cannot be staged.
    pub fn stage(&self, name: &str, version: &str, scope: &str, aliases: &[&str]) -> Result<StagedPackage> {
        let stage = Stage::of(&self.repository);
        let bundle = stage.put_bundle(format!("sources of {name} {version}").as_bytes(), BundleFormat::TarZst)?;
        let module = name.replace('-', "_");
        let manifest: Manifest = serde_json::from_value(serde_json::json!({
            "schema": 1, "name": name, "version": version, "scope": scope, "bundle": bundle,
            "modules": [{"name": module, "aliases": aliases}]
        }))?;
        let record: PackageRecord = serde_json::from_value(serde_json::json!({
            "name": name, "version": version, "manifest": manifest.target_path(), "bundle": bundle,
            "modules": [module], "patterns": aliases
        }))?;
        let package = StagedPackage { manifest, record };
        stage.put(&package)?;
        Ok(package)
    }

    /// Publishes all that is staged, some days after the repository was made.
    ///
    /// # Errors
    /// When that fails.
    pub fn publish(&self, days: i64) -> Result<Report> {
        Ok(publish(&self.repository, Extent::All, self.day(days))?)
    }

    /// Noon, some days after the repository was made.
    #[must_use]
    pub fn day(&self, days: i64) -> Timestamp {
        self.now.checked_add((days * 24).hours()).unwrap_or(Timestamp::MAX)
    }

    /// The published tree.
    #[must_use]
    pub fn public(&self) -> PathBuf {
        self.repository.public_dir()
    }

    /// A directory for whatever a test needs besides.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// The root that machines pin.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn pinned(&self) -> Result<Vec<u8>> {
        std::fs::read(self.public().join("metadata/1.root.json")).context("read the pinned root")
    }

    /// The published tree, as a mirror that can be made to lie.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn mirror(&self) -> Result<Mirror> {
        Mirror::of(&self.public())
    }
}

/// A copy of a published tree in memory, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mirror {
    /// What it serves.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Mirror {
    /// A copy of `public`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(public: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        for entry in walkdir::WalkDir::new(public) {
            let entry = entry?;
            if entry.file_type().is_file() {
                let path = entry.path().strip_prefix(public)?.to_string_lossy().into_owned();
                files.insert(path, std::fs::read(entry.path())?);
            }
        }
        Ok(Self { files })
    }

    fn answer(&self, want: &Want) -> Answer<'_> {
        self.files
            .get(&want.path)
            .map_or(Answer::Absent, |bytes| Answer::Bytes(bytes))
    }
}

/// A machine: what it has pinned and kept.
#[derive(Debug, Clone)]
pub struct Client {
    /// The root it was shipped with.
    pub pinned: Vec<u8>,
    /// The files it keeps.
    pub kept: Kept,
    /// Whether staleness is an error.
    pub expiry: Expiry,
    /// Every path it ever asked a mirror for.
    pub asked: BTreeSet<String>,
}

/// What a whole synchronisation brought.
#[derive(Debug)]
pub struct Synced {
    /// The verified metadata.
    pub metadata: TrustedMetadata,
    /// The packages of the index.
    pub packages: Vec<PackageRecord>,
    /// The manifest of each, or why there is none.
    pub manifests: BTreeMap<String, Result<TrustedManifest, TrustError>>,
}

impl Synced {
    /// Names of the packages that may be installed.
    #[must_use]
    pub fn installable(&self) -> Vec<&str> {
        self.manifests
            .iter()
            .filter(|(_, m)| m.is_ok())
            .map(|(name, _)| name.as_str())
            .collect()
    }
}

impl Client {
    /// A machine fresh from the factory.
    #[must_use]
    pub fn new(pinned: Vec<u8>) -> Self {
        Self {
            pinned,
            kept: Kept::new(),
            expiry: Expiry::Enforce,
            asked: BTreeSet::new(),
        }
    }

    fn drive(&mut self, it: &mut impl Exchange, mirror: &Mirror) -> Result<(), TrustError> {
        while let Some(want) = it.want() {
            self.asked.insert(want.path.clone());
            let fed = it.feed(mirror.answer(&want));
            for change in it.changes() {
                change.apply(&mut self.kept);
            }
            fed?;
        }
        Ok(())
    }

    /// Brings the metadata up to date.
    ///
    /// # Errors
    /// When the mirror is not believed.
    pub fn refresh(&mut self, mirror: &Mirror, now: Timestamp) -> Result<TrustedMetadata, TrustError> {
        let mut refresh = Refresh::start(&self.pinned, self.kept.clone(), now, self.expiry)?;
        self.drive(&mut refresh, mirror)?;
        refresh.finish()
    }

    /// Refreshes, and fetches the index and every manifest.
    ///
    /// # Errors
    /// When the mirror is not believed.
    pub fn sync(&mut self, mirror: &Mirror, now: Timestamp) -> Result<Synced, TrustError> {
        let mut metadata = self.refresh(mirror, now)?;
        let mut packages = Vec::new();
        let mut fetch = metadata.fetch_index(&[])?;
        while let Some(SegmentWant::Download(want)) = fetch.want()? {
            self.asked.insert(want.path.clone());
            let segment = fetch.feed(mirror.answer(&want))?;
            packages.extend(segment.records().flatten().filter_map(|record| match record {
                Record::Package(package) => Some(package),
                Record::Override(_) => None,
            }));
        }
        fetch.finish()?;
        let mut manifests = BTreeMap::new();
        for package in &packages {
            let mut fetch = metadata.fetch_manifest(&package.manifest);
            let manifest = self.drive(&mut fetch, mirror).and_then(|()| fetch.finish());
            manifests.insert(package.name.clone(), manifest);
        }
        Ok(Synced {
            metadata,
            packages,
            manifests,
        })
    }
}
