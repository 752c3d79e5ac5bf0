//! dnf, of Fedora and RHEL: versions 4 and 5.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dkms_engine::command::{Confined, find_program};
use dkms_engine::distribution::PackageManager;
use dkms_engine::root::Root;
use dkms_engine::sandbox::take::remove_tree;
use tempfile::TempDir;

use super::error::ToolchainError;
use super::package::{Installation, Package, Transaction, names, same};
use super::rpm;
use super::run::{self, LOCAL_LIMIT, NETWORK_LIMIT, Said, failed};
use super::table;

/// Both versions know these, before the name of a command.
const NOTHING_MORE: [&str; 3] = [
    "--setopt=install_weak_deps=False",
    // Headers of other kernels are not removed to make room for these.
    "--setopt=installonly_limit=0",
    // What else is not needed any more stays.
    "--setopt=clean_requirements_on_remove=False",
];
/// Name, version, architecture, and the sizes in bytes of a package and of its files.
const SIZES: &str = "%{name}|%{evr}|%{arch}|%{downloadsize}|%{installsize}|\\n";

/// dnf on a machine or an image.
#[derive(Debug)]
pub struct Dnf<'a> {
    root: &'a Root,
    offline: bool,
}

/// A directory for what dnf notes when it is only asked: it takes the path for one here and for one in the image.
struct Scratch {
    here: TempDir,
    /// What is made in the image for it.
    in_image: Option<PathBuf>,
}

impl Scratch {
    fn new(root: &Root) -> std::io::Result<Self> {
        let here = TempDir::new()?;
        let place = root.join(here.path());
        let missing = place.ancestors().take_while(|dir| !dir.exists());
        let in_image = missing.last().map(Path::to_owned);
        Ok(Self { here, in_image })
    }

    fn options(&self) -> [String; 2] {
        let dir = self.here.path().display();
        [format!("--setopt=logdir={dir}"), format!("--setopt=persistdir={dir}")]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(dir) = &self.in_image {
            // What may be left of it is a log.
            let _ = remove_tree(dir);
        }
    }
}

/// How dnf is asked what it would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    /// From what it knows. Nothing is written, and no other run of it is waited for.
    Apart,
    /// From what it knows, after other runs of it. Version 5 would wait for them without an end when it is told to do it.
    InTurn,
    /// With what it fetches before.
    MayFetch,
}

impl<'a> Dnf<'a> {
    /// The dnf of `root`. One that works offline uses no network.
    pub fn of(root: &'a Root, offline: bool) -> Self {
        Self { root, offline }
    }

    /// Whether it is there: an image is served by this machine's.
    pub fn is_there(&self) -> bool {
        Self::program().is_some() && rpm::has_database(self.root)
    }

    fn program() -> Option<&'static str> {
        ["dnf", "dnf5"]
            .into_iter()
            .find(|name| find_program(&Root::host(), name).is_some())
    }

    /// A command of dnf on the root, from what it knows or with what it may fetch before.
    fn command(&self, may_fetch: bool) -> Confined {
        let mut command = Confined::new(Self::program().unwrap_or("dnf")).args(NOTHING_MORE);
        if !self.root.is_host() {
            command = command.arg("--installroot").arg(self.root.path());
        }
        if self.offline || !may_fetch {
            command = command.arg("--cacheonly");
        }
        command
    }

    /// What dnf says that it would do for the words of a command.
    fn ask(&self, words: &[&str], packages: &[String], how: Ask) -> Result<Transaction, ToolchainError> {
        let shown = format!("dnf {} {}", words.join(" "), packages.join(" "));
        let scratch = Scratch::new(self.root).map_err(|error| failed(&shown, &error.to_string()))?;
        let mut command = self.command(how == Ask::MayFetch);
        if how == Ask::Apart {
            command = command.args(scratch.options());
        }
        let limit = match how {
            Ask::MayFetch => NETWORK_LIMIT,
            Ask::Apart | Ask::InTurn => LOCAL_LIMIT,
        };
        let command = command.args(words).args(["--assumeno", "--"]).args(packages);
        let command = command.time_limit(limit);
        let said = run::run(&command, &shown)?;
        if said.is_cut {
            return Err(failed(&shown, "it prints more than can be read"));
        }
        let missing = table::not_found(&said.stdout, &said.stderr);
        if !missing.is_empty() {
            return Err(ToolchainError::NotOffered {
                manager: PackageManager::Dnf,
                packages: missing,
            });
        }
        match table::parse(&said.stdout) {
            // It ends with 1 because the answer is no.
            Ok(Some(transaction)) if said.code == Some(1) => Ok(transaction),
            Ok(None) if said.code == Some(0) && table::is_nothing(&said.stdout, &said.stderr) => {
                Ok(Transaction::default())
            }
            Err(error) => Err(failed(&shown, &error)),
            Ok(_) => Err(refusal(&said, &shown, packages)),
        }
    }

    /// Does something, and waits for no other run of dnf where it cannot be ended.
    fn run(command: &Confined, shown: &str, packages: &[String]) -> Result<String, ToolchainError> {
        let said = run::run(command, shown)?;
        if said.code == Some(0) {
            Ok(said.stdout)
        } else {
            Err(refusal(&said, shown, packages))
        }
    }

    /// Brings its lists up to date.
    ///
    /// # Errors
    /// When that fails for one repository.
    fn update(&self) -> Result<(), ToolchainError> {
        if self.offline {
            return Ok(());
        }
        // Version 5 fetches nothing again for `--refresh` alone.
        let command = self.command(true).args([
            "--refresh",
            "--setopt=*.metadata_expire=0",
            "--setopt=*.skip_if_unavailable=False",
            "makecache",
        ]);
        Self::run(&command.time_limit(NETWORK_LIMIT), "dnf makecache --refresh", &[]).map(drop)
    }

    /// What would be installed for `names`, with all that they need and nothing that is only recommended. Lists that are too old, or do not
    /// know one, are brought up to date first, if that is allowed; else nothing is written.
    ///
    /// # Errors
    /// When it does not know one, or would have to change another package.
    pub fn plan(&self, names: &[String], may_update: bool) -> Result<Installation, ToolchainError> {
        let how = if may_update { Ask::MayFetch } else { Ask::Apart };
        let transaction = match self.ask(&["install"], names, how) {
            Err(ToolchainError::NotOffered { .. }) if may_update => {
                self.update()?;
                self.ask(&["install"], names, Ask::InTurn)?
            }
            ended => ended?,
        };
        let packages = transaction.only_installs(PackageManager::Dnf, names)?;
        let sizes = self.sizes(&packages)?;
        let (mut download_bytes, mut disk_bytes) = (0, 0);
        for package in &packages {
            let (download, disk) = sizes
                .get(package)
                .ok_or_else(|| failed("dnf repoquery", &format!("it does not know the size of {package}")))?;
            download_bytes += download;
            disk_bytes += disk;
        }
        Ok(Installation {
            packages,
            download_bytes,
            disk_bytes,
        })
    }

    /// The sizes in bytes of packages and of their files.
    fn sizes(&self, packages: &[Package]) -> Result<BTreeMap<Package, (u64, u64)>, ToolchainError> {
        let shown = "dnf repoquery";
        if packages.is_empty() {
            return Ok(BTreeMap::new());
        }
        let scratch = Scratch::new(self.root).map_err(|error| failed(shown, &error.to_string()))?;
        let command = self
            .command(false)
            .args(scratch.options())
            .args(["--quiet", "repoquery", "--qf", SIZES, "--"])
            .args(packages.iter().map(exact));
        let said = Self::run(&command.time_limit(LOCAL_LIMIT), shown, &[])?;
        let size = |line: &str| {
            let fields: Vec<&str> = line.split('|').collect();
            let [name, version, arch, download, disk, ""] = fields[..] else {
                return None;
            };
            let package = Package::rpm(name, version, arch)?;
            Some((package, (download.parse().ok()?, disk.parse().ok()?)))
        };
        Ok(said.lines().filter_map(size).collect())
    }

    /// Installs just that: nothing else is known to dnf then, and it is asked again what it would do when all is downloaded.
    ///
    /// # Errors
    /// When it fails, or would do something else by now.
    pub fn install(&self, installation: &Installation) -> Result<(), ToolchainError> {
        let exact: Vec<String> = installation.packages.iter().map(exact).collect();
        let shown = format!("dnf install {}", exact.join(" "));
        let only = format!("--setopt=includepkgs={}", exact.join(","));
        if !self.offline {
            let download = self
                .command(true)
                .args(["-y", &only, "install", "--downloadonly", "--"]);
            let shown = format!("dnf install --downloadonly {}", exact.join(" "));
            Self::run(&download.args(&exact).time_limit(NETWORK_LIMIT), &shown, &exact)?;
        }
        let now = self
            .ask(&["install"], &exact, Ask::InTurn)?
            .only_installs(PackageManager::Dnf, &exact)?;
        if !same(&now, &installation.packages) {
            return Err(failed(&shown, "it would install other packages by now"));
        }
        // rpm is not ended in the middle of its work.
        let install = self
            .command(false)
            .args(["-y", "--setopt=exit_on_lock=True", &only, "install", "--"]);
        Self::run(&install.args(&exact).uninterruptible(), &shown, &exact).map(drop)
    }

    /// What is installed of these packages.
    ///
    /// # Errors
    /// When rpm cannot be run.
    pub fn installed(&self, packages: &[Package]) -> Result<Vec<Package>, ToolchainError> {
        rpm::installed(self.root, packages)
    }

    /// Removes packages, unless others would have to go with them.
    ///
    /// # Errors
    /// When another package needs one, or dnf fails.
    pub fn remove(&self, packages: &[Package]) -> Result<(), ToolchainError> {
        let exact: Vec<String> = packages.iter().map(exact).collect();
        self.ask(&["remove"], &exact, Ask::InTurn)?.only_removes(packages)?;
        let shown = format!("dnf remove {}", names(packages).join(" "));
        let remove = self
            .command(false)
            .args(["-y", "--setopt=exit_on_lock=True", "remove", "--"]);
        Self::run(&remove.args(&exact).uninterruptible(), &shown, &exact).map(drop)
    }
}

/// `NAME-VERSION.ARCH`.
fn exact(package: &Package) -> String {
    let part = |sign: char, text: Option<&String>| text.map(|text| format!("{sign}{text}")).unwrap_or_default();
    let version = part('-', package.version.as_ref());
    format!("{}{version}{}", package.name, part('.', package.arch.as_ref()))
}

/// Why dnf did nothing.
fn refusal(said: &Said, shown: &str, wanted: &[String]) -> ToolchainError {
    match table::problem(&said.stderr) {
        Some(problem) => ToolchainError::Unsolvable {
            manager: PackageManager::Dnf,
            wanted: wanted.to_vec(),
            problem,
        },
        None => failed(shown, table::error(&said.stderr)),
    }
}
