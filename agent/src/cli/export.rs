//! `devices --export`: the devices of this machine as a list for `--devices` on another one.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::context::Context;
use super::failure::Failure;
use super::named_file;
use crate::device::Device;
use crate::exit::Exit;
use crate::report::progress::{print_json, print_text};
use crate::report::{Document, count};

const HEADING: &str = "\
# The devices of a machine, for `dkms-fetch --devices FILE` and `dkms-fetch media make --devices FILE` on another one.
# Modaliases only: what kind of device each is, and nothing that tells one from another of its kind.
";

/// The final document of `devices --export`.
#[derive(Serialize)]
struct Exported {
    /// Absent where the list went to the document alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    devices: usize,
    list: String,
}

/// Writes the list to `file`, or to standard output.
pub(super) fn run(context: &Context, file: Option<&Path>) -> Result<Exit, Failure> {
    let (devices, _) = context.devices()?;
    let list = list(&devices);
    if let Some(file) = file {
        named_file::write(context, file, list.as_bytes())?;
    }
    let exit = Exit::Converged;
    if context.options.json {
        let body = Exported {
            file: file.map(|file| file.display().to_string()),
            devices: devices.len(),
            list,
        };
        print_json(&Document::new("export", exit, body));
    } else if let Some(file) = file {
        let verb = if context.options.check { "would write" } else { "wrote" };
        print_text(format_args!(
            "{verb} {} to {}",
            count(devices.len(), "device"),
            file.display()
        ));
    } else {
        print_text(list.trim_end());
    }
    Ok(exit)
}

/// A line for each modalias, with the number of its device in the place of a path: paths may have serial numbers and addresses.
fn list(devices: &[Device]) -> String {
    let mut list = HEADING.to_owned();
    for (number, device) in (1..).zip(devices) {
        for modalias in &device.modaliases {
            let text = String::from_utf8_lossy(modalias.as_bytes());
            // Writing to a string cannot fail.
            let _ = writeln!(list, "/{number}/modalias:{text}");
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::recorded;

    #[test]
    fn what_is_exported_is_read_back_without_identity() {
        let device = |path: &str, modaliases: &[&str]| {
            let modaliases = modaliases.iter().map(|m| m.parse().unwrap()).collect();
            let mut device = Device::unnamed(path.into(), modaliases);
            device.model = Some("Disk of Jane Doe".into());
            device
        };
        let odd = "/x:{\u{1b}[2J# P: /modalias:pci:v1";
        let devices = [
            device("/devices/usb1/1-2/SN0815", &["usb:v0403p6001"]),
            device("/devices/usb1/1-3/SN4711", &["usb:v0403p6001"]),
            device("/devices/acpi", &["acpi:X:", "of:NxT(null)Cy"]),
            device("/devices/odd", &[odd]),
        ];
        let list = list(&devices);
        assert!(!list.contains("SN0815") && !list.contains("Jane"), "{list}");
        let read = recorded::parse(&list).expect("our own list");
        let modaliases = |devices: &[Device]| devices.iter().map(|d| d.modaliases.clone()).collect::<Vec<_>>();
        assert_eq!(modaliases(&read), modaliases(&devices));
    }
}
