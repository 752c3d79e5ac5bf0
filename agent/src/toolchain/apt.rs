//! apt, of Debian and Ubuntu.

use std::collections::BTreeMap;

use dkms_engine::command::{Confined, find_program};
use dkms_engine::distribution::PackageManager;
use dkms_engine::root::Root;
use tempfile::TempDir;

use super::error::ToolchainError;
use super::package::{Installation, Package};
use super::run::{self, LOCAL_LIMIT, NETWORK_LIMIT, failed};
use super::simulation::simulation;

/// Installs what is named, and touches nothing else.
const INSTALL: [&str; 8] = [
    "install",
    "-y",
    "-q",
    "--no-install-recommends",
    "--no-remove",
    "--no-upgrade",
    "-o",
    "DPkg::Lock::Timeout=120",
];

/// apt on a machine or an image.
#[derive(Debug)]
pub struct Apt<'a> {
    root: &'a Root,
    offline: bool,
    /// Further options of configuration, `NAME=VALUE`.
    options: Vec<String>,
    /// What these options name, as long as this lives.
    _scratch: Option<TempDir>,
}

impl<'a> Apt<'a> {
    /// The apt of `root`. One that works offline uses no network.
    pub fn of(root: &'a Root, offline: bool) -> Self {
        Self {
            root,
            offline,
            options: Vec::new(),
            _scratch: None,
        }
    }

    /// The same, with these options of configuration.
    pub(super) fn with_options(mut self, options: impl IntoIterator<Item = String>) -> Self {
        self.options.extend(options);
        self
    }

    /// The same, which keeps a directory that its options name.
    pub(super) fn holding(mut self, scratch: TempDir) -> Self {
        self._scratch = Some(scratch);
        self
    }

    /// Whether its lists are its own, and not those of the machine.
    pub fn is_private(&self) -> bool {
        !self.options.is_empty()
    }

    /// Whether it is there: an image is served by this machine's.
    pub fn is_there(&self) -> bool {
        find_program(&Root::host(), "apt-get").is_some() && self.root.join("/var/lib/dpkg/status").exists()
    }

    /// A command of apt on the root. Packages of an image are configured inside it, by dpkg.
    fn command(&self, program: &str) -> Confined {
        let mut command = Confined::new(program).env("DEBIAN_FRONTEND", "noninteractive");
        if !self.root.is_host() {
            let dir = self.root.path().display();
            command = command.args([
                "-o".to_owned(),
                format!("Dir={dir}"),
                "-o".to_owned(),
                format!("Dir::State::status={dir}/var/lib/dpkg/status"),
                "-o".to_owned(),
                format!("DPkg::Options::=--root={dir}"),
            ]);
        }
        for option in &self.options {
            command = command.args(["-o", option]);
        }
        command
    }

    /// A command that only asks: it writes neither a log nor a cache.
    fn question(&self, program: &str) -> Confined {
        self.command(program).args([
            "-o",
            "Dir::Log::Planner=/dev/null",
            "-o",
            "Dir::Cache::pkgcache=",
            "-o",
            "Dir::Cache::srcpkgcache=",
        ])
    }

    /// Runs it, and returns what it printed.
    fn run(command: &Confined, shown: &str) -> Result<String, ToolchainError> {
        let said = run::run(command, shown)?;
        if said.code == Some(0) {
            return Ok(said.stdout);
        }
        let stderr = said.stderr;
        let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("E: ")).collect();
        let missing = |line: &&str| {
            let after = line.split_once("Unable to locate package ").map(|(_, name)| name);
            let quoted = || {
                line.split_once("Package '")
                    .and_then(|(_, rest)| rest.split('\'').next())
            };
            after.or_else(quoted).map(str::to_owned)
        };
        let missing: Vec<String> = errors.iter().filter_map(missing).collect();
        if !missing.is_empty() {
            return Err(ToolchainError::NotOffered {
                manager: PackageManager::Apt,
                packages: missing,
            });
        }
        let message = errors.first().copied().or_else(|| stderr.lines().last());
        Err(failed(shown, message.unwrap_or_default()))
    }

    /// Brings its lists up to date.
    ///
    /// # Errors
    /// When that fails.
    pub fn update(&self) -> Result<(), ToolchainError> {
        if self.offline {
            return Ok(());
        }
        let command = self
            .command("apt-get")
            .args(["update", "-q", "-o", "APT::Update::Error-Mode=any"])
            .time_limit(NETWORK_LIMIT);
        Self::run(&command, "apt-get update").map(drop)
    }

    /// What would be installed for `names`, with all that they need and nothing that is only recommended.
    ///
    /// # Errors
    /// When it does not know one, or would have to remove or upgrade another package.
    pub fn plan(&self, names: &[String]) -> Result<Installation, ToolchainError> {
        let command = self
            .question("apt-get")
            .args(["-s", "install", "--no-install-recommends", "--no-upgrade", "--"])
            .args(names)
            .time_limit(LOCAL_LIMIT);
        let said = Self::run(&command, &format!("apt-get -s install {}", names.join(" ")))?;
        let mut installation = Installation {
            packages: simulation(&said).only_installs(PackageManager::Apt, names)?,
            ..Installation::default()
        };
        if installation.packages.is_empty() {
            return Ok(installation);
        }
        let command = self
            .question("apt-cache")
            .args(["show", "--"])
            .args(exact(&installation))
            .time_limit(LOCAL_LIMIT);
        for line in Self::run(&command, "apt-cache show")?.lines() {
            let number = |field: &str| {
                line.strip_prefix(field)
                    .and_then(|text| text.trim().parse::<u64>().ok())
            };
            installation.download_bytes += number("Size:").unwrap_or_default();
            installation.disk_bytes += number("Installed-Size:").unwrap_or_default() * 1024;
        }
        Ok(installation)
    }

    /// The same, after the lists were brought up to date if they do not know a package and that is allowed.
    ///
    /// With the headers of `release` come those of later kernels, where a package brings the kernels themselves: of its version if that is
    /// offered, else of another one. A later upgrade would install a kernel for which nothing could be built otherwise.
    ///
    /// # Errors
    /// When it cannot be installed without a change of other packages.
    pub fn plan_with_following(
        &self,
        names: &[String],
        release: &str,
        may_update: bool,
    ) -> Result<Installation, ToolchainError> {
        let planned = match self.plan(names) {
            Err(ToolchainError::NotOffered { .. }) if may_update => {
                self.update()?;
                self.plan(names)?
            }
            ended => ended?,
        };
        let headers = format!("linux-headers-{release}");
        if !planned.packages.iter().any(|one| one.name == headers) {
            return Ok(planned);
        }
        for one in self.following_headers(release)? {
            for following in [one_version(&one), one.name] {
                if let Ok(with) = self.plan(&[names, &[following]].concat()) {
                    return Ok(with);
                }
            }
        }
        Ok(planned)
    }

    /// Installs just that: other versions, or more, would be refused.
    ///
    /// # Errors
    /// When apt does.
    pub fn install(&self, installation: &Installation) -> Result<(), ToolchainError> {
        let exact = exact(installation);
        let shown = format!("apt-get install {}", exact.join(" "));
        if !self.offline {
            self.download(installation)?;
        }
        // All is there now; dpkg is not ended in the middle of its work.
        let mut install = self.command("apt-get").args(INSTALL);
        if self.offline {
            install = install.arg("--no-download");
        }
        let install = install.arg("--").args(&exact);
        Self::run(&install.uninterruptible(), &shown).map(drop)
    }

    /// Downloads just that.
    ///
    /// # Errors
    /// When apt cannot.
    pub(super) fn download(&self, installation: &Installation) -> Result<(), ToolchainError> {
        let exact = exact(installation);
        let shown = format!("apt-get install --download-only {}", exact.join(" "));
        let download = self
            .command("apt-get")
            .args(INSTALL)
            .arg("--download-only")
            .arg("--")
            .args(&exact);
        Self::run(&download.time_limit(NETWORK_LIMIT), &shown).map(drop)
    }

    /// Where the archives of these packages are, and the names of the files that apt makes of them. To be asked before they are downloaded.
    ///
    /// # Errors
    /// When apt does not answer.
    pub(super) fn uris(&self, installation: &Installation) -> Result<BTreeMap<String, String>, ToolchainError> {
        let command = self
            .question("apt-get")
            .args(INSTALL)
            .arg("--print-uris")
            .arg("--")
            .args(exact(installation));
        let said = Self::run(&command.time_limit(LOCAL_LIMIT), "apt-get install --print-uris")?;
        // 'URI' FILE SIZE HASH
        let uri = |line: &str| {
            let (uri, rest) = line.strip_prefix('\'')?.split_once("' ")?;
            Some((uri.to_owned(), rest.split(' ').next()?.to_owned()))
        };
        Ok(said.lines().filter_map(uri).collect())
    }

    /// The lists of packages that it has: `FILE|KEY|ARCHIVE|SUITE|COMPONENT` each.
    ///
    /// # Errors
    /// When apt does not answer.
    pub(super) fn targets(&self) -> Result<String, ToolchainError> {
        let command = self.question("apt-get").args([
            "indextargets",
            "--format",
            "$(FILENAME)|$(METAKEY)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)",
            "Identifier: Packages",
        ]);
        Self::run(&command.time_limit(LOCAL_LIMIT), "apt-get indextargets")
    }

    /// The packages by whose upgrades the headers of later kernels come: `linux-headers-amd64` where `linux-image-amd64` brought this kernel,
    /// of the same version.
    ///
    /// # Errors
    /// When dpkg cannot be run.
    pub fn following_headers(&self, release: &str) -> Result<Vec<Package>, ToolchainError> {
        let image = format!("linux-image-{release}");
        let format = "${db:Status-Status}\t${Package}\t${Version}\t${Depends}\n";
        let text = self.dpkg_query(&["-W", "-f", format, "--", "linux-image-*"], &[])?;
        let follow = |line: &str| {
            let [status, name, version, depends] = line.split('\t').collect::<Vec<_>>().try_into().ok()?;
            let needs = |one: &str| one.trim().split([' ', '(', ':']).next() == Some(image.as_str());
            (status == "installed" && depends.split([',', '|']).any(needs)).then_some(())?;
            Some(Package {
                version: Some(version.to_owned()),
                ..Package::named(format!("linux-headers-{}", name.strip_prefix("linux-image-")?))
            })
        };
        Ok(text.lines().filter_map(follow).collect())
    }

    /// Which of these are installed.
    ///
    /// # Errors
    /// When dpkg cannot be run.
    pub fn installed(&self, packages: &[Package]) -> Result<Vec<Package>, ToolchainError> {
        let names = super::package::names(packages);
        let text = self.dpkg_query(&["-W", "-f", "${Package} ${db:Status-Status}\n", "--"], &names)?;
        let installed = text.lines().filter_map(|line| line.strip_suffix(" installed"));
        Ok(installed.map(Package::named).collect())
    }

    /// What dpkg-query prints. It fails where it does not know one of several packages, and lists the others.
    fn dpkg_query(&self, words: &[&str], names: &[String]) -> Result<String, ToolchainError> {
        let admin = self.root.join("/var/lib/dpkg");
        let query = Confined::new("dpkg-query")
            .arg(format!("--admindir={}", admin.display()))
            .args(words)
            .args(names)
            .time_limit(LOCAL_LIMIT);
        Ok(run::run(&query, "dpkg-query")?.stdout)
    }

    /// Removes packages, unless others would have to go with them.
    ///
    /// # Errors
    /// When another package needs one, or apt fails.
    pub fn remove(&self, packages: &[Package]) -> Result<(), ToolchainError> {
        let names = super::package::names(packages);
        let shown = format!("apt-get remove {}", names.join(" "));
        let command = self.question("apt-get").args(["-s", "remove", "--"]).args(&names);
        simulation(&Self::run(&command.time_limit(LOCAL_LIMIT), &shown)?).only_removes(packages)?;
        let command = self
            .command("apt-get")
            .args(["remove", "-y", "-q", "-o", "DPkg::Lock::Timeout=120", "--"])
            .args(names);
        Self::run(&command.uninterruptible(), &shown).map(drop)
    }
}

/// `NAME=VERSION` of each.
fn exact(installation: &Installation) -> Vec<String> {
    installation.packages.iter().map(one_version).collect()
}

fn one_version(package: &Package) -> String {
    match &package.version {
        Some(version) => format!("{}={version}", package.name),
        None => package.name.clone(),
    }
}
