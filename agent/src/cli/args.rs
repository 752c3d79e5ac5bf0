//! The command line, as clap reads it. The manual page and the shell completions are made from this definition.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::Seconds;
use crate::exit;

const ABOUT: &str = "Finds, downloads, builds and installs the drivers a machine lacks";

const LONG_ABOUT: &str = "\
Finds, downloads, builds and installs the drivers a machine lacks.

Without a subcommand, dkms-fetch shows every device with a verdict: it works, the kernel has a driver of its own, a \
package can be or is installed, nothing is known, or packages were refused, and why. With --auto it does the whole job: \
it brings the signed index up to date, finds the packages that serve devices without a driver, downloads and verifies \
their sources, builds them, installs them, and loads them where the kernel is the running one.

What it reads and writes:
  /etc/dkms-fetch/repos.d/*.toml   repositories: name, urls, root (the pinned root.json), priority
  /usr/share/dkms-fetch/           repositories that packages ship: repos.d and roots.d
  /etc/dkms-fetch/config.toml      policy
  /var/cache/dkms-fetch/           the index and the downloaded sources
  /var/lib/dkms-fetch/             trust, history, holds, and what failed here
  /var/lib/dkms, /usr/src          the DKMS tree";

const EXAMPLES: &str = "\
Examples:
  dkms-fetch repo add https://drivers.example.org/public/
                                                   trust a repository, after a look at its fingerprint
  dkms-fetch                                       what does this machine have, and what does it lack?
  dkms-fetch --auto                                install what it lacks
  dkms-fetch --auto --check                        what would that do? (writes nothing)
  dkms-fetch explain 10ec:8168                     why this verdict?
  dkms-fetch --auto --root /mnt/image --kernel all --devices laptop.modaliases
                                                   prepare an image for a machine that is not here";

/// The arguments of `dkms-fetch`.
#[derive(Debug, Parser)]
#[command(name = "dkms-fetch", version, about = ABOUT, long_about = LONG_ABOUT, max_term_width = 100)]
#[command(after_help = exit::HELP, after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
#[command(args_conflicts_with_subcommands = false)]
pub struct Cli {
    /// Do the whole job without asking: sync, match, fetch, build, install, load
    #[arg(long)]
    pub auto: bool,
    /// What holds for every subcommand.
    #[command(flatten)]
    pub common: Common,
    /// What to do; without it, show the devices.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What holds for every subcommand.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Read and write below DIR instead of /; never looks at the running kernel
    #[arg(long, global = true, value_name = "DIR", help_heading = "Target")]
    pub root: Option<PathBuf>,
    /// For this kernel release (may be repeated), or `all` that are installed [default: the running one]
    #[arg(short, long, global = true, value_name = "RELEASE", help_heading = "Target")]
    pub kernel: Vec<String>,
    /// Devices of a machine that is not here: a list of modaliases, what `lspci -nn`, `lsusb` or `inxi -x` prints, a report of this
    /// program or a umockdev recording; `-` is standard input
    #[arg(long, global = true, value_name = "FILE", help_heading = "Target")]
    pub devices: Option<PathBuf>,
    /// Use only what is cached; no network
    #[arg(long, global = true, help_heading = "Mode")]
    pub offline: bool,
    /// Take what is there from a medium that `media make` wrote; it is verified like what a server sends
    #[arg(long, global = true, value_name = "DIR", help_heading = "Mode")]
    pub medium: Option<PathBuf>,
    /// Whether to install what a build lacks (headers, compiler, make) by apt, dnf or zypper [default: as `toolchain` of config.toml says,
    /// else false]; `toolchain = "never"` goes before this
    #[arg(
        long,
        global = true,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        help_heading = "Mode"
    )]
    pub install_toolchain: Option<bool>,
    /// Wait for metadata of the repositories this long in all [default: 90, or `metadata_s` of config.toml]
    #[arg(long, global = true, value_name = "SECONDS", help_heading = "Mode")]
    pub network_budget: Option<Seconds>,
    /// Say what would be done and write nothing
    #[arg(long, global = true, help_heading = "Mode")]
    pub check: bool,
    /// Standard output is JSON: a line for each event, then one final document
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,
    /// Cut nothing in tables; without a terminal nothing is cut in any case
    #[arg(long, global = true, help_heading = "Output")]
    pub wide: bool,
    /// Tell by the exit code also whether something changed (10) or nothing matched (11)
    #[arg(long, global = true, help_heading = "Output")]
    pub detailed_exitcode: bool,
    /// Exit with 8 where a device has no driver: all of them, or those of a bus (pci) or with an id (10ec:8168), separated by commas
    #[arg(
        long,
        global = true,
        value_name = "BUS|ID",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        value_delimiter = ',',
        help_heading = "Output"
    )]
    pub require_all: Option<Vec<String>>,
    /// Say more on standard error
    #[arg(short, long, global = true, help_heading = "Output")]
    pub verbose: bool,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show every device with its verdict (the default)
    Devices {
        /// Also those that neither the kernel nor a package knows, on every bus
        #[arg(long)]
        all: bool,
        /// Write their modaliases to FILE [default: standard output], for --devices on another machine; no serial numbers
        #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-", conflicts_with = "all")]
        export: Option<PathBuf>,
    },
    /// Say why a device has its verdict: every package that matches, and why the losers lost
    Explain {
        /// A modalias, `vendor:device` in hex, the end of a path below /sys (0000:02:00.0), or a package
        device: String,
    },
    /// Show what --auto would do
    Plan,
    /// Bring the signed index up to date
    Sync,
    /// Search packages by name, words of the summary, modalias, or `vendor:device` in hex
    Search {
        /// All of them must be found.
        #[arg(required = true)]
        terms: Vec<String>,
    },
    /// Download and verify the sources of packages
    Fetch {
        /// NAME, NAME/VERSION or NAME=VERSION
        #[arg(required = true, value_name = "PACKAGE")]
        packages: Vec<String>,
    },
    /// Install packages by name, whether or not a device asks for them
    Install {
        /// NAME, NAME/VERSION or NAME=VERSION
        #[arg(required = true, value_name = "PACKAGE")]
        packages: Vec<String>,
        /// Replace builds that the running kernel has loaded, where nothing uses them
        #[arg(long)]
        reload: bool,
    },
    /// Remove packages from the kernel and the DKMS tree, and put the kernel's own modules back
    Remove {
        /// NAME, NAME/VERSION or NAME=VERSION
        #[arg(required = true, value_name = "PACKAGE")]
        packages: Vec<String>,
        /// Also hold them, so that --auto does not bring them back
        #[arg(long)]
        hold: bool,
    },
    /// Say which devices that work now will have no driver under another kernel, before it is booted (exit code 8)
    CheckKernel {
        /// The kernel's release
        #[arg(value_name = "RELEASE")]
        release: String,
    },
    /// Print the installed modules that the initramfs of a kernel has to have: its generator asks for them
    InitramfsModules(InitramfsModules),
    /// Take back a driver that stopped this machine when it was loaded for the first time
    Recover,
    /// Show what is installed, held, and quarantined
    Status,
    /// Show what was done on this machine, the newest last
    History {
        /// How many entries
        #[arg(short = 'n', long, default_value_t = 20, value_name = "N")]
        last: u32,
    },
    /// Bring back what was installed after an earlier entry of the history; `unhold` allows again what that takes away
    #[command(group = ArgGroup::new("goal").args(["entry", "last"]).required(true))]
    Rollback {
        /// The number of the entry, which `history` shows; 0 is the time before all
        #[arg(value_name = "ENTRY", value_parser = entry)]
        entry: Option<u32>,
        /// Take back what the last run changed
        #[arg(long)]
        last: bool,
    },
    /// Keep packages as they are: --auto neither installs nor replaces them
    Hold {
        /// NAME
        #[arg(required = true, value_name = "PACKAGE")]
        packages: Vec<String>,
    },
    /// Let --auto have packages again, and forget that they failed here
    Unhold {
        /// NAME
        #[arg(required = true, value_name = "PACKAGE")]
        packages: Vec<String>,
    },
    /// Report the devices, their verdicts, what is installed and what failed, without what identifies the machine
    Report {
        /// Write one page that needs nothing else, to FILE or - for standard output
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
        /// Write metrics in the OpenMetrics text format, to FILE or - for standard output
        #[arg(long, value_name = "FILE")]
        openmetrics: Option<PathBuf>,
        /// With the host name, the machine id and the paths of devices
        #[arg(long)]
        identify: bool,
    },
    /// The key that signs modules, and whether this machine's firmware accepts it
    Mok {
        /// What to do.
        #[command(subcommand)]
        command: MokCommand,
    },
    /// Make a medium for machines without a network
    Media {
        /// What to do.
        #[command(subcommand)]
        command: MediaCommand,
    },
    /// Add, list and remove the repositories that this machine trusts
    Repo {
        /// What to do.
        #[command(subcommand)]
        command: RepoCommand,
    },
    /// Do what --auto does now, and again whenever a device without a driver appears, until it is stopped (Ctrl-C)
    Watch,
    /// Check what a run needs: repositories, clock, kernel headers, compiler, space
    Doctor,
    /// The `dkms` command line, as a drop-in; also when called by the name dkms
    #[command(disable_help_flag = true)]
    Dkms {
        /// As for dkms(8)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<std::ffi::OsString>,
    },
    /// Print the completions for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page, roff: `dkms-fetch man | man -l -`
    Man,
}

/// The subcommands of `mok`.
#[derive(Debug, Subcommand)]
pub enum MokCommand {
    /// Show the key, and how far its enrolment is; exit code 7 where modules need it and it is not accepted
    Status,
    /// Ask the firmware to accept the key at the next start, by mokutil, which asks for a password; makes the key if there is none
    Enroll {
        /// A password as `mokutil --generate-hash` writes it, for a factory where nobody types
        #[arg(long, value_name = "FILE")]
        hash_file: Option<PathBuf>,
    },
    /// Write the certificate, DER, for the firmware's own database
    Export {
        /// Where to
        file: PathBuf,
    },
}

/// The subcommands of `media`.
#[derive(Debug, Subcommand)]
pub enum MediaCommand {
    /// Write the index and the sources that fit the devices of a machine, for the kernels of --kernel
    Make {
        /// For the devices of this machine; else name those of another one with --devices
        #[arg(long)]
        this_machine: bool,
        /// A directory, which has a mirror of each repository then, or FILE.iso with the label DKMSFETCH
        #[arg(long, value_name = "DIR|FILE.iso")]
        out: PathBuf,
        /// Only these repositories (may be repeated)
        #[arg(long, value_name = "NAME")]
        repo: Vec<String>,
        /// Also what builds for these kernels need (headers, compiler, make) on a machine that has nothing, from the signed archives of apt
        /// here, or of --root; the machine verifies them by its distribution's keys
        #[arg(long)]
        toolchain: bool,
    },
}

/// The subcommands of `repo`.
#[derive(Debug, Subcommand)]
pub enum RepoCommand {
    /// Trust a repository: shows the fingerprint and the keys of its root, and asks
    Add {
        /// A URL, a directory, or a file with name, urls and root or fingerprint
        #[arg(value_name = "URL|DIRECTORY|FILE")]
        source: String,
        /// The SHA-256 of its root.json, which the publisher hands out; without a terminal it must be given
        #[arg(long, value_name = "SHA256")]
        fingerprint: Option<String>,
        /// What to call it here [default: what the file or the address suggests]
        #[arg(long)]
        name: Option<String>,
    },
    /// Show the repositories that are configured
    List,
    /// Show where repositories are, and the fingerprint and the keys of their roots
    Info {
        /// NAME
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// No longer trust repositories; what was installed from them stays
    Remove {
        /// NAME
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

/// What `initramfs-modules` is asked.
#[derive(Debug, Args)]
pub struct InitramfsModules {
    /// The kernel's release
    #[arg(value_name = "RELEASE")]
    pub release: String,
    /// Print those that it must not load, because they are on trial and this machine starts without them
    #[arg(long)]
    pub left_out: bool,
    /// Make the initramfs again if the trial of modules that it lacks has ended
    #[arg(long, conflicts_with = "left_out")]
    pub update: bool,
}

/// The number of an entry of the history.
fn entry(text: &str) -> Result<u32, String> {
    let no_number =
        "an entry is a number, which `dkms-fetch history` shows; --last takes back what the last run changed";
    text.parse().map_err(|_| no_number.to_owned())
}
