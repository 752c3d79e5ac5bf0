//! zypper, of openSUSE and SLES.

use dkms_engine::command::{Confined, find_program};
use dkms_engine::distribution::PackageManager;
use dkms_engine::root::Root;
use tempfile::TempDir;

use super::error::ToolchainError;
use super::package::{Installation, Package, names, same};
use super::rpm;
use super::run::{self, LOCAL_LIMIT, NETWORK_LIMIT, Said, failed};
use super::summary::Summary;

/// How long it waits for another run of it, in seconds: it says so itself before it is ended.
const LOCK_TIMEOUT_S: &str = "90";

/// Exit codes of zypper(8) that are no failure: updates are pending, a reboot or a restart is needed, repositories were left out.
const DONE: [i32; 6] = [0, 100, 101, 102, 103, 106];

/// zypper on a machine or an image.
#[derive(Debug)]
pub struct Zypper<'a> {
    root: &'a Root,
    offline: bool,
}

impl<'a> Zypper<'a> {
    /// The zypper of `root`. One that works offline uses no network.
    pub fn of(root: &'a Root, offline: bool) -> Self {
        Self { root, offline }
    }

    /// Whether it is there: an image is served by this machine's.
    pub fn is_there(&self) -> bool {
        find_program(&Root::host(), "zypper").is_some() && rpm::has_database(self.root)
    }

    /// A command of zypper on the root.
    fn command(&self, refreshes: bool) -> Confined {
        let mut command = Confined::new("zypper")
            .env("ZYPP_LOCK_TIMEOUT", LOCK_TIMEOUT_S)
            .env("ZYPP_LOGFILE", self.root.join("/var/log/zypper.log"))
            .args(["--xmlout", "--non-interactive"]);
        if !self.root.is_host() {
            command = command.arg("--root").arg(self.root.path());
        }
        if self.offline || !refreshes {
            command = command.arg("--no-refresh");
        }
        if self.offline {
            command = command.arg("--no-remote");
        }
        command
    }

    /// Runs it, and returns what it says that it does or did.
    fn run(command: &Confined, shown: &str, wanted: &[String]) -> Result<Summary, ToolchainError> {
        let Said {
            code,
            stdout,
            is_cut,
            stderr,
        } = run::run(command, shown)?;
        if is_cut {
            return Err(failed(shown, "it prints more than can be read"));
        }
        let summary = Summary::parse(&stdout).map_err(|error| failed(shown, &format!("{error}; {stderr}")))?;
        if code.is_some_and(|code| DONE.contains(&code)) && summary.not_found.is_empty() {
            return Ok(summary);
        }
        let manager = PackageManager::Zypper;
        if !summary.not_found.is_empty() {
            return Err(ToolchainError::NotOffered {
                manager,
                packages: summary.not_found,
            });
        }
        match summary.problem {
            Some(problem) => Err(ToolchainError::Unsolvable {
                manager,
                wanted: wanted.to_vec(),
                problem,
            }),
            None => Err(failed(shown, summary.errors.first().unwrap_or(&stderr))),
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
        let shown = "zypper refresh";
        let command = self.command(true).arg("refresh").time_limit(NETWORK_LIMIT);
        match Self::run(&command, shown, &[])?.errors.first() {
            Some(error) => Err(failed(shown, error)),
            None => Ok(()),
        }
    }

    /// What would be installed for `names`, with all that they need and nothing that is only recommended. Lists that are too old, or do not
    /// know one, are brought up to date first, if that is allowed; else nothing is written.
    ///
    /// # Errors
    /// When it does not know one, or would have to change another package.
    pub fn plan(&self, names: &[String], may_update: bool) -> Result<Installation, ToolchainError> {
        match self.simulate(names, may_update) {
            Err(ToolchainError::NotOffered { .. }) if may_update => {
                self.update()?;
                self.simulate(names, false)
            }
            ended => ended,
        }
    }

    fn simulate(&self, names: &[String], refreshes: bool) -> Result<Installation, ToolchainError> {
        let shown = format!("zypper install --dry-run --no-recommends {}", names.join(" "));
        let scratch = TempDir::new().map_err(|error| failed(&shown, &error.to_string()))?;
        let mut command = self.command(refreshes);
        if !refreshes {
            command = command
                .env("ZYPP_LOGFILE", "/dev/null")
                .arg("--solv-cache-dir")
                .arg(scratch.path());
        }
        let command = command
            .args(["install", "--dry-run", "--no-recommends", "--"])
            .args(names)
            .time_limit(if refreshes { NETWORK_LIMIT } else { LOCAL_LIMIT });
        let summary = Self::run(&command, &shown, names)?;
        let transaction = summary
            .transaction
            .ok_or_else(|| failed(&shown, "it does not say what it would do"))?;
        Ok(Installation {
            packages: transaction.only_installs(PackageManager::Zypper, names)?,
            download_bytes: summary.download_bytes,
            disk_bytes: summary.disk_bytes,
        })
    }

    /// Installs just that: it is asked again what it would do when all is downloaded.
    ///
    /// # Errors
    /// When it fails, or would do something else by now.
    pub fn install(&self, installation: &Installation) -> Result<(), ToolchainError> {
        let exact: Vec<String> = installation.packages.iter().map(exact).collect();
        let shown = format!("zypper install --no-recommends {}", exact.join(" "));
        let install = |command: Confined| command.args(["install", "--no-recommends", "--name"]);
        let download = install(self.command(false))
            .args(["--download-only", "--"])
            .args(&exact);
        Self::run(&download.time_limit(NETWORK_LIMIT), &shown, &exact)?;
        if !same(&self.simulate(&exact, false)?.packages, &installation.packages) {
            return Err(failed(&shown, "it would install other packages by now"));
        }
        // rpm is not ended in the middle of its work.
        let install = install(self.command(false)).arg("--").args(&exact);
        let done = Self::run(&install.uninterruptible(), &shown, &exact)?;
        match done.errors.first() {
            Some(error) => Err(failed(&shown, error)),
            None => Ok(()),
        }
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
    /// When another package needs one, or zypper fails.
    pub fn remove(&self, packages: &[Package]) -> Result<(), ToolchainError> {
        let exact: Vec<String> = packages.iter().map(exact).collect();
        let shown = format!("zypper remove {}", names(packages).join(" "));
        let remove = || self.command(false).args(["remove", "--no-clean-deps", "--name"]);
        let ask = remove().args(["--dry-run", "--"]).args(&exact);
        let summary = Self::run(&ask.time_limit(LOCAL_LIMIT), &shown, &exact)?;
        let transaction = summary
            .transaction
            .ok_or_else(|| failed(&shown, "it does not say what it would do"))?;
        transaction.only_removes(packages)?;
        let remove = remove().arg("--").args(&exact);
        Self::run(&remove.uninterruptible(), &shown, &exact).map(drop)
    }
}

/// `NAME.ARCH=VERSION`.
fn exact(package: &Package) -> String {
    let part = |sign: char, text: Option<&String>| text.map(|text| format!("{sign}{text}")).unwrap_or_default();
    let arch = part('.', package.arch.as_ref());
    format!("{}{arch}{}", package.name, part('=', package.version.as_ref()))
}
