//! The rows of the table: one for a device with all its interfaces, one for equal devices, none for what needs no driver.

use std::collections::BTreeMap;

use dkms_index::modalias::Fields;

use super::{DeviceReport, KernelReport, count};
use crate::verdict::Verdict;

/// The base class of PCI bridges, and that of USB hubs.
const BRIDGE: u8 = 0x06;
const HUB: u8 = 0x09;
/// PCI base classes that have nothing to drive: memory controllers, system peripherals, processors.
const NOTHING_TO_DRIVE: [u8; 3] = [0x05, 0x08, 0x0b];

/// One row.
pub(super) struct Row<'a> {
    report: &'a DeviceReport,
    /// What to call it, with how many there are of it.
    pub(super) title: String,
    /// What `explain` takes.
    pub(super) id: String,
    /// The driver or the package.
    pub(super) detail: String,
    count: usize,
}

impl Row<'_> {
    pub(super) fn verdict(&self) -> &Verdict {
        &self.report.verdict
    }
}

/// The rows of a kernel, those that ask for attention first, and what is left out.
pub(super) struct Rows<'a> {
    pub(super) shown: Vec<Row<'a>>,
    unknown: Vec<&'a DeviceReport>,
    without_need: usize,
}

impl Rows<'_> {
    /// What is left out, one line each.
    pub(super) fn hidden_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let them = |number| if number == 1 { "it" } else { "them" };
        if !self.unknown.is_empty() {
            let mut buses: Vec<&str> = self.unknown.iter().map(|one| one.device.subsystem.as_str()).collect();
            buses.sort_unstable();
            buses.dedup();
            lines.push(format!(
                "and {} without a known driver, on {} (`dkms-fetch devices --all` shows {})",
                count(self.unknown.len(), "device"),
                buses.join(", "),
                them(self.unknown.len())
            ));
        }
        if self.without_need > 0 {
            let verb = if self.without_need == 1 { "needs" } else { "need" };
            lines.push(format!(
                "and {} that {verb} no driver (`dkms-fetch devices --all` shows {})",
                count(self.without_need, "device"),
                them(self.without_need)
            ));
        }
        lines
    }
}

/// Makes the rows; with `all` every device has a row of its own.
pub(super) fn rows(kernel: &KernelReport, all: bool) -> Rows<'_> {
    let mut found = Rows {
        shown: Vec::new(),
        unknown: Vec::new(),
        without_need: 0,
    };
    let devices: Vec<&DeviceReport> = if all {
        kernel.devices.iter().collect()
    } else {
        one_of_interfaces(&kernel.devices)
    };
    for report in devices {
        if !all && report.verdict == Verdict::Unknown {
            if needs_no_driver(report) {
                found.without_need += 1;
                continue;
            }
            // Those of firmware and platform buses are many on any machine.
            if !report.device.is_on_id_bus() {
                found.unknown.push(report);
                continue;
            }
        }
        let row = Row {
            report,
            title: report.device.title(),
            id: report.device.short_id().unwrap_or_default(),
            detail: detail_cell(&report.verdict),
            count: 1,
        };
        let is_equal = |other: &&mut Row<'_>| {
            (&other.id, &other.title, &other.report.verdict) == (&row.id, &row.title, &row.report.verdict)
        };
        match found.shown.iter_mut().find(is_equal).filter(|_| !all) {
            Some(same) => same.count += 1,
            None => found.shown.push(row),
        }
    }
    for row in found.shown.iter_mut().filter(|row| row.count > 1) {
        row.title = format!("{} ×{}", row.title, row.count);
    }
    found.shown.sort_by_key(|row| row.report.verdict.urgency());
    found
}

/// Of the interfaces of one USB device the one whose verdict matters most: an interface without a driver of a device that works needs
/// none.
fn one_of_interfaces(devices: &[DeviceReport]) -> Vec<&DeviceReport> {
    let mut first_of: BTreeMap<&str, usize> = BTreeMap::new();
    let mut kept: Vec<&DeviceReport> = Vec::new();
    for report in devices {
        let Some(device) = usb_device(report) else {
            kept.push(report);
            continue;
        };
        match first_of.get(device) {
            Some(&at) if weight(&report.verdict) < weight(&kept[at].verdict) => kept[at] = report,
            Some(_) => {}
            None => {
                first_of.insert(device, kept.len());
                kept.push(report);
            }
        }
    }
    kept
}

/// The path of the device that a USB interface belongs to: `…/1-2` of `…/1-2/1-2:1.0`.
fn usb_device(report: &DeviceReport) -> Option<&str> {
    let (device, interface) = report.device.path.rsplit_once('/')?;
    let name = device.rsplit('/').next()?;
    let is_interface = report.device.subsystem == "usb" && interface.strip_prefix(name)?.starts_with(':');
    is_interface.then_some(device)
}

/// The order of the verdicts of several interfaces: the one with the least weight is shown.
fn weight(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Unknown => u8::MAX,
        verdict => verdict.urgency(),
    }
}

/// Whether a device is of a kind that has nothing to drive: bridges, hubs, memory.
pub fn needs_no_driver(report: &DeviceReport) -> bool {
    let fields = report.device.modaliases.first().and_then(|modalias| modalias.fields());
    match fields {
        Some(Fields::Pci { class, .. }) => class[0] == BRIDGE || NOTHING_TO_DRIVE.contains(&class[0]),
        Some(Fields::Usb {
            device_class,
            interface_class,
            ..
        }) => device_class[0] == HUB || interface_class[0] == HUB,
        _ => false,
    }
}

/// The last cell of a row: a driver or a package. Reasons are sentences, and have lines of their own.
fn detail_cell(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Refused { .. } | Verdict::Unknown => String::new(),
        verdict => verdict.detail(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::device::Device;

    fn report(path: &str, modalias: &str, verdict: Verdict) -> DeviceReport {
        let mut device = Device::unnamed(path.into(), vec![modalias.parse().unwrap()]);
        device.model = Some("Webcam".into());
        DeviceReport::of(device, verdict)
    }

    fn check(devices: Vec<DeviceReport>, all: bool, expected: &[&str], hidden: &[&str]) {
        let kernel = KernelReport {
            release: "6.1".into(),
            arch: "x86_64".into(),
            devices,
            packages: Vec::new(),
            removals: Vec::new(),
        };
        let rows = rows(&kernel, all);
        let shown: Vec<String> = rows
            .shown
            .iter()
            .map(|row| format!("{} {} {}", row.verdict().label(), row.title, row.id))
            .collect();
        assert_eq!(shown, expected);
        assert_eq!(rows.hidden_lines(), hidden);
    }

    #[test]
    fn interfaces_and_equal_devices_are_one_row() {
        let works = || Verdict::Works {
            driver: "uvcvideo".into(),
        };
        let usb = |class: &str| format!("usb:v1532p0099d0200dc00dsc00dp00ic{class}isc00ip00in00");
        let devices = || {
            vec![
                report("/devices/usb1/1-2/1-2:1.0", &usb("FF"), Verdict::Unknown),
                report("/devices/usb1/1-2/1-2:1.1", &usb("0E"), works()),
                report("/devices/usb1/1-3/1-3:1.0", &usb("0E"), works()),
                report("/devices/usb1/1-0:1.0", &usb("09"), Verdict::Unknown),
            ]
        };
        check(
            devices(),
            false,
            &["works Webcam ×2 1532:0099"],
            &["and 1 device that needs no driver (`dkms-fetch devices --all` shows it)"],
        );
        let unknown = "unknown Webcam 1532:0099";
        let works = "works Webcam 1532:0099";
        check(devices(), true, &[unknown, unknown, works, works], &[]);
    }
}
