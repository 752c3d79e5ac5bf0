//! Unloads modules from the running kernel before their files are removed, and loads the kernel's own for their devices afterwards.

use dkms_engine::ko::in_kernel;
use dkms_engine::root::Root;

use super::Loader;
use crate::device::{Binding, Device};
use crate::report::progress::{ProgressEvent, Reporter};

/// The result of unloading a package's modules.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unloaded {
    /// Modaliases of the devices that were bound to them.
    pub modaliases: Vec<String>,
    /// The modules that were unloaded, in the kernel's spelling.
    pub modules: Vec<String>,
    /// Whether one stays loaded until the next boot, because it is in use.
    pub in_use: bool,
}

impl Unloaded {
    /// Adds the result of unloading another package's modules.
    pub fn add(&mut self, other: Self) {
        self.modaliases.extend(other.modaliases);
        self.modules.extend(other.modules);
        self.in_use |= other.in_use;
    }
}

/// Unloads those of `modules` that are loaded. One that is in use stays loaded, with a warning; its files can be removed.
pub fn unload(loader: &Loader, root: &Root, modules: &[String], devices: &[Device], reporter: &Reporter) -> Unloaded {
    let mut unloaded = Unloaded {
        modaliases: bound_to(modules, devices),
        ..Unloaded::default()
    };
    for module in modules.iter().rev().map(|module| in_kernel(module)) {
        if !root.join(format!("/sys/module/{module}/refcnt")).exists() {
            continue;
        }
        match loader.unload(&module) {
            Ok(()) => unloaded.modules.push(module),
            Err(message) => {
                unloaded.in_use = true;
                reporter.report(ProgressEvent::Warning {
                    text: format!("the running kernel keeps {module} until the next boot: {message}"),
                    hint: Some("systemctl reboot".to_owned()),
                });
            }
        }
    }
    unloaded
}

/// Loads the kernel's own modules for devices that lost their driver.
pub fn load_kernel_drivers(loader: &Loader, modaliases: &[String]) {
    modaliases.iter().for_each(|modalias| loader.load_for(modalias));
}

/// Loads those of `modules` that were unloaded: another build of them is installed now. One that the kernel does not take is told.
pub fn load_again(loader: &Loader, modules: &[String], unloaded: &Unloaded, reporter: &Reporter) {
    let was_loaded = |module: &&String| unloaded.modules.contains(&in_kernel(module));
    for module in modules.iter().filter(was_loaded) {
        if let Err(message) = loader.load(module) {
            reporter.report(ProgressEvent::Warning {
                text: format!("{module} is installed and not loaded: {message}"),
                hint: Some(format!("journalctl -k -g {module}")),
            });
        }
    }
}

/// The modaliases of the devices that are bound to one of `modules`.
fn bound_to(modules: &[String], devices: &[Device]) -> Vec<String> {
    let ours = |found: &str| modules.iter().any(|module| in_kernel(module) == found);
    let is_served = |device: &&Device| matches!(&device.binding, Binding::Bound { module: Some(m), .. } if ours(m));
    let modaliases = devices.iter().filter(is_served).flat_map(|device| &device.modaliases);
    modaliases.map(ToString::to_string).collect()
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

    /// The module of the update is unloaded, and the one of the version before is loaded by the same name.
    #[test]
    fn what_was_unloaded_is_loaded_again_from_what_is_installed_now() {
        let dir = tempfile::tempdir().unwrap();
        for module in ["qemu_edu", "other"] {
            let path = dir.path().join("sys/module").join(module);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("refcnt"), "0\n").unwrap();
        }
        let modprobe = dir.path().join("modprobe");
        let asked = dir.path().join("asked");
        let text = format!(
            "#!/bin/sh\necho \"$*\" >>{}\ncase $* in *-r*other) echo in use >&2; exit 1 ;; esac\n",
            asked.display()
        );
        std::fs::write(&modprobe, text).unwrap();
        std::fs::set_permissions(&modprobe, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let loader = Loader {
            path: format!("{}:/usr/bin:/bin", dir.path().display()).into(),
            ..Loader::default()
        };
        let reporter = Reporter::new(false, false);
        let modules: Vec<String> = ["qemu-edu", "other", "absent"].map(str::to_owned).to_vec();
        let unloaded = unload(&loader, &Root::at(dir.path()), &modules, &[], &reporter);
        assert_eq!(
            (&unloaded.modules[..], unloaded.in_use),
            (&["qemu_edu".to_owned()][..], true)
        );
        load_again(&loader, &modules, &unloaded, &reporter);
        let asked = std::fs::read_to_string(asked).unwrap();
        assert_eq!(asked, "-r -- other\n-r -- qemu_edu\n-- qemu-edu\n");
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
