//! Devices that are plugged in, as the kernel announces them. udevd does not have to run.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use udev::{Event, EventType, MonitorBuilder, MonitorSocket};

use super::{Binding, Device};

/// The buses of which devices are plugged in or appear when their bus does: those of `85-dkms-fetch.rules`.
const SUBSYSTEMS: [&str; 8] = ["pci", "usb", "sdio", "pcmcia", "firewire", "bcma", "ssb", "hid"];

/// One device often comes as several, and its driver may be on its way.
const QUIET: Duration = Duration::from_secs(5);

/// How often the socket is read. It is read without waiting for it: tokio takes a descriptor of udev's by unsafe code only.
const INTERVAL: Duration = Duration::from_millis(500);

/// Devices that come and go without an end are looked at, too.
const LONGEST: Duration = Duration::from_secs(60);

/// Hears of devices from when it was made.
pub struct Hotplug {
    socket: MonitorSocket,
}

impl Hotplug {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the kernel does not let this process listen.
    pub fn listen() -> io::Result<Self> {
        let mut builder = MonitorBuilder::new_kernel()?;
        for subsystem in SUBSYSTEMS {
            builder = builder.match_subsystem(subsystem)?;
        }
        Ok(Self {
            socket: builder.listen()?,
        })
    }

    /// Waits until a device has appeared and no more come.
    pub async fn appeared(&self) {
        while !self.is_announced() {
            sleep(INTERVAL).await;
        }
        let latest = Instant::now() + LONGEST;
        let mut quiet = Instant::now() + QUIET;
        while Instant::now() < quiet.min(latest) {
            sleep(INTERVAL).await;
            if self.is_announced() {
                quiet = Instant::now() + QUIET;
            }
        }
    }

    /// Reads all news: whether one is of a device that was added.
    fn is_announced(&self) -> bool {
        let added = |event: &Event| event.event_type() == EventType::Add && is_on_bus(event.subsystem());
        // `any` would leave some of them.
        self.socket.iter().filter(added).count() > 0
    }
}

impl fmt::Debug for Hotplug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hotplug").finish_non_exhaustive()
    }
}

fn is_on_bus(subsystem: Option<&std::ffi::OsStr>) -> bool {
    subsystem.is_some_and(|name| SUBSYSTEMS.iter().any(|one| name == *one))
}

/// The modaliases of the devices on these buses that have no driver.
pub fn without_driver(devices: &[Device]) -> BTreeSet<String> {
    devices
        .iter()
        .filter(|device| device.binding == Binding::Unbound && SUBSYSTEMS.contains(&device.subsystem.as_str()))
        .flat_map(|device| device.modaliases.iter().map(ToString::to_string))
        .collect()
}

#[cfg(test)]
mod tests {
    use dkms_index::modalias::Modalias;

    use super::*;

    #[test]
    fn devices_of_buses_that_have_no_driver() {
        let device = |subsystem: &str, modalias: &str, binding: Binding| Device {
            path: "/devices/x".to_owned(),
            subsystem: subsystem.to_owned(),
            modaliases: Modalias::from_attribute(modalias.as_bytes()).expect("a modalias"),
            vendor: None,
            model: None,
            class: None,
            binding,
        };
        let bound = Binding::Bound {
            driver: "x".to_owned(),
            module: None,
        };
        let devices = [
            device(
                "pci",
                "pci:v00001234d000011E8sv00001AF4sd00001100bc00scFFi00",
                Binding::Unbound,
            ),
            device("pci", "pci:v00008086d00001237sv00001AF4sd00001100bc06sc00i00", bound),
            device("acpi", "acpi:PNP0C09:", Binding::Unbound),
        ];
        let expected = ["pci:v00001234d000011E8sv00001AF4sd00001100bc00scFFi00".to_owned()];
        assert_eq!(without_driver(&devices), BTreeSet::from(expected));
    }

    /// Listening needs no privilege; where nothing is plugged in, nothing is heard.
    #[tokio::test]
    async fn nothing_is_heard_of_a_machine_at_rest() {
        let hotplug = Hotplug::listen().expect("the kernel allows it");
        let heard = tokio::time::timeout(Duration::from_millis(1200), hotplug.appeared()).await;
        assert!(heard.is_err(), "{heard:?}");
    }
}
