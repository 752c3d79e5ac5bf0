//! Progress events: bars on a terminal, one line for each step elsewhere, JSON Lines for programs.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use dkms_engine::event::{Event, Sink, Step, Subject};
use dkms_support::terminal::{printable, printable_json};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use jiff::{Timestamp, Unit};
use serde::Serialize;

use super::count_u64;
use crate::candidate::OfferId;

/// What the agent does besides the engine's work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum ProgressEvent {
    /// A repository is being synchronised.
    Syncing {
        /// Its name.
        repository: String,
    },
    /// Its index is verified and in the cache.
    Synced {
        /// Its name.
        repository: String,
        /// How many package versions it holds.
        packages: u64,
        /// Whether it brought anything new.
        changed: bool,
    },
    /// A source bundle is being downloaded.
    Fetching {
        /// The package.
        #[serde(flatten)]
        package: OfferId,
        /// Its whole length in bytes.
        length: u64,
    },
    /// A source bundle is verified and in the store.
    Fetched {
        /// The package.
        #[serde(flatten)]
        package: OfferId,
    },
    /// A module is loaded into the running kernel.
    Loading {
        /// Its name.
        module: String,
    },
    /// Packages of the distribution are installed because a build lacks them; with `--check`, they would be.
    Toolchain {
        /// Whether nothing is written, as `--check` asks.
        check: bool,
        /// The package manager.
        manager: &'static str,
        /// `NAME VERSION` of each.
        packages: Vec<String>,
        /// What is downloaded, in bytes, where nothing of it is there.
        download_bytes: u64,
        /// What they take on the disk, in bytes.
        disk_bytes: u64,
    },
    /// What builds need is downloaded for a medium.
    ToolchainFetching {
        /// The packages that were asked for; others come with them.
        packages: Vec<String>,
    },
    /// Packages that were installed for builds are removed again.
    ToolchainRemoved {
        /// The package manager.
        manager: &'static str,
        /// Their names.
        packages: Vec<String>,
    },
    /// `watch` waits for the next device.
    Watching,
    /// The initramfs of a kernel is made again, because drivers in it have changed.
    Initramfs {
        /// The release of the kernel.
        kernel: String,
    },
    /// A package is put in quarantine: it is not tried again by itself.
    Quarantined {
        /// The package.
        #[serde(flatten)]
        package: OfferId,
        /// The release of the kernel.
        kernel: String,
        /// The reason.
        reason: String,
    },
    /// The error that stopped the run.
    Error {
        /// What failed, with the file, address or package, and why.
        text: String,
        /// Suggested fix.
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    /// Something that a person should check.
    Warning {
        /// What is wrong.
        text: String,
        /// Suggested fix.
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
}

/// An event as a line of JSON, with the time at which it was reported.
#[derive(Serialize)]
struct Timed<'a, E> {
    time: Timestamp,
    #[serde(flatten)]
    event: &'a E,
}

impl<'a, E> Timed<'a, E> {
    fn now(event: &'a E) -> Self {
        let now = Timestamp::now();
        Self {
            // More digits are noise; the clock of every machine can be rounded.
            time: now.round(Unit::Millisecond).unwrap_or(now),
            event,
        }
    }
}

/// Shows progress events.
pub struct Reporter {
    mode: Mode,
    verbose: bool,
}

enum Mode {
    /// Lines of JSON on standard output.
    Json,
    /// Bars on standard error.
    Bars {
        all: MultiProgress,
        running: Mutex<HashMap<String, ProgressBar>>,
    },
    /// Lines on standard error.
    Lines,
}

impl Reporter {
    /// Reports as JSON, or as text on standard error.
    pub fn new(json: bool, verbose: bool) -> Self {
        let mode = if json {
            Mode::Json
        } else if std::io::stderr().is_terminal() {
            Mode::Bars {
                all: MultiProgress::new(),
                running: Mutex::default(),
            }
        } else {
            Mode::Lines
        };
        Self { mode, verbose }
    }

    /// Shows one event.
    pub fn report(&self, event: ProgressEvent) {
        if let Mode::Json = self.mode {
            return print_json(&Timed::now(&event));
        }
        match event {
            ProgressEvent::Syncing { repository } => self.begin(&repository, &format!("syncing {repository}")),
            ProgressEvent::Synced {
                repository,
                packages,
                changed,
            } => {
                let news = if changed { "" } else { ", nothing new" };
                self.end(
                    &repository,
                    Style::new(),
                    "synced",
                    &format!("{repository}: {}{news}", count_u64(packages, "package")),
                );
            }
            ProgressEvent::Fetching { package, length } => {
                self.begin(
                    &package.to_string(),
                    &format!("fetching {package} ({} KiB)", length.div_ceil(1024)),
                );
            }
            ProgressEvent::Fetched { package } => {
                self.end(&package.to_string(), Style::new(), "fetched", &package.to_string())
            }
            ProgressEvent::Toolchain {
                check,
                manager,
                packages,
                download_bytes,
                disk_bytes,
            } => {
                let what = if check { "would install" } else { "installing" };
                let text = format!(
                    "by {manager}, for builds: {} ({} KiB to download, {} KiB on disk)",
                    packages.join(", "),
                    download_bytes.div_ceil(1024),
                    disk_bytes.div_ceil(1024)
                );
                self.line(Style::new(), what, &text);
            }
            ProgressEvent::ToolchainFetching { packages } => {
                let text = format!("by apt, for the medium: {} and what they need", packages.join(", "));
                self.line(Style::new(), "fetching", &text);
            }
            ProgressEvent::ToolchainRemoved { manager, packages } => {
                self.line(
                    Style::new(),
                    "removed",
                    &format!("by {manager}, after the builds: {}", packages.join(", ")),
                );
            }
            ProgressEvent::Watching => {
                self.line(
                    Style::new(),
                    "watching",
                    "for devices without a driver, until it is stopped (Ctrl-C)",
                );
            }
            ProgressEvent::Initramfs { kernel } => {
                self.line(Style::new(), "updating", &format!("the initramfs of kernel {kernel}"));
            }
            ProgressEvent::Loading { module } => self.line(Style::new(), "loading", &module),
            ProgressEvent::Quarantined {
                package,
                kernel,
                reason,
            } => {
                self.line(warning(), "quarantined", &format!("{package} for {kernel}: {reason}"));
            }
            ProgressEvent::Warning { text, hint } => self.warn(warning(), "warning:", &text, hint.as_deref()),
            ProgressEvent::Error { text, hint } => self.warn(failure(), "error:", &text, hint.as_deref()),
        }
    }

    /// Shows the progress of a download, where there are bars.
    pub fn received(&self, package: &OfferId, received: u64, length: u64) {
        if let Mode::Bars { running, .. } = &self.mode
            && let Some(bar) = running
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&package.to_string())
        {
            if bar.length() != Some(length) {
                bar.set_style(download());
                bar.set_message(printable(&format!("fetching {package}")).into_owned());
                bar.set_length(length);
            }
            bar.set_position(received);
        }
    }

    /// Shows the excerpt of the file that the last event is about, and the suggested fix.
    pub fn explain(&self, excerpt: Option<&str>, hint: Option<&str>) {
        if let Some(excerpt) = excerpt {
            self.line(Style::new(), "", excerpt);
        }
        if let Some(hint) = hint {
            self.line(Style::new().bold(), "hint:", hint);
        }
    }

    /// A warning or an error as text, with its suggested fix.
    fn warn(&self, style: Style, label: &str, text: &str, hint: Option<&str>) {
        self.line(style, label, text);
        self.explain(None, hint);
    }

    /// A step begins.
    fn begin(&self, key: &str, text: &str) {
        match &self.mode {
            Mode::Bars { all, running } => {
                let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
                let bar = running.entry(key.to_owned()).or_insert_with(|| {
                    let bar = all.add(ProgressBar::new_spinner().with_style(spinner()));
                    bar.enable_steady_tick(Duration::from_millis(120));
                    bar
                });
                bar.set_message(printable(text).into_owned());
            }
            Mode::Lines => self.line(Style::new(), "", text),
            Mode::Json => {}
        }
    }

    /// A step ends.
    fn end(&self, key: &str, style: Style, label: &str, text: &str) {
        self.clear(key);
        self.line(style, label, text);
    }

    fn clear(&self, key: &str) {
        if let Mode::Bars { running, .. } = &self.mode
            && let Some(bar) = running.lock().unwrap_or_else(PoisonError::into_inner).remove(key)
        {
            bar.finish_and_clear();
        }
    }

    fn line(&self, style: Style, label: &str, text: &str) {
        let text = printable(text);
        let print = || {
            let gap = if label.is_empty() { "" } else { " " };
            // Standard error is closed: the message cannot be shown.
            let _ = writeln!(anstream::stderr(), "{style}{label}{style:#}{gap}{text}");
        };
        match &self.mode {
            Mode::Bars { all, .. } => all.suspend(print),
            Mode::Lines => print(),
            Mode::Json => {}
        }
    }
}

impl Sink for Reporter {
    fn emit(&self, event: Event) {
        if let Mode::Json = self.mode {
            return print_json(&Timed::now(&event));
        }
        match event {
            // Without a terminal only slow steps are shown.
            Event::Started { step, .. } if matches!(self.mode, Mode::Lines) && !self.verbose && !is_slow(step) => {}
            Event::Started { subject, step, detail } => {
                let detail = if detail.is_empty() || !self.verbose {
                    String::new()
                } else {
                    format!(" ({detail})")
                };
                self.begin(&key(&subject), &format!("{} {subject}{detail}", step.word()));
            }
            Event::Finished { subject, step } => {
                let done = Style::new().fg_color(Some(AnsiColor::Green.into()));
                self.end(&key(&subject), done, step.outcome(), &subject.to_string());
            }
            Event::Failed { subject, reason, log } => {
                self.end(&key(&subject), failure(), "failed", &format!("{subject}: {reason}"));
                if let Some(log) = log {
                    self.line(Style::new().dimmed(), "log:", &log.display().to_string());
                }
            }
            Event::DepmodStarted { release } => {
                self.begin(&depmod(&release), &format!("running depmod for {release}"));
            }
            Event::DepmodEnded { release } => self.clear(&depmod(&release)),
            Event::Note(text) | Event::ScriptLine(text) | Event::Advice { text, .. } => {
                if self.verbose {
                    self.line(Style::new().dimmed(), "note:", &text);
                }
            }
            Event::Warning { text, hint } => self.warn(warning(), "warning:", &text, hint.as_deref()),
        }
    }
}

fn is_slow(step: Step) -> bool {
    matches!(step, Step::Make | Step::Script | Step::Install | Step::Uninstall)
}

fn key(subject: &Subject) -> String {
    subject.to_string()
}

/// The key of a kernel's depmod among the running steps.
fn depmod(release: &str) -> String {
    format!("depmod {release}")
}

fn warning() -> Style {
    Style::new().fg_color(Some(AnsiColor::Yellow.into())).bold()
}

fn failure() -> Style {
    Style::new().fg_color(Some(AnsiColor::Red.into())).bold()
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg} {elapsed:.dim}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn download() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg} [{bar:24}] {bytes}/{total_bytes}")
        .map_or_else(|_| ProgressStyle::default_bar(), |style| style.progress_chars("=> "))
}

/// Prints text on standard output. No control character in it reaches a terminal.
pub fn print_text(text: impl std::fmt::Display) {
    print_styled(printable(&text.to_string()));
}

/// Prints text with colours on standard output, without them unless it is a terminal. Text from elsewhere in it must have
/// been made [`printable`].
pub fn print_styled(text: impl std::fmt::Display) {
    // The reader may close the pipe early.
    let _ = writeln!(anstream::stdout(), "{text}");
}

/// Prints text on standard error, as [`print_text`] does.
pub fn print_note(text: impl std::fmt::Display) {
    // The reader may close the pipe early.
    let _ = writeln!(anstream::stderr(), "{}", printable(&text.to_string()));
}

/// One line of JSON on standard output.
pub fn print_json(value: &impl Serialize) {
    if let Ok(line) = serde_json::to_string(value) {
        // The reader may close the pipe early.
        let _ = writeln!(std::io::stdout(), "{}", printable_json(&line));
    }
}

/// A path as seen inside the root, for documents.
pub fn path_in_root(root: &dkms_engine::root::Root, path: &std::path::Path) -> PathBuf {
    root.inside(path).unwrap_or_else(|| path.to_owned())
}
