//! What a run found and did, as one value that is printed as a table or as a JSON document.

pub mod history;
pub mod progress;
mod rows;
pub mod table;

use jiff::Timestamp;
use serde::Serialize;

pub use rows::needs_no_driver;

use crate::candidate::OfferId;
use crate::device::Device;
use crate::exit::Exit;
use crate::verdict::Verdict;

/// The version of [`Report`] on standard output. It grows when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// The version of this program, in every document.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `1 device`, `2 devices`.
pub fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// The same of a number of an index.
pub fn count_u64(n: u64, what: &str) -> String {
    count(usize::try_from(n).unwrap_or(usize::MAX), what)
}

/// The final document of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// `report`: the last line of standard output, unlike the events before it.
    pub document: &'static str,
    /// The version of this program.
    pub version: &'static str,
    /// When the run began.
    pub time: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// `devices`, `plan` or `auto`.
    pub command: &'static str,
    /// The root directory that was looked at.
    pub root: String,
    /// Whether anything was changed (with `--check`: would be).
    pub changed: bool,
    /// The exit code.
    pub exit: u8,
    /// Where the packages come from.
    pub repositories: Vec<RepositoryReport>,
    /// One for each target kernel, oldest first.
    pub kernels: Vec<KernelReport>,
    /// What a person should check.
    pub warnings: Vec<Warning>,
}

/// One repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepositoryReport {
    /// Its name in the configuration.
    pub name: String,
    /// How many package versions its index holds.
    pub packages: u64,
    /// When its index expires, RFC 3339; absent when nothing is cached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// What holds for one kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KernelReport {
    /// `uname -r`.
    pub release: String,
    /// `uname -m`.
    pub arch: String,
    /// Every device of the machine.
    pub devices: Vec<DeviceReport>,
    /// Every package that was to be installed, in building order.
    pub packages: Vec<PackageReport>,
    /// Every package that its repository revoked with the action `uninstall`.
    pub removals: Vec<RemovalReport>,
}

/// One device with its verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceReport {
    /// What `explain` takes: vendor and device in hex; absent on buses without such numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What to call it.
    pub title: String,
    /// The device: its path, modaliases, names and driver.
    #[serde(flatten)]
    pub device: Device,
    /// The verdict on it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

impl DeviceReport {
    /// A device with its verdict.
    pub fn of(device: Device, verdict: Verdict) -> Self {
        Self {
            id: device.short_id(),
            title: device.title(),
            device,
            verdict,
        }
    }
}

/// One package of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackageReport {
    /// The package.
    #[serde(flatten)]
    pub package: OfferId,
    /// The version under which the DKMS tree knows it.
    pub dkms_version: String,
    /// One line about it.
    pub summary: String,
    /// The devices it is for, as paths; empty for what another package needs.
    pub serves: Vec<String>,
    /// Its outcome.
    #[serde(flatten)]
    pub outcome: InstallStatus,
}

/// The outcome of a package of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum InstallStatus {
    /// It would be installed.
    Planned,
    /// It is installed now.
    Installed {
        /// The files below the root.
        modules: Vec<String>,
        /// Whether the running kernel has loaded it.
        loaded: bool,
        /// What it waits for, if it does.
        #[serde(skip_serializing_if = "Option::is_none")]
        pending: Option<String>,
        /// Suggested fix.
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    /// It is not installed, and nothing of it is left.
    Failed {
        /// Why, in one sentence.
        reason: String,
        /// The log of the build, a path below the root.
        #[serde(skip_serializing_if = "Option::is_none")]
        log: Option<String>,
        /// Suggested fix.
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
}

/// A package that its repository revoked with the action `uninstall`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RemovalReport {
    /// The package.
    #[serde(flatten)]
    pub package: OfferId,
    /// The version under which the DKMS tree knows it.
    pub dkms_version: String,
    /// Why it was revoked.
    pub revoked: String,
    /// Its outcome.
    #[serde(flatten)]
    pub outcome: RemovalStatus,
}

/// The outcome of removing a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum RemovalStatus {
    /// It would be removed.
    Planned,
    /// It is removed.
    Removed {
        /// Whether the running kernel uses its modules until the next boot.
        until_reboot: bool,
    },
    /// It is still installed.
    Failed {
        /// Why, in one sentence.
        reason: String,
        /// Suggested fix.
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
}

/// The final document of every other command: the fields that all have, and those of the command.
#[derive(Debug, Serialize)]
pub struct Document<T> {
    /// [`SCHEMA`].
    schema: u32,
    /// Its name: that of the command.
    document: &'static str,
    /// The version of this program.
    version: &'static str,
    /// The exit code.
    exit: u8,
    #[serde(flatten)]
    body: T,
}

impl<T: Serialize> Document<T> {
    /// The document `name` of a run that ends with `exit`.
    pub fn new(name: &'static str, exit: Exit, body: T) -> Self {
        Self {
            schema: SCHEMA,
            document: name,
            version: VERSION,
            exit: exit.code(),
            body,
        }
    }
}

/// Something that a person should check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// What is wrong.
    pub text: String,
    /// Suggested fix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
