//! The output of lspci, lsusb and inxi. It has the numbers of devices, not their modaliases. The modaliases are made from the numbers,
//! with 0 for fields that the listing does not have. A package whose pattern names such a field may be missed.

use regex_lite::{Captures, Regex};

use super::{Binding, Device};

/// Formats that list devices and are not supported: an expression that recognises each, its name, and what to run instead.
const NOT_READ: [(&str, &str, &str); 3] = [
    (
        "(?m)^(pci|usb):[0-9a-f]{4}-[0-9a-f]{4}(-[0-9a-f]{4}-[0-9a-f]{4})?;",
        "hw-probe",
        LISTINGS,
    ),
    ("(?m)^(Probe URL:|Hardware probe)", "hw-probe", LISTINGS),
    (
        r"(?m)^([0-9a-f]{4}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7] [^\[\n]*: [^\[\n]*$",
        "lspci without numbers",
        "lspci -nn",
    ),
];
const LISTINGS: &str = "`lspci -nn` and `lsusb`, or `grep -r . /sys/devices --include=modalias`";

/// The devices of a listing; `None` where the text is not a listing.
///
/// # Errors
/// The line and the format, where devices cannot be told from it.
pub(super) fn parse(text: &str) -> Option<Result<Vec<Device>, (usize, String)>> {
    let mut devices = pci(text);
    devices.extend(usb(text));
    devices.extend(inxi(text));
    if !devices.is_empty() {
        return Some(Ok(devices));
    }
    NOT_READ.iter().find_map(|(pattern, format, instead)| {
        let at = regex(pattern)?.find(text)?.start();
        let line = 1 + text[..at].matches('\n').count();
        Some(Err((
            line,
            format!("this is the output of {format}, which is not read; use {instead}"),
        )))
    })
}

fn regex(pattern: &str) -> Option<Regex> {
    // A test compiles each of them.
    Regex::new(pattern).ok()
}

fn number(found: &Captures<'_>, name: &str) -> u32 {
    found
        .name(name)
        .and_then(|text| u32::from_str_radix(text.as_str(), 16).ok())
        .unwrap_or_default()
}

/// `lspci -nn` and `lspci -n`, also with the lines that -v and -k add.
fn pci(text: &str) -> Vec<Device> {
    let slot = r"^(?P<slot>([0-9a-f]{4}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]) ";
    let named = regex(&format!(
        r"{slot}(?P<kind>.*?) \[(?P<class>[0-9a-f]{{4}})\]: (?P<name>.*) \[(?P<vendor>[0-9a-f]{{4}}):(?P<device>[0-9a-f]{{4}})\]"
    ));
    let bare = regex(&format!(
        r"{slot}(?P<class>[0-9a-f]{{4}}): (?P<vendor>[0-9a-f]{{4}}):(?P<device>[0-9a-f]{{4}})"
    ));
    let subsystem = regex(r"^\s+Subsystem: .*\[?(?P<vendor>[0-9a-f]{4}):(?P<device>[0-9a-f]{4})\]?$");
    let driver = regex(r"^\s+Kernel driver in use: (?P<driver>\S+)");
    let (Some(named), Some(bare), Some(subsystem), Some(driver)) = (named, bare, subsystem, driver) else {
        return Vec::new();
    };
    let mut found: Vec<(Device, [u32; 5])> = Vec::new();
    for line in text.lines() {
        if let Some(device) = named.captures(line).or_else(|| bare.captures(line)) {
            let ids = [
                number(&device, "vendor"),
                number(&device, "device"),
                0,
                0,
                number(&device, "class"),
            ];
            let text = |name| device.name(name).map(|text| text.as_str().to_owned());
            let mut one = Device::unnamed(text("slot").unwrap_or_default(), Vec::new());
            (one.model, one.class) = (text("name"), text("kind"));
            found.push((one, ids));
        } else if let Some((device, ids)) = found.last_mut() {
            if let Some(of) = subsystem.captures(line) {
                (ids[2], ids[3]) = (number(&of, "vendor"), number(&of, "device"));
            } else if let Some(bound) = driver.captures(line) {
                device.binding = Binding::Bound {
                    driver: bound["driver"].to_owned(),
                    module: None,
                };
            }
        }
    }
    let device = |(device, [v, d, sv, sd, class]): (Device, [u32; 5])| {
        let (base, sub) = (class >> 8, class & 0xff);
        with_modalias(
            device,
            &format!("pci:v{v:08X}d{d:08X}sv{sv:08X}sd{sd:08X}bc{base:02X}sc{sub:02X}i00"),
        )
    };
    found.into_iter().filter_map(device).collect()
}

/// `lsusb`, also with -v.
fn usb(text: &str) -> Vec<Device> {
    let line = regex(
        r"(?m)^Bus (?P<bus>\d{3}) Device (?P<number>\d{3}): ID (?P<vendor>[0-9a-f]{4}):(?P<product>[0-9a-f]{4})(?: (?P<name>.+))?$",
    );
    let Some(line) = line else { return Vec::new() };
    let device = |found: Captures<'_>| {
        let mut device = Device::unnamed(format!("usb:{}:{}", &found["bus"], &found["number"]), Vec::new());
        device.model = found.name("name").map(|name| name.as_str().to_owned());
        usb_device(device, number(&found, "vendor"), number(&found, "product"))
    };
    line.captures_iter(text).filter_map(device).collect()
}

/// `inxi -x…`: an item has a `chip-ID`, and says where it is connected by USB.
fn inxi(text: &str) -> Vec<Device> {
    let (Some(item), Some(chip)) = (
        regex(r"Device-\d+: "),
        regex(r"chip-ID: (?P<vendor>[0-9a-f]{4}):(?P<device>[0-9a-f]{4})"),
    ) else {
        return Vec::new();
    };
    let starts: Vec<usize> = item.find_iter(text).map(|found| found.start()).collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let items = starts.iter().zip(ends).map(|(&from, to)| &text[from..to]).enumerate();
    let device = |(number_of_item, item): (usize, &str)| {
        let found = chip.captures(item)?;
        let (vendor, product) = (number(&found, "vendor"), number(&found, "device"));
        let mut device = Device::unnamed(format!("inxi:{}", number_of_item + 1), Vec::new());
        let name = item.split_once(": ").map_or("", |(_, rest)| rest);
        let name = ["driver:", "vendor:", "type:"]
            .iter()
            .fold(name, |name, key| name.split(key).next().unwrap_or(name));
        device.model = Some(name.split_whitespace().collect::<Vec<_>>().join(" "));
        if item.contains("type: USB") {
            return usb_device(device, vendor, product);
        }
        with_modalias(
            device,
            &format!("pci:v{vendor:08X}d{product:08X}sv00000000sd00000000bc00sc00i00"),
        )
    };
    items.filter_map(device).collect()
}

fn usb_device(device: Device, vendor: u32, product: u32) -> Option<Device> {
    with_modalias(
        device,
        &format!("usb:v{vendor:04X}p{product:04X}d0000dc00dsc00dp00ic00isc00ip00in00"),
    )
}

fn with_modalias(device: Device, modalias: &str) -> Option<Device> {
    Some(Device {
        subsystem: modalias.split(':').next().unwrap_or_default().to_owned(),
        modaliases: vec![modalias.parse().ok()?],
        ..device
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let devices = parse(text).expect("a listing").expect("devices");
        let found: Vec<(String, String)> = devices
            .iter()
            .map(|device| (device.title(), device.modaliases[0].to_string()))
            .collect();
        let expected: Vec<(String, String)> = expected.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn lspci_has_what_a_modalias_takes() {
        check(
            "00:1f.2 SATA controller [0106]: Intel Corporation 82801HM [8086:2829] (rev 02)\n\
             0000:02:00.0 Ethernet controller [0200]: Realtek Semiconductor Co., Ltd. RTL8111/8168 [10ec:8168] (rev 15)\n\
             \tSubsystem: ASUSTeK Computer Inc. Device [1043:8677]\n\
             \tKernel driver in use: r8169\n\
             \tKernel modules: r8169\n",
            &[
                (
                    "Intel Corporation 82801HM",
                    "pci:v00008086d00002829sv00000000sd00000000bc01sc06i00",
                ),
                (
                    "Realtek Semiconductor Co., Ltd. RTL8111/8168",
                    "pci:v000010ECd00008168sv00001043sd00008677bc02sc00i00",
                ),
            ],
        );
        check(
            "02:00.0 0200: 10ec:8168 (rev 15)\n",
            &[(
                "pci:v000010ECd00008168sv00000000sd00000000bc02sc00i00",
                "pci:v000010ECd00008168sv00000000sd00000000bc02sc00i00",
            )],
        );
    }

    #[test]
    fn lsusb_and_inxi_have_the_numbers() {
        check(
            "Bus 001 Device 002: ID 1532:0099 Razer USA, Ltd Basilisk\nBus 001 Device 001: ID 1d6b:0002\n",
            &[
                (
                    "Razer USA, Ltd Basilisk",
                    "usb:v1532p0099d0000dc00dsc00dp00ic00isc00ip00in00",
                ),
                (
                    "usb:v1D6Bp0002d0000dc00dsc00dp00ic00isc00ip00in00",
                    "usb:v1D6Bp0002d0000dc00dsc00dp00ic00isc00ip00in00",
                ),
            ],
        );
        check(
            "Network:\n  Device-1: Realtek RTL8111/8168 vendor: ASUSTeK driver: r8169 v: kernel port: e000\n    \
             bus-ID: 02:00.0 chip-ID: 10ec:8168\n  Device-2: Realtek RTL8153 type: USB driver: r8152\n    \
             bus-ID: 2-1:2 chip-ID: 0bda:8153\n",
            &[
                (
                    "Realtek RTL8111/8168",
                    "pci:v000010ECd00008168sv00000000sd00000000bc00sc00i00",
                ),
                ("Realtek RTL8153", "usb:v0BDAp8153d0000dc00dsc00dp00ic00isc00ip00in00"),
            ],
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let check = |text: &str, line: usize, format: &str| {
            let (found, why) = parse(text).expect("known").expect_err("refused");
            assert_eq!(found, line, "{why}");
            assert!(why.contains(format), "{why}");
        };
        check(
            "# a laptop\npci:8086-2829-1043-8677;works;sata;ahci;Intel\n",
            2,
            "hw-probe",
        );
        check(
            "00:1f.2 SATA controller: Intel Corporation 82801HM (rev 02)\n",
            1,
            "lspci -nn",
        );
        assert!(parse("pci:v00008086d00002829sv00001043sd00008677bc01sc06i01\n").is_none());
        assert!(parse("hello world\n").is_none());
    }
}
