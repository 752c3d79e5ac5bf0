//! Facts about the machine or image that is served, read once.

mod clock;
mod secure_boot;
pub mod start;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use dkms_engine::distribution::Distribution;
use dkms_engine::kernel;
use dkms_engine::root::Root;
use dkms_index::modalias::Modalias;

pub use clock::built;
pub use secure_boot::{SecureBoot, Signatures};

/// The facts. They do not change while the program runs.
#[derive(Debug, Clone)]
pub struct Host {
    /// The root directory that is served.
    pub root: Root,
    /// The architecture, as in `uname -m`.
    pub arch: String,
    /// The release of the running kernel; `None` for an image, where this machine's kernel means nothing.
    pub running: Option<String>,
    /// The releases of the kernels with a module tree, with or without headers, oldest first.
    pub releases: Vec<String>,
    /// What the firmware and the running kernel require of modules.
    pub signatures: Signatures,
    /// The machine's id, 32 hex digits: rollouts choose machines by it. An image has none yet.
    pub machine_id: Option<String>,
    /// The machine itself as a device. A recorded machine brings its own: [`crate::device::dmi`].
    pub dmi: Option<Modalias>,
    /// The distribution: how its packages are installed, where its modules go.
    pub distribution: Distribution,
}

impl Host {
    /// Reads the facts of `root`. What cannot be read is absent; none of it stops anything.
    pub fn read(root: &Root) -> Self {
        let is_host = root.is_host();
        Self {
            arch: kernel::machine(),
            running: is_host.then(kernel::running),
            releases: kernel::releases(root, Path::new("/lib/modules")),
            signatures: if is_host {
                Signatures::read(root)
            } else {
                Signatures::of_an_image()
            },
            machine_id: machine_id(root),
            dmi: read_bounded(&root.join("/sys/class/dmi/id/modalias"))
                .and_then(|content| Modalias::from_attribute(&content).ok()?.into_iter().next()),
            distribution: Distribution::of(root),
            root: root.clone(),
        }
    }
}

/// `/etc/machine-id` (machine-id(5)); `uninitialized` and the like are no id.
fn machine_id(root: &Root) -> Option<String> {
    let content = read_bounded(&root.join("/etc/machine-id"))?;
    let id = std::str::from_utf8(&content).ok()?.trim_end();
    (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| id.to_ascii_lowercase())
}

/// What the kernel calls this boot (random(4)); empty where nothing runs, as in an image.
pub fn boot_id(root: &Root) -> String {
    let content = read_bounded(&root.join("/proc/sys/kernel/random/boot_id")).unwrap_or_default();
    String::from_utf8(content).unwrap_or_default().trim().to_owned()
}

/// The first page of a small file; `None` when it cannot be read.
fn read_bounded(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(4096).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_image_is_described_by_its_files_not_by_this_machine() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("etc/machine-id", "0123456789ABCDEF0123456789abcdef\n");
        write("etc/os-release", "ID=debian\nVERSION_ID=12\n");
        write("sys/class/dmi/id/modalias", "dmi:bvnX:svnACME:\n");
        write("lib/modules/6.12.95+deb12-amd64/modules.dep", "");
        write("lib/modules/6.1.0-56-amd64/modules.dep", "");
        let host = Host::read(&Root::at(dir.path()));
        assert_eq!(host.running, None);
        assert_eq!(host.releases, ["6.1.0-56-amd64", "6.12.95+deb12-amd64"]);
        assert_eq!(host.machine_id.as_deref(), Some("0123456789abcdef0123456789abcdef"));
        assert_eq!(host.dmi, Some("dmi:bvnX:svnACME:".parse().unwrap()));
        assert!(host.distribution.is_debian());
        assert_eq!(host.signatures, Signatures::of_an_image());
    }

    #[test]
    fn a_machine_without_an_id_has_none() {
        let check = |text: &str| {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("etc")).unwrap();
            fs::write(dir.path().join("etc/machine-id"), text).unwrap();
            assert_eq!(machine_id(&Root::at(dir.path())), None, "{text:?}");
        };
        check("");
        check("uninitialized\n");
        check("0123456789abcdef0123456789abcdeg\n");
        check(&"0".repeat(33));
    }
}
