//! Recorded machines, from a file in one of these forms:
//!
//! - a report of this program: JSON whose `devices` are [`Device`]s (or hold one as `device`);
//! - a umockdev device file, `umockdev-record --all`;
//! - modaliases one a line, `find /sys/devices -name modalias -exec cat {} +`;
//! - what `lspci -nn`, `lsusb` or `inxi` prints;
//! - modaliases with paths: `/sys/…/modalias:<modalias>` (`grep -r`), or the path on a line before its modaliases.
//!
//! Lines that are empty or start with `#` are skipped. Two identical devices stay two.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use dkms_index::modalias::{Modalias, ModaliasError};
use serde::Deserialize;

use super::names::Names;
use super::{Device, DeviceError, listing, umockdev};

/// A big server's umockdev file is 3 MB.
const FILE_MAX_BYTES: usize = 64 << 20;
/// The largest machines have some ten thousand devices.
const DEVICES_MAX: usize = 50_000;

/// The devices that the file at `path` records, or standard input where it is `-`, with names from hwdb where the recording has none.
///
/// # Errors
/// When the file cannot be read, is too big, has a line that is not understood, or names no device.
pub fn read(path: &Path) -> Result<Vec<Device>, DeviceError> {
    let failed = |source| DeviceError::Read {
        path: path.to_owned(),
        source,
    };
    let too_big = |limit, unit| DeviceError::TooBig {
        path: path.to_owned(),
        limit,
        unit,
    };
    let mut bytes = Vec::new();
    let limit = FILE_MAX_BYTES as u64 + 1;
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(failed)?;
    if bytes.len() > FILE_MAX_BYTES {
        return Err(too_big(FILE_MAX_BYTES, "bytes"));
    }
    let mut devices = parse(&String::from_utf8_lossy(&bytes)).map_err(|(line, why)| DeviceError::Line {
        path: path.to_owned(),
        line,
        why,
    })?;
    devices.retain(|device| !device.modaliases.is_empty());
    if devices.is_empty() {
        return Err(DeviceError::Empty { path: path.to_owned() });
    }
    if devices.len() > DEVICES_MAX {
        return Err(too_big(DEVICES_MAX, "devices"));
    }
    let names = Names::open();
    for device in devices.iter_mut().filter(|d| d.vendor.is_none() && d.model.is_none()) {
        names.fill(device);
    }
    Ok(devices)
}

/// The devices in `text`, whatever its form.
///
/// # Errors
/// The number of the line, from 1, that is not understood, and why.
pub fn parse(text: &str) -> Result<Vec<Device>, (usize, String)> {
    if text.trim_start().starts_with('{') {
        report(text)
    } else if umockdev::recognise(text) {
        umockdev::parse(text)
    } else if let Some(devices) = listing::parse(text) {
        devices
    } else {
        list(text)
    }
}

/// A report: one JSON document, or JSON Lines of which the last that has `devices` counts.
fn report(text: &str) -> Result<Vec<Device>, (usize, String)> {
    #[derive(Deserialize)]
    struct Report {
        devices: Option<Vec<Entry>>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Entry {
        Nested { device: Device },
        Flat(Device),
    }
    let mut devices = None;
    for value in serde_json::Deserializer::from_str(text).into_iter::<Report>() {
        let report = value.map_err(|e| (e.line(), e.to_string()))?;
        devices = report.devices.or(devices);
    }
    let entries = devices.ok_or_else(|| (1, "a report has `devices`, this has none".to_owned()))?;
    Ok(entries
        .into_iter()
        .map(|entry| match entry {
            Entry::Nested { device } | Entry::Flat(device) => device,
        })
        .collect())
}

/// A list of modaliases, with or without the paths of their files.
fn list(text: &str) -> Result<Vec<Device>, (usize, String)> {
    let mut devices: Vec<Device> = Vec::new();
    // The path on an earlier line whose modaliases follow.
    let mut announced: Option<&str> = None;
    for (number, line) in (1..).zip(text.lines()) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(path) = line.strip_suffix("/modalias").filter(|path| path.starts_with('/')) {
            announced = Some(below_sys(path));
            continue;
        }
        let grepped = line
            .starts_with('/')
            .then(|| line.split_once("/modalias:"))
            .flatten()
            .map(|(path, modalias)| (below_sys(path), modalias));
        let (path, modalias) = match grepped {
            Some((path, modalias)) => (Some(path), modalias),
            None => (announced, line),
        };
        let modalias: Modalias = modalias.parse().map_err(|e: ModaliasError| (number, e.to_string()))?;
        if modalias.bus().is_empty() {
            return Err((
                number,
                format!(
                    "expected a modalias such as `pci:v…`, found {:.40}",
                    modalias.to_string()
                ),
            ));
        }
        if devices.len() >= DEVICES_MAX {
            return Err((number, format!("this is more than {DEVICES_MAX} devices")));
        }
        match (path, devices.last_mut()) {
            // The second line of one attribute.
            (Some(path), Some(last)) if last.path == path => last.modaliases.push(modalias),
            _ => {
                let path = path.map_or_else(|| format!("recorded:{number}"), str::to_owned);
                devices.push(Device::unnamed(path, vec![modalias]));
            }
        }
    }
    Ok(devices)
}

fn below_sys(path: &str) -> &str {
    path.strip_prefix("/sys").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::Binding;
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(text.as_bytes()).expect("room for a few bytes");
        file
    }

    #[test]
    fn a_list_without_end_is_refused_early() {
        let refused = parse(&"a:\n".repeat(DEVICES_MAX + 1)).map(|devices| devices.len());
        assert_eq!(
            refused,
            Err((DEVICES_MAX + 1, "this is more than 50000 devices".to_owned()))
        );
    }

    #[test]
    fn every_form_is_found_by_looking() {
        let check = |text: &str, expected: &[(&str, &[&str])]| {
            let devices = parse(text).unwrap_or_else(|e| panic!("{text:?}: {e:?}"));
            let found: Vec<(&str, Vec<String>)> = devices
                .iter()
                .map(|d| (d.path.as_str(), d.modaliases.iter().map(ToString::to_string).collect()))
                .collect();
            let strings = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
            let expected: Vec<(&str, Vec<String>)> = expected.iter().map(|(p, m)| (*p, strings(m))).collect();
            assert_eq!(found, expected, "{text:?}");
        };
        // Two identical devices stay two.
        check(
            "# a laptop\nhid:b0003g0001v00001050p00000120\n\nhid:b0003g0001v00001050p00000120\n",
            &[
                ("recorded:2", &["hid:b0003g0001v00001050p00000120"]),
                ("recorded:4", &["hid:b0003g0001v00001050p00000120"]),
            ],
        );
        check("mei::uuid:01:", &[("recorded:1", &["mei::uuid:01:"])]);
        check("dmi:bvnX:pnA/B:", &[("recorded:1", &["dmi:bvnX:pnA/B:"])]);
        check(
            "/sys/devices/a/modalias:pci:v1\n/sys/devices/b/modalias:acpi:X:\n/sys/devices/b/modalias:of:NxT(null)Cy\n",
            &[
                ("/devices/a", &["pci:v1"]),
                ("/devices/b", &["acpi:X:", "of:NxT(null)Cy"]),
            ],
        );
        check(
            "/sys/devices/a/modalias\npci:v1\n/sys/devices/b/modalias\nacpi:X:\nof:NxT(null)Cy\n",
            &[
                ("/devices/a", &["pci:v1"]),
                ("/devices/b", &["acpi:X:", "of:NxT(null)Cy"]),
            ],
        );
        check("P: /devices/a\nE: MODALIAS=pci:v1\n", &[("/devices/a", &["pci:v1"])]);
        check(
            r#"{"devices":[{"path":"/a","subsystem":"pci","modaliases":["pci:v1"],"verdict":"works"}]}"#,
            &[("/a", &["pci:v1"])],
        );
        check(
            "{\"event\":\"x\"}\n{\"devices\":[{\"device\":{\"path\":\"/a\",\"subsystem\":\"pci\",\"modaliases\":[\"pci:v1\"]}}]}\n",
            &[("/a", &["pci:v1"])],
        );
    }

    #[test]
    fn what_is_not_a_machine_is_refused_with_its_line() {
        let check = |text: &str, line: usize| match read(file(text).path()) {
            Err(DeviceError::Line { line: found, .. }) => assert_eq!(found, line, "{text:?}"),
            other => panic!("{text:?}: {other:?}"),
        };
        check("pci:v1\nhello world\n", 2);
        check(":x\n", 1);
        check("{\"devices\":\n[{\"path\":3}]}", 2);
        check("{\"devices\":[]", 1);
        check(&format!("pci:{}\n", "0".repeat(5000)), 1);
        let empty = read(file("# nothing\n").path()).expect_err("no device");
        assert!(matches!(empty, DeviceError::Empty { .. }), "{empty}");
        assert!(empty.hint().is_some_and(|hint| hint.contains("find /sys/devices")));
    }

    #[test]
    fn a_report_of_ours_can_be_read_back() {
        let mut device = Device::unnamed("/devices/x".into(), vec!["usb:v0403p6001".parse().unwrap()]);
        device.binding = Binding::Bound {
            driver: "ftdi_sio".into(),
            module: Some("usbserial".into()),
        };
        device.vendor = Some("FTDI".into());
        let report = serde_json::json!({ "schema": 1, "devices": [device] }).to_string();
        assert_eq!(read(file(&report).path()).expect("our own report"), [device]);
    }
}
