//! The table of verdicts. It is text with ANSI colours; anstream removes them where the output is not a terminal.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use dkms_support::columns::{fit, pad, width, wrap};
use dkms_support::terminal::printable;

use super::rows::{Row, rows};
use super::{DeviceReport, InstallStatus, KernelReport, PackageReport, RemovalReport, RemovalStatus, count};
use crate::verdict::Verdict;

/// On a narrower terminal lines are wrapped by the terminal.
const WIDTH_MIN: usize = 40;
/// Long lines are hard to read.
const WIDTH_MAX: usize = 120;
/// On a narrower terminal the driver or the package of a device is on a second line.
const ONE_LINE_MIN: usize = 60;
/// Reasons are wrapped to this where nothing is cut.
const WRAPPED: usize = 80;

/// How a table is shown.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    /// The columns of the terminal; without them nothing is cut.
    pub columns: Option<usize>,
    /// Also devices that are unknown on every bus, or need no driver, and each interface and each of equal devices by itself.
    pub all: bool,
    /// Only ASCII.
    pub ascii: bool,
}

/// The columns of one table.
struct Layout {
    verdict: usize,
    id: usize,
    title: usize,
    detail: usize,
    /// The longest line.
    line: usize,
    one_line: bool,
}

impl Layout {
    fn of(rows: &[Row<'_>], look: Look) -> Self {
        let widest = |cell: &dyn Fn(&Row<'_>) -> usize| rows.iter().map(cell).max().unwrap_or(0);
        let (verdict, id) = (
            widest(&|row| width(row.verdict().words())),
            widest(&|row| width(&row.id)),
        );
        let (title, detail) = (widest(&|row| width(&row.title)), widest(&|row| width(&row.detail)));
        let Some(columns) = look.columns else {
            return Self {
                verdict,
                id,
                title,
                detail,
                line: WRAPPED,
                one_line: true,
            };
        };
        let line = columns.clamp(WIDTH_MIN, WIDTH_MAX);
        if line < ONE_LINE_MIN {
            return Self {
                verdict,
                id,
                title: line - verdict - 2,
                detail: line - 2,
                line,
                one_line: false,
            };
        }
        // Names of drivers are short on most machines; the names of devices get the columns that are left.
        let left = line.saturating_sub(verdict + id + 6).max(12);
        let detail = detail.clamp(left / 6, left / 2);
        Self {
            verdict,
            id,
            title: title.min(left - detail),
            detail,
            line,
            one_line: true,
        }
    }
}

/// Devices with their verdicts, those that ask for attention first.
pub fn devices(kernel: &KernelReport, look: Look) -> String {
    let found = rows(kernel, look.all);
    let layout = Layout::of(&found.shown, look);
    let dim = Style::new().dimmed();
    let mut text = String::new();
    for row in &found.shown {
        let style = style(row.verdict());
        let label = pad(row.verdict().words(), layout.verdict);
        let (title, detail) = (fit(&row.title, layout.title), fit(&row.detail, layout.detail));
        if layout.one_line {
            let (title, id) = (pad(&title, layout.title), pad(&row.id, layout.id));
            let line = format!("{style}{label}{style:#}  {title}  {id}  {detail}");
            let _ = writeln!(text, "{}", line.trim_end());
        } else {
            let _ = writeln!(text, "{style}{label}{style:#}  {title}");
            let below = format!("{} {detail}", row.id);
            if !below.trim().is_empty() {
                let _ = writeln!(text, "  {}", fit(below.trim(), layout.line - 2));
            }
        }
        let indent = if layout.one_line { layout.verdict + 2 } else { 2 };
        for reason in reasons(row.verdict()) {
            for part in wrap(&reason, layout.line - indent) {
                let _ = writeln!(text, "{:indent$}{dim}{part}{dim:#}", "");
            }
        }
    }
    for hidden in found.hidden_lines() {
        let _ = writeln!(text, "{dim}{}{dim:#}", printable(&hidden));
    }
    if look.ascii { ascii(&text) } else { text }
}

/// Replaces characters that are not ASCII, for a terminal without UTF-8.
fn ascii(text: &str) -> String {
    let plain = |c: char| match c {
        '…' => '~',
        '×' => 'x',
        c if c.is_ascii() => c,
        _ => '?',
    };
    text.chars().map(plain).collect()
}

/// One line that sums the table of these devices up.
pub fn summary(devices: &[DeviceReport]) -> String {
    let mut parts: Vec<(u8, &str, usize)> = Vec::new();
    for device in devices {
        let (urgency, words) = (urgency(&device.verdict), device.verdict.words());
        match parts.iter_mut().find(|(_, known, _)| *known == words) {
            Some((_, _, n)) => *n += 1,
            None => parts.push((urgency, words, 1)),
        }
    }
    parts.sort_unstable();
    let parts: Vec<String> = parts.iter().map(|(_, words, n)| format!("{n} {words}")).collect();
    format!(
        "{}: {}",
        count(devices.len(), "device"),
        if parts.is_empty() {
            "none".into()
        } else {
            parts.join(", ")
        }
    )
}

/// What a person can do next.
pub fn next_step(kernel: &KernelReport) -> Option<String> {
    let with = |is_meant: &dyn Fn(&Verdict) -> bool| -> Vec<&DeviceReport> {
        kernel.devices.iter().filter(|one| is_meant(&one.verdict)).collect()
    };
    let installable = with(&|verdict| matches!(verdict, Verdict::Installable { .. }));
    if !installable.is_empty() {
        let devices = count(installable.len(), "device");
        return Some(format!("dkms-fetch --auto installs the drivers for {devices}"));
    }
    let refused = with(&|verdict| matches!(verdict, Verdict::Refused { .. }));
    let device = refused.first()?;
    let named = device.device.short_id().unwrap_or_else(|| device.device.path.clone());
    Some(format!(
        "dkms-fetch explain {} says why nothing is installed for it",
        printable(&named)
    ))
}

/// One line about the outcome of a package for kernel `release`.
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
            let files = if files.is_empty() {
                String::new()
            } else {
                format!(" ({})", printable(&files.join(", ")))
            };
            format!("{style}installed{style:#} {name} for {release}{files}{loaded}{pending}")
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

/// One line about the outcome of removing a package from kernel `release`.
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

fn urgency(verdict: &Verdict) -> u8 {
    verdict.urgency()
}

fn style(verdict: &Verdict) -> Style {
    let colour = |c: AnsiColor| Style::new().fg_color(Some(c.into()));
    match verdict {
        Verdict::Installable { .. } => colour(AnsiColor::Cyan).bold(),
        Verdict::Installed { .. } => colour(AnsiColor::Green).bold(),
        Verdict::Unbound { .. } | Verdict::Refused { .. } => colour(AnsiColor::Yellow).bold(),
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

#[cfg(test)]
mod tests {
    use super::*;

    use crate::candidate::{OfferId, Rejected, Rejection};
    use crate::device::{Binding, Device};

    const CUT: Look = Look {
        columns: Some(80),
        all: false,
        ascii: false,
    };

    fn row(modalias: &str, model: &str, verdict: Verdict) -> DeviceReport {
        let mut device = Device::unnamed("recorded:1".into(), vec![modalias.parse().unwrap()]);
        device.model = (!model.is_empty()).then(|| model.to_owned());
        device.binding = Binding::Unknown;
        DeviceReport::of(device, verdict)
    }

    fn package(name: &str) -> OfferId {
        OfferId {
            name: name.into(),
            version: "1.0".into(),
            repository: "test".into(),
            scope: String::new(),
        }
    }

    #[test]
    fn what_was_installed_is_a_sentence_with_and_without_modules() {
        let check = |modules: &[&str], loaded: bool, expected: &str| {
            let report = PackageReport {
                package: package("edu"),
                dkms_version: "1.0".into(),
                summary: String::new(),
                serves: Vec::new(),
                outcome: InstallStatus::Installed {
                    modules: modules.iter().map(|&path| path.to_owned()).collect(),
                    loaded,
                    pending: None,
                    hint: None,
                },
            };
            let shown = anstream::adapter::strip_str(&super::package(&report, "6.1")).to_string();
            assert_eq!(shown, expected);
        };
        check(&["/updates/edu.ko"], true, "installed edu 1.0 for 6.1 (edu.ko), loaded");
        check(&[], false, "installed edu 1.0 for 6.1");
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
                    "pci:v00008086d000029C0sv00000000sd00000000bc06sc00i00",
                    "82G33 DRAM Controller",
                    Verdict::Unknown,
                ),
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
        let text = plain(&devices(&kernel(), CUT));
        let expected = "\
driver available  edu                                        1234:11e8  edu 1.0
refused           RTL8111/8168/8411 PCI Express Gigabit Et…  10ec:8168
                  r8168 1.0: known not to build on 6.12.95+deb12-amd64 (tried
                  2026-01-01): error: implicit declaration of function
                  'strlcpy'; did you mean 'strscpy'?
kernel driver     82801HM SATA                               8086:2829  ahci
and 1 device without a known driver, on acpi (`dkms-fetch devices --all` shows it)
and 1 device that needs no driver (`dkms-fetch devices --all` shows it)
";
        assert_eq!(text, expected);
        let all = Look { all: true, ..CUT };
        assert!(!plain(&devices(&kernel(), all)).contains("--all"));
    }

    #[test]
    fn a_narrow_terminal_has_two_lines_a_device_and_a_pipe_cuts_nothing() {
        let narrow = plain(&devices(
            &kernel(),
            Look {
                columns: Some(40),
                ..CUT
            },
        ));
        assert!(
            narrow.lines().all(|line| width(line) <= 40 || line.starts_with("and ")),
            "{narrow}"
        );
        assert!(
            narrow.contains("driver available  edu\n  1234:11e8 edu 1.0\n"),
            "{narrow}"
        );
        let piped = plain(&devices(&kernel(), Look::default()));
        assert!(!piped.contains('…'), "{piped}");
        assert!(piped.contains("Ethernet Controller and more  10ec:8168"), "{piped}");
        let ascii = plain(&devices(&kernel(), Look { ascii: true, ..CUT }));
        assert!(ascii.is_ascii() && ascii.contains("Gigabit Et~"), "{ascii}");
    }

    #[test]
    fn names_of_any_script_line_up() {
        let works = |driver: &str| Verdict::Works { driver: driver.into() };
        let usb = |id: &str| format!("usb:v1532p{id}d0200dc00dsc00dp00ic03isc00ip00in00");
        let mut kernel = kernel();
        kernel.devices = vec![
            row(&usb("0099"), "雷蛇 炼狱蝰蛇", works("razermouse")),
            row(&usb("009A"), "Cafe\u{301} Racer", works("usbhid")),
            row(&usb("009B"), &"寬".repeat(60), works("usbhid")),
        ];
        let text = plain(&devices(
            &kernel,
            Look {
                columns: Some(60),
                ..CUT
            },
        ));
        let column = |line: &str| width(line.rsplit_once("  ").unwrap().0);
        let columns: Vec<usize> = text.lines().map(column).collect();
        assert_eq!(columns, [columns[0]; 3], "{text}");
        assert!(text.lines().all(|line| width(line) <= 60), "{text}");
    }

    #[test]
    fn the_sum_and_the_next_step() {
        let mut kernel = kernel();
        assert_eq!(
            summary(&kernel.devices),
            "5 devices: 1 driver available, 1 refused, 2 no driver known, 1 kernel driver"
        );
        let next = next_step(&kernel).unwrap();
        assert_eq!(next, "dkms-fetch --auto installs the drivers for 1 device");
        kernel.devices.pop();
        let next = next_step(&kernel).unwrap();
        assert_eq!(
            next,
            "dkms-fetch explain 10ec:8168 says why nothing is installed for it"
        );
        kernel.devices.pop();
        assert_eq!(next_step(&kernel), None);
    }
}
