//! Unloads modules from the running kernel before their files are removed, and loads the kernel's own for their devices afterwards.

use dkms_engine::root::Root;

use super::Loader;
use crate::device::{Binding, Device};
use crate::report::progress::{ProgressEvent, Reporter};

/// The result of unloading a package's modules.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unloaded {
    /// Modaliases of the devices that were bound to them.
    pub modaliases: Vec<String>,
    /// Whether one stays loaded until the next boot, because it is in use.
    pub in_use: bool,
}

/// Unloads those of `modules` that are loaded. One that is in use stays loaded, with a warning; its files can be removed.
pub fn unload(loader: &Loader, root: &Root, modules: &[String], devices: &[Device], reporter: &Reporter) -> Unloaded {
    let mut unloaded = Unloaded {
        modaliases: bound_to(modules, devices),
        in_use: false,
    };
    for module in modules.iter().rev().map(|module| in_kernel(module)) {
        if !root.join(format!("/sys/module/{module}/refcnt")).exists() {
            continue;
        }
        if let Err(message) = loader.unload(&module) {
            unloaded.in_use = true;
            reporter.report(ProgressEvent::Warning {
                text: format!("the running kernel keeps {module} until the next boot: {message}"),
                hint: Some("systemctl reboot".to_owned()),
            });
        }
    }
    unloaded
}

/// Loads the kernel's own modules for devices that lost their driver.
pub fn load_kernel_drivers(loader: &Loader, modaliases: &[String]) {
    modaliases.iter().for_each(|modalias| loader.load_for(modalias));
}

/// The modaliases of the devices that are bound to one of `modules`.
fn bound_to(modules: &[String], devices: &[Device]) -> Vec<String> {
    let ours = |found: &str| modules.iter().any(|module| in_kernel(module) == found);
    let is_served = |device: &&Device| matches!(&device.binding, Binding::Bound { module: Some(m), .. } if ours(m));
    let modaliases = devices.iter().filter(is_served).flat_map(|device| &device.modaliases);
    modaliases.map(ToString::to_string).collect()
}

/// The kernel's spelling of a module's name.
fn in_kernel(module: &str) -> String {
    module.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_a_module_are_found_however_its_name_is_spelt() {
        let device = |modalias: &str, module: Option<&str>| {
            let mut device = Device::unnamed(modalias.to_owned(), vec![modalias.parse().unwrap()]);
            device.binding = Binding::Bound {
                driver: "some-driver".to_owned(),
                module: module.map(str::to_owned),
            };
            device
        };
        let devices = [
            device("pci:v1d1sv1sd1bc00sc00i00", Some("qemu_edu")),
            device("pci:v1d2sv1sd1bc00sc00i00", Some("other")),
            device("pci:v1d3sv1sd1bc00sc00i00", None),
        ];
        let check = |modules: &[&str], expected: &[&str]| {
            let modules: Vec<String> = modules.iter().map(|&m| m.to_owned()).collect();
            assert_eq!(bound_to(&modules, &devices), expected, "{modules:?}");
        };
        check(&["qemu-edu"], &["pci:v1d1sv1sd1bc00sc00i00"]);
        check(
            &["other", "qemu_edu"],
            &["pci:v1d1sv1sd1bc00sc00i00", "pci:v1d2sv1sd1bc00sc00i00"],
        );
        check(&["some-driver"], &[]);
        check(&[], &[]);
    }

    #[test]
    fn what_is_not_loaded_is_not_unloaded() {
        let dir = tempfile::tempdir().unwrap();
        let reporter = Reporter::new(false, false);
        let unloaded = unload(
            &Loader::default(),
            &Root::at(dir.path()),
            &["qemu-edu".to_owned()],
            &[],
            &reporter,
        );
        assert_eq!(unloaded, Unloaded::default());
    }
}
