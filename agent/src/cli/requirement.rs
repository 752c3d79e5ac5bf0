//! `--require-all`: devices that must have a driver, for factories and provisioning.

use super::context::Context;
use crate::exit::Exit;
use crate::report::progress::ProgressEvent;
use crate::report::{DeviceReport, KernelReport, count, needs_no_driver};

/// The exit code of a kernel, [`Exit::Unserved`] where a device that is required has no driver and nothing worse happened. Each such
/// device is reported.
pub(super) fn apply(context: &Context, kernel: &KernelReport, exit: Exit) -> Exit {
    let Some(required) = &context.options.require_all else {
        return exit;
    };
    let unserved: Vec<&DeviceReport> = kernel
        .devices
        .iter()
        .filter(|report| is_required(report, required) && !report.verdict.is_served())
        .collect();
    let Some(first) = unserved.first() else { return exit };
    context.reporter.report(ProgressEvent::Warning {
        text: format!(
            "{} without a driver for kernel {}: {}",
            count(unserved.len(), "required device"),
            kernel.release,
            unserved
                .iter()
                .map(|report| named(report))
                .collect::<Vec<_>>()
                .join(", ")
        ),
        hint: Some(format!(
            "dkms-fetch explain {}",
            first.id.clone().unwrap_or_else(|| first.device.path.clone())
        )),
    });
    match exit {
        Exit::Converged | Exit::Pending | Exit::Changed | Exit::NoMatch => Exit::Unserved,
        worse => worse,
    }
}

fn named(report: &DeviceReport) -> String {
    match &report.id {
        Some(id) => format!("{id} {}", report.title),
        None => report.title.clone(),
    }
}

/// Without names every PCI, USB, HID or SDIO device of a kind that needs a driver; with names those of a bus or with an id.
fn is_required(report: &DeviceReport, required: &[String]) -> bool {
    let names: Vec<&String> = required.iter().filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return report.device.is_on_id_bus() && !needs_no_driver(report);
    }
    let bus = report.device.subsystem.as_str();
    names
        .iter()
        .any(|name| **name == bus || report.id.as_ref().is_some_and(|id| id.eq_ignore_ascii_case(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::device::Device;
    use crate::verdict::Verdict;

    #[test]
    fn what_is_required() {
        let check = |modalias: &str, required: &[&str], expected: bool| {
            let device = Device::unnamed("recorded:1".into(), vec![modalias.parse().unwrap()]);
            let report = DeviceReport::of(device, Verdict::Unknown);
            let required: Vec<String> = required.iter().map(|&name| name.to_owned()).collect();
            assert_eq!(is_required(&report, &required), expected, "{modalias} {required:?}");
        };
        let nic = "pci:v000010ECd00008168sv00001043sd00008677bc02sc00i00";
        let bridge = "pci:v00008086d000029C0sv00000000sd00000000bc06sc00i00";
        check(nic, &[""], true);
        check(bridge, &[""], false);
        check("acpi:LNXPWRBN:", &[""], false);
        check(nic, &["usb"], false);
        check(nic, &["usb", "pci"], true);
        check(nic, &["10EC:8168"], true);
        check(bridge, &["10ec:8168"], false);
    }
}
