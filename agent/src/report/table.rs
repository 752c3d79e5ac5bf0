//! The table of verdicts. It is text with ANSI colours; anstream removes them where the output is not a terminal.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use dkms_index::modalias::Fields;
use dkms_support::columns::{fit, pad, width, wrap};
use dkms_support::terminal::printable;

use super::{DeviceReport, InstallStatus, KernelReport, PackageReport, RemovalReport, RemovalStatus};
use crate::verdict::Verdict;

/// Below this the table does not get narrower.
const WIDTH_MIN: usize = 60;
/// Above this it does not get wider: long lines are hard to read.
const WIDTH_MAX: usize = 120;
/// The longest verdict, `works in-tree`.
const VERDICT_COLUMNS: usize = 13;

/// Devices with their verdicts, those that ask for attention first. `all` also shows what is unknown on every bus.
pub fn devices(kernel: &KernelReport, terminal_columns: usize, all: bool) -> String {
    let line_columns = terminal_columns.clamp(WIDTH_MIN, WIDTH_MAX);
    let mut text = String::new();
    let (shown, hidden): (Vec<_>, Vec<_>) = kernel.devices.iter().partition(|d| all || is_of_interest(d));
    let mut shown: Vec<&DeviceReport> = shown;
    shown.sort_by_key(|d| urgency(&d.verdict));
    let columns = line_columns - VERDICT_COLUMNS - 4;
    // Names of drivers are short on most machines; the names of devices get the columns that are left.
    let widest = shown.iter().map(|d| width(&beside(d))).max().unwrap_or(0);
    let detail_columns = widest.clamp(columns / 6, columns / 2);
    let device_columns = columns - detail_columns;
    let dim = Style::new().dimmed();
    for device in &shown {
        let style = style(&device.verdict);
        let label = device.verdict.label();
        let title = pad(&device.device.title(), device_columns);
        let reasons = reasons(&device.verdict);
        let detail = fit(&beside(device), detail_columns);
        let line = format!("{style}{label:VERDICT_COLUMNS$}{style:#}  {title}  {detail}");
        let _ = writeln!(text, "{}", line.trim_end());
        for reason in reasons {
            let indent = VERDICT_COLUMNS + 2;
            for part in wrap(&reason, line_columns - indent) {
                let _ = writeln!(text, "{:indent$}{dim}{part}{dim:#}", "");
            }
        }
    }
    if !hidden.is_empty() {
        let buses = buses(&hidden);
        let _ = writeln!(
            text,
            "{dim}and {} unknown, on {buses} (--all shows them){dim:#}",
            count(hidden.len(), "device")
        );
    }
    text
}

/// One line that sums the table up.
pub fn summary(kernel: &KernelReport) -> String {
    let mut parts = Vec::new();
    for word in [
        "installed",
        "installable",
        "refused",
        "works",
        "works in-tree",
        "unknown",
    ] {
        let n = kernel.devices.iter().filter(|d| d.verdict.label() == word).count();
        if n > 0 {
            parts.push(format!("{n} {word}"));
        }
    }
    format!(
        "{}: {}",
        count(kernel.devices.len(), "device"),
        if parts.is_empty() {
            "none".into()
        } else {
            parts.join(", ")
        }
    )
}

/// One line about what became of a package for kernel `release`.
pub fn package(package: &PackageReport, release: &str) -> String {
    let name = printable(&package.package.to_string()).into_owned();
    let colour = |c: AnsiColor| Style::new().fg_color(Some(c.into())).bold();
    match &package.outcome {
        InstallStatus::Planned => format!("would install {name} for {release}"),
        InstallStatus::Installed {
            modules,
            loaded,
            pending,
            ..
        } => {
            let style = colour(AnsiColor::Green);
            let loaded = if *loaded { ", loaded" } else { "" };
            let pending = pending
                .as_deref()
                .map(|why| format!("; pending: {}", printable(why)))
                .unwrap_or_default();
            let files: Vec<&str> = modules.iter().filter_map(|path| path.rsplit('/').next()).collect();
            format!(
                "{style}installed{style:#} {name} for {release} ({}){loaded}{pending}",
                printable(&files.join(", "))
            )
        }
        InstallStatus::Failed { reason, .. } => {
            let style = colour(AnsiColor::Red);
            format!(
                "{style}failed{style:#} {name}: {} (kernel {release})",
                printable(reason)
            )
        }
    }
}

/// One line about what became of a package that was to go from kernel `release`.
pub fn removal(removal: &RemovalReport, release: &str) -> String {
    let RemovalReport { package, revoked, .. } = removal;
    let why = format!(
        "from {release}, revoked by {}: {}",
        package.repository,
        printable(revoked)
    );
    let package = printable(&package.to_string()).into_owned();
    let colour = |c: AnsiColor| Style::new().fg_color(Some(c.into())).bold();
    match &removal.outcome {
        RemovalStatus::Planned => format!("would remove {package} {why}"),
        RemovalStatus::Removed { until_reboot } => {
            let style = colour(AnsiColor::Yellow);
            let later = if *until_reboot {
                "; in use until the next boot"
            } else {
                ""
            };
            format!("{style}removed{style:#} {package} {why}{later}")
        }
        RemovalStatus::Failed { reason, .. } => {
            let style = colour(AnsiColor::Red);
            format!("{style}not removed{style:#} {package} {why}: {}", printable(reason))
        }
    }
}

/// Unknown devices of firmware and platform buses are many on any machine, and need no attention.
fn is_of_interest(device: &DeviceReport) -> bool {
    device.verdict != Verdict::Unknown || matches!(device.device.subsystem.as_str(), "pci" | "usb" | "hid" | "sdio")
}

fn urgency(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Installable { .. } => 0,
        Verdict::Installed { .. } => 1,
        Verdict::Refused { .. } => 2,
        Verdict::Unknown => 3,
        Verdict::Works { .. } => 4,
        Verdict::WorksInTree { .. } => 5,
    }
}

fn style(verdict: &Verdict) -> Style {
    let colour = |c: AnsiColor| Style::new().fg_color(Some(c.into()));
    match verdict {
        Verdict::Installable { .. } => colour(AnsiColor::Cyan).bold(),
        Verdict::Installed { .. } => colour(AnsiColor::Green).bold(),
        Verdict::Refused { .. } => colour(AnsiColor::Yellow).bold(),
        Verdict::Unknown => colour(AnsiColor::Magenta),
        Verdict::Works { .. } | Verdict::WorksInTree { .. } => colour(AnsiColor::Green),
    }
}

fn reasons(verdict: &Verdict) -> Vec<String> {
    match verdict {
        Verdict::Refused { why } => why.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    }
}

/// The text beside a device. Reasons are sentences and get lines of their own; names fit here.
fn beside(device: &DeviceReport) -> String {
    match &device.verdict {
        Verdict::Refused { .. } | Verdict::Unknown => id(device),
        verdict => verdict.detail(),
    }
}

/// The short identifier people look for: `10ec:8168`, or nothing.
fn id(device: &DeviceReport) -> String {
    match device.device.modaliases.first().and_then(|modalias| modalias.fields()) {
        Some(
            Fields::Pci { vendor, device, .. }
            | Fields::Hid {
                vendor,
                product: device,
                ..
            },
        ) => {
            format!("{vendor:04x}:{device:04x}")
        }
        Some(Fields::Usb { vendor, product, .. }) => format!("{vendor:04x}:{product:04x}"),
        _ => String::new(),
    }
}

fn buses(devices: &[&DeviceReport]) -> String {
    let mut buses: Vec<&str> = devices.iter().map(|d| d.device.subsystem.as_str()).collect();
    buses.sort_unstable();
    buses.dedup();
    printable(&buses.join(", ")).into_owned()
}

/// `1 device`, `2 devices`.
pub fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::candidate::{OfferId, Rejected, Rejection};
    use crate::device::{Binding, Device};

    fn row(modalias: &str, model: &str, verdict: Verdict) -> DeviceReport {
        let device = Device {
            path: "recorded:1".into(),
            subsystem: modalias.split(':').next().unwrap_or_default().into(),
            modaliases: vec![modalias.parse().unwrap()],
            vendor: None,
            model: (!model.is_empty()).then(|| model.to_owned()),
            class: None,
            binding: Binding::Unknown,
        };
        DeviceReport { device, verdict }
    }

    fn package(name: &str) -> OfferId {
        OfferId {
            name: name.into(),
            version: "1.0".into(),
            repository: "test".into(),
            scope: String::new(),
        }
    }

    fn kernel() -> KernelReport {
        let reason = "error: implicit declaration of function 'strlcpy'; did you mean 'strscpy'?".to_owned();
        let why = Rejection::KnownToFail {
            kernel: "6.12.95+deb12-amd64".into(),
            date: "2026-01-01".into(),
            reason,
        };
        let pci = |id: &str| format!("pci:v{id}sv00001043sd00008677bc02sc00i00");
        KernelReport {
            release: "6.12.1".into(),
            arch: "x86_64".into(),
            packages: Vec::new(),
            removals: Vec::new(),
            devices: vec![
                row(
                    &pci("00008086d00002829"),
                    "82801HM SATA",
                    Verdict::WorksInTree { module: "ahci".into() },
                ),
                row("acpi:LNXPWRBN:", "", Verdict::Unknown),
                row(
                    &pci("000010ECd00008168"),
                    "RTL8111/8168/8411 PCI Express Gigabit Ethernet Controller and more",
                    Verdict::Refused {
                        why: vec![Rejected {
                            package: package("r8168"),
                            why,
                        }],
                    },
                ),
                row(
                    &pci("00001234d000011E8"),
                    "edu",
                    Verdict::Installable {
                        package: package("edu"),
                    },
                ),
            ],
        }
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn what_needs_attention_comes_first_and_no_line_is_too_long() {
        let text = plain(&devices(&kernel(), 80, false));
        let expected = "\
installable    edu                                                    edu 1.0
refused        RTL8111/8168/8411 PCI Express Gigabit Ethernet Contr…  10ec:8168
               r8168 1.0: known not to build on 6.12.95+deb12-amd64 (tried
               2026-01-01): error: implicit declaration of function 'strlcpy';
               did you mean 'strscpy'?
works in-tree  82801HM SATA                                           ahci
and 1 device unknown, on acpi (--all shows them)
";
        assert_eq!(text, expected);
        assert!(text.lines().all(|line| width(line) <= 80));
        assert!(!plain(&devices(&kernel(), 80, true)).contains("--all"));
    }

    #[test]
    fn names_of_any_script_line_up() {
        let works = |driver: &str| Verdict::Works { driver: driver.into() };
        let usb = "usb:v1532p0099d0200dc00dsc00dp00ic03isc00ip00in00";
        let mut kernel = kernel();
        kernel.devices = vec![
            row(usb, "雷蛇 炼狱蝰蛇", works("razermouse")),
            row(usb, "Cafe\u{301} Racer", works("usbhid")),
            row(usb, &"寬".repeat(60), works("usbhid")),
        ];
        let text = plain(&devices(&kernel, 60, false));
        let column = |line: &str| width(line.rsplit_once("  ").unwrap().0);
        let columns: Vec<usize> = text.lines().map(column).collect();
        assert_eq!(columns, [columns[0]; 3], "{text}");
        assert!(text.lines().all(|line| width(line) <= 60), "{text}");
    }

    #[test]
    fn the_sum() {
        assert_eq!(
            summary(&kernel()),
            "4 devices: 1 installable, 1 refused, 1 works in-tree, 1 unknown"
        );
    }
}
