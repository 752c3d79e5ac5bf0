//! A machine with one real kernel, a signed repository of small drivers for it, and the program run on both.

mod driver;
mod image;
mod run;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use dkms_index::document::BundleFormat;
use dkms_index::document::record::{BuildFact, BuildOutcome};
use dkms_repo::authority::delegate;
use dkms_repo::init::Quorum;
use dkms_repo::intake::{self, Intake};
use dkms_repo::package::Vendors;
use dkms_repo::repository::Expiry;
use dkms_repo::stage::Stage;
use jiff::Timestamp;
use snapbox::{Redactions, assert_data_eq};

pub use driver::Source;
pub use run::{Run, in_namespace, patiently, program};

use crate::inputs;
use crate::repo::TestRepo;

/// A device that no kernel has a driver for: QEMU's `edu`.
pub const EDU: &str = "pci:v00001234d000011E8sv00001AF4sd00001100bc00scFFi00";
/// Another one of the same maker.
pub const EDU2: &str = "pci:v00001234d000011E9sv00001AF4sd00001100bc00scFFi00";
/// One that every kernel drives by itself.
pub const AHCI: &str = "pci:v00008086d00002829sv000010CFsd00001411bc01sc06i01";

/// A repository, a root with one real kernel, and a list of devices.
pub struct Story {
    /// The repository.
    pub repo: TestRepo,
    /// The release of the root's kernel.
    pub kernel: String,
    root: tempfile::TempDir,
}

/// A file with its length and its time.
pub type FileState = (PathBuf, u64, SystemTime);

impl Story {
    /// A machine with the 6.1 kernel, an `edu` device and a disk controller; a repository with nothing in it.
    ///
    /// # Panics
    /// When it cannot be made, as all of this.
    #[must_use]
    pub fn new() -> Self {
        Self::published_at(Timestamp::now(), Expiry::default())
    }

    /// The same, with a repository that was signed at another time.
    #[must_use]
    pub fn published_at(time: Timestamp, lifetimes: Expiry) -> Self {
        let [kernel, _] = inputs::kernels();
        let root = tempfile::tempdir_in(inputs::dir().join("..")).expect("a temporary directory");
        image::make(&kernel, root.path());
        let repo = TestRepo::at(time, lifetimes).expect("a repository");
        let one = Quorum { threshold: 1, keys: 1 };
        delegate(&repo.repository, "pci-1234".parse().expect("a vendor"), one, repo.now).expect("a vendor's role");
        let etc = root.path().join("etc/dkms-fetch/repos.d");
        fs::create_dir_all(&etc).expect("a directory");
        fs::write(etc.join("test.root.json"), repo.pinned().expect("a root")).expect("a file");
        let story = Self { repo, root, kernel };
        story.use_mirror(&story.own_mirror());
        story.devices(&[EDU, AHCI]);
        story
    }

    /// The same, with a driver for the `edu` device published.
    #[must_use]
    pub fn with_driver() -> Self {
        let story = Self::new();
        story.add("edu", "1.0", 0x11e8, Source::Good);
        story.publish();
        story
    }

    /// The repository's own directory as a mirror.
    #[must_use]
    pub fn own_mirror(&self) -> String {
        format!("file://{}/", self.repo.public().display())
    }

    /// Adds a kernel `release` with the same modules of its own as the first one, and no headers; returns its name.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn second_kernel(&self, release: &str) -> String {
        let (from, to) = (
            self.path("lib/modules").join(&self.kernel),
            self.path("lib/modules").join(release),
        );
        fs::create_dir_all(&to).expect("a directory");
        for list in [
            "modules.alias",
            "modules.builtin",
            "modules.builtin.modinfo",
            "modules.dep",
            "modules.order",
        ] {
            let lines = fs::read(from.join(list)).expect("a list");
            let lines = String::from_utf8_lossy(&lines).into_owned();
            // What was installed for the first one is not there.
            let own = lines
                .lines()
                .filter(|line| !line.contains("edu"))
                .map(|line| format!("{line}\n"));
            let text = if list == "modules.builtin.modinfo" {
                lines.clone()
            } else {
                own.collect()
            };
            fs::write(to.join(list), text).expect("a list");
        }
        release.to_owned()
    }

    /// Makes `url` the repository's only mirror.
    pub fn use_mirror(&self, url: &str) {
        let text = format!("name = \"test\"\nroot = \"test.root.json\"\nurls = [\"{url}\"]\n");
        self.write("etc/dkms-fetch/repos.d/test.toml", &text);
    }

    /// Makes these the machine's devices.
    pub fn devices(&self, modaliases: &[&str]) {
        fs::write(self.device_list(), modaliases.join("\n") + "\n").expect("a file");
    }

    /// The file with the machine's devices.
    #[must_use]
    pub fn device_list(&self) -> PathBuf {
        self.repo.scratch().join("devices")
    }

    /// Adds a driver for the device `product`.
    pub fn add(&self, name: &str, version: &str, product: u16, source: Source) {
        self.add_changed(name, version, product, source, |_| {});
    }

    /// Adds a driver for the device `product` after `change` worked on the directory of its source.
    pub fn add_changed(&self, name: &str, version: &str, product: u16, source: Source, change: impl FnOnce(&Path)) {
        let dir = self.repo.scratch().join(format!("{name}-{version}"));
        driver::write(&dir, name, version, product, source);
        change(&dir);
        let stage = Stage::of(&self.repo.repository);
        let prepared = Intake::on_this_machine(Vendors::of(&self.repo.repository))
            .prepare(&dir)
            .expect("a package");
        intake::stage(&stage, &prepared, &dir, true).expect("staged");
    }

    /// Makes the source of an added package what is in `dir`, unexamined.
    pub fn swap_source(&self, name: &str, version: &str, dir: &Path) {
        let mut tar = tar::Builder::new(Vec::new());
        tar.append_dir_all(format!("{name}-{version}"), dir).expect("a tar");
        let bundle = zstd::encode_all(&tar.into_inner().expect("a tar")[..], 3).expect("zstd");
        let stage = Stage::of(&self.repo.repository);
        let mut package = stage.get(name, version).expect("a staged package");
        package.manifest.bundle = stage.put_bundle(&bundle[..], BundleFormat::TarZst).expect("room");
        package.record.bundle = package.manifest.bundle.clone();
        stage.put(&package).expect("staged");
    }

    /// Says in the index how a trial build for our kernel went.
    pub fn fact(&self, name: &str, version: &str, outcome: BuildOutcome) {
        let stage = Stage::of(&self.repo.repository);
        let mut package = stage.get(name, version).expect("a staged package");
        package.record.builds.push(BuildFact {
            kernel: self.kernel.clone(),
            arch: "x86_64".into(),
            compiler: "gcc".into(),
            date: "2026-01-01".into(),
            outcome,
            reason: if outcome == BuildOutcome::Failed {
                "strlcpy is gone".into()
            } else {
                String::new()
            },
        });
        stage.put(&package).expect("staged");
    }

    /// Publishes what was added.
    pub fn publish(&self) {
        self.repo.publish(0).expect("published");
    }

    /// A place in the root.
    #[must_use]
    pub fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    /// Writes a file in the root.
    pub fn write(&self, below: &str, text: &str) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    /// The arguments of a run on the root.
    #[must_use]
    pub fn arguments(&self, more: &[&str]) -> Vec<String> {
        let root = self.root.path().display().to_string();
        let more = more.iter().map(ToString::to_string);
        ["--root".to_owned(), root].into_iter().chain(more).collect()
    }

    /// The arguments of `--auto` for the machine's devices.
    #[must_use]
    pub fn auto_arguments(&self, more: &[&str]) -> Vec<String> {
        let devices = self.device_list().display().to_string();
        let ours = ["--auto", "--kernel", &self.kernel, "--devices", &devices];
        self.arguments(&[&ours, more].concat())
    }

    /// Runs the program on the root.
    #[must_use]
    pub fn run(&self, more: &[&str]) -> Run {
        Run::of(&mut program(&self.arguments(more)))
    }

    /// Runs `--auto` for the machine's devices.
    #[must_use]
    pub fn auto(&self, more: &[&str]) -> Run {
        Run::of(&mut program(&self.auto_arguments(more)))
    }

    /// Compares what was printed, without what differs from one machine to the next.
    pub fn assert_shows(&self, shown: &str, expected: snapbox::data::Inline) {
        assert_data_eq!(self.redactions().redact(shown), expected);
    }

    /// What stands in the way of a plain look at the output: names of temporary directories and of the kernel.
    fn redactions(&self) -> Redactions {
        let mut redactions = Redactions::new();
        let paths = [("[ROOT]", self.root.path().to_owned()), ("[REPO]", self.repo.public())];
        for (name, path) in paths {
            let path = path.canonicalize().unwrap_or(path);
            redactions
                .insert(name, path.display().to_string())
                .expect("a redaction");
        }
        redactions.insert("[KERNEL]", self.kernel.clone()).expect("a redaction");
        redactions
    }

    /// Where the module of a driver is installed.
    #[must_use]
    pub fn module(&self, name: &str) -> PathBuf {
        self.path(&format!("lib/modules/{}/updates/dkms/{name}.ko", self.kernel))
    }

    /// Every file that a run may touch, with its length and time; the kernel's headers are not among them.
    #[must_use]
    pub fn files(&self) -> Vec<FileState> {
        let roots = ["lib/modules", "usr/src", "var", "etc"].map(|part| self.path(part));
        let entries = roots
            .iter()
            .flat_map(|root| walkdir::WalkDir::new(root).sort_by_file_name())
            .flatten();
        let read = |entry: walkdir::DirEntry| {
            let metadata = entry.metadata().expect("metadata");
            (
                entry.path().to_owned(),
                metadata.len(),
                metadata.modified().expect("a time"),
            )
        };
        let is_header = |entry: &walkdir::DirEntry| entry.path().to_string_lossy().contains("/usr/src/linux-");
        entries
            .filter(|entry| entry.file_type().is_file() && !is_header(entry))
            .map(read)
            .collect()
    }

    /// Asserts that the files are what they were.
    ///
    /// # Panics
    /// When some were added, removed or changed.
    #[track_caller]
    pub fn assert_unchanged(&self, before: &[FileState]) {
        let after = self.files();
        let new: Vec<_> = after.iter().filter(|file| !before.contains(file)).collect();
        let old: Vec<_> = before.iter().filter(|file| !after.contains(file)).collect();
        assert!(new.is_empty() && old.is_empty(), "new: {new:#?}, gone: {old:#?}");
    }

    /// Asserts that a run which stopped left nothing half done: no module, no source, nothing in the DKMS tree but its lock,
    /// no temporary file anywhere.
    pub fn assert_nothing_half_done(&self, name: &str) {
        assert!(!self.module(name).exists(), "a module is there");
        for (path, ..) in self.files() {
            let below = path.strip_prefix(self.root.path()).expect("in the root").to_owned();
            let text = below.to_string_lossy();
            let is_source = text.starts_with(&format!("usr/src/{name}"));
            let is_build = text.starts_with(&format!("var/lib/dkms/{name}")) || text.contains("/.work/");
            let is_journal = text.contains("/.journal/");
            let is_temporary = text.contains("/.new-") || text.contains("cache/dkms-fetch/unpacked/");
            assert!(!(is_source || is_build || is_journal || is_temporary), "{text} is left");
        }
    }

    /// Waits until the build of a [`Source::Waits`] has begun, and returns its directory.
    #[must_use]
    pub fn building(&self, name: &str) -> PathBuf {
        let pattern = self.path(&format!("var/lib/dkms/.work/*/dkms/{name}/*/build/started"));
        let pattern = pattern.display().to_string();
        let started = patiently("the build to begin", || {
            glob::glob(&pattern).expect("a glob").flatten().next()
        });
        started.parent().expect("a directory").to_owned()
    }

    /// Lets the build in this directory go on.
    pub fn go_on(&self, building: &Path) {
        fs::remove_file(building.join("wait")).expect("the build waits");
    }
}

impl Default for Story {
    fn default() -> Self {
        Self::new()
    }
}
