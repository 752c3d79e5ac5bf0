//! Whether this machine loads unsigned modules.

use dkms_engine::root::Root;

use super::read_bounded;

/// UEFI's variable: whether the firmware checks signatures.
const SECURE_BOOT: &str = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// shim's variable: whether its check is disabled (`mokutil --disable-validation`).
const SHIM_OFF: &str = "/sys/firmware/efi/efivars/MokSBStateRT-605dab50-e046-4300-abb6-3dd810dd8b23";

/// What the firmware and the running kernel require.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signatures {
    /// The firmware.
    pub secure_boot: SecureBoot,
    /// Whether the running kernel refuses unsigned modules; `None` when it does not say, and for an image.
    pub enforced: Option<bool>,
}

/// Secure Boot as the firmware and shim have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecureBoot {
    /// No UEFI, or one without Secure Boot.
    Absent,
    /// The firmware has it switched off.
    Disabled,
    /// Switched on in the firmware, off in shim: modules are not checked against it.
    ShimOff,
    /// Switched on.
    Enabled,
    /// Not known: an image boots on machines that we do not see.
    Unknown,
}

impl SecureBoot {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Absent => "there is none",
            Self::Disabled => "off",
            Self::ShimOff => "on in the firmware, off in shim",
            Self::Enabled => "on",
            Self::Unknown => "not known",
        }
    }
}

impl Signatures {
    /// Nothing is known of the machines that an image will run on.
    pub fn of_an_image() -> Self {
        Self {
            secure_boot: SecureBoot::Unknown,
            enforced: None,
        }
    }

    pub(super) fn read(root: &Root) -> Self {
        let secure_boot = match (variable(root, SECURE_BOOT), variable(root, SHIM_OFF)) {
            (None, _) => SecureBoot::Absent,
            (Some(0), _) => SecureBoot::Disabled,
            (Some(_), Some(1)) => SecureBoot::ShimOff,
            (Some(_), _) => SecureBoot::Enabled,
        };
        Self {
            secure_boot,
            enforced: enforced(root),
        }
    }

    /// Whether a module has to be signed by a key that the machine knows.
    pub fn required(&self) -> bool {
        self.enforced.unwrap_or(self.secure_boot == SecureBoot::Enabled)
    }
}

/// The value of a one-byte EFI variable; its file begins with four bytes of attributes.
fn variable(root: &Root, path: &str) -> Option<u8> {
    read_bounded(&root.join(path))?.get(4).copied()
}

/// `module.sig_enforce`, or lockdown, which implies it (kernel_lockdown.7).
fn enforced(root: &Root) -> Option<bool> {
    let parameter = read_bounded(&root.join("/sys/module/module/parameters/sig_enforce"));
    let lockdown = read_bounded(&root.join("/sys/kernel/security/lockdown"));
    if parameter.is_none() && lockdown.is_none() {
        return None;
    }
    let on = parameter.is_some_and(|value| value.starts_with(b"Y"));
    let locked = lockdown.is_some_and(|modes| !String::from_utf8_lossy(&modes).contains("[none]"));
    Some(on || locked)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn firmware_shim_and_kernel_are_asked() {
        let check = |files: &[(&str, &[u8])], secure_boot: SecureBoot, required: bool| {
            let dir = tempfile::tempdir().unwrap();
            for (path, content) in files {
                let path = dir.path().join(path.trim_start_matches('/'));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            let found = Signatures::read(&Root::at(dir.path()));
            assert_eq!(
                (found.secure_boot, found.required()),
                (secure_boot, required),
                "{files:?}"
            );
        };
        let on = [6, 0, 0, 0, 1];
        let off = [6, 0, 0, 0, 0];
        let lockdown = "/sys/kernel/security/lockdown";
        check(&[], SecureBoot::Absent, false);
        check(&[(SECURE_BOOT, &off)], SecureBoot::Disabled, false);
        check(&[(SECURE_BOOT, &on)], SecureBoot::Enabled, true);
        check(&[(SECURE_BOOT, &on), (SHIM_OFF, &on)], SecureBoot::ShimOff, false);
        check(
            &[(SECURE_BOOT, &on), (lockdown, b"none [integrity] confidentiality\n")],
            SecureBoot::Enabled,
            true,
        );
        // Some kernels are not built to lock down, whatever the firmware says.
        check(
            &[(SECURE_BOOT, &on), (lockdown, b"[none] integrity confidentiality\n")],
            SecureBoot::Enabled,
            false,
        );
        check(
            &[("/sys/module/module/parameters/sig_enforce", b"Y\n")],
            SecureBoot::Absent,
            true,
        );
    }
}
