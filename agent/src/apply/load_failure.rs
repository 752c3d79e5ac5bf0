//! Why the kernel did not load a module, from modprobe's message (kmod's `mod_strerror` and strerror(3)).

/// The kernel's error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LoadFailure {
    /// ENOKEY, EKEYREJECTED: no trusted key has signed it.
    Key,
    /// EBADMSG, ELIBBAD: the appended signature is malformed.
    Signature,
    /// EPERM: loading of modules, or of unsigned ones, is disabled.
    Forbidden,
    /// ENOENT: an unknown symbol, or an unknown parameter.
    Symbols,
    /// ENOEXEC: it was built for another kernel.
    Format,
    /// ENODEV: its init function found no device.
    NoDevice,
    /// EBUSY, EEXIST: the device or the name is in use.
    Busy,
    /// ENOMEM.
    Memory,
    /// modprobe does not find the module.
    NotFound,
    /// Anything else: modprobe's message.
    Other(String),
}

/// What follows for the package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consequence {
    /// It stays installed, and waits for a person or a reboot.
    Pending,
    /// It does not work on this machine.
    FailsPackage,
    /// The cause is this machine's: the package may work later.
    FailsMachine,
}

impl LoadFailure {
    /// Reads the last line of modprobe's message.
    pub(super) fn of(message: &str) -> Self {
        let table = [
            ("Key was rejected by service", Self::Key),
            ("Required key not available", Self::Key),
            ("Bad message", Self::Signature),
            ("Operation not permitted", Self::Forbidden),
            ("Unknown symbol in module", Self::Symbols),
            ("Invalid module format", Self::Format),
            ("Exec format error", Self::Format),
            ("No such device", Self::NoDevice),
            ("Device or resource busy", Self::Busy),
            ("File exists", Self::Busy),
            ("Cannot allocate memory", Self::Memory),
            ("not found in directory", Self::NotFound),
        ];
        let known = table.into_iter().find(|(words, _)| message.contains(words));
        known.map_or_else(|| Self::Other(message.to_owned()), |(_, load_failure)| load_failure)
    }

    pub(super) fn consequence(&self) -> Consequence {
        match self {
            Self::Key | Self::Forbidden => Consequence::Pending,
            Self::Memory | Self::NotFound => Consequence::FailsMachine,
            Self::Signature | Self::Symbols | Self::Format | Self::NoDevice | Self::Busy | Self::Other(_) => {
                Consequence::FailsPackage
            }
        }
    }

    /// As one sentence.
    pub(super) fn reason(&self, module: &str) -> String {
        match self {
            Self::Key => format!("{module} is not signed by a key that this kernel trusts"),
            Self::Signature => format!("the kernel cannot read the signature of {module}"),
            Self::Forbidden => format!("the running kernel does not allow {module} to be loaded"),
            Self::Symbols => {
                format!(
                    "{module} needs a symbol that the running kernel does not have, or got a parameter that it does not know"
                )
            }
            Self::Format => format!("{module} was built for another kernel than the running one"),
            Self::NoDevice => format!("{module} found no device that it can drive and was not loaded"),
            Self::Busy => format!("{module} was not loaded: its device or its name is in use"),
            Self::Memory => format!("not enough memory to load {module}"),
            Self::NotFound => format!("modprobe does not find {module}"),
            Self::Other(message) => format!("the kernel does not load {module}: {message}"),
        }
    }

    /// Suggested fix; none for [`LoadFailure::Key`], where the key must be enrolled.
    pub(super) fn hint(&self, module: &str, release: &str) -> Option<String> {
        Some(match self {
            Self::Key => return None,
            Self::Forbidden => "cat /proc/sys/kernel/modules_disabled /sys/kernel/security/lockdown".to_owned(),
            Self::Memory => "free -m".to_owned(),
            Self::NotFound => format!("depmod {release}"),
            _ => format!("journalctl -k -g {module}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_modprobe_are_recognised() {
        let check = |message: &str, expected: LoadFailure, consequence: Consequence| {
            let found = LoadFailure::of(message);
            assert_eq!((found.consequence(), &found), (consequence, &expected), "{message}");
            assert!(found.reason("edu").contains("edu"), "{message}");
            assert_eq!(
                found.hint("edu", "6.1").is_none(),
                found == LoadFailure::Key,
                "{message}"
            );
        };
        let error = |text: &str| format!("modprobe: ERROR: could not insert 'edu': {text}");
        check(
            &error("Key was rejected by service"),
            LoadFailure::Key,
            Consequence::Pending,
        );
        check(
            &error("Required key not available"),
            LoadFailure::Key,
            Consequence::Pending,
        );
        check(
            &error("Operation not permitted"),
            LoadFailure::Forbidden,
            Consequence::Pending,
        );
        let symbol = "Unknown symbol in module, or unknown parameter (see dmesg)";
        check(&error(symbol), LoadFailure::Symbols, Consequence::FailsPackage);
        check(
            &error("Invalid module format"),
            LoadFailure::Format,
            Consequence::FailsPackage,
        );
        check(
            &error("Exec format error"),
            LoadFailure::Format,
            Consequence::FailsPackage,
        );
        check(
            &error("No such device"),
            LoadFailure::NoDevice,
            Consequence::FailsPackage,
        );
        check(
            &error("Device or resource busy"),
            LoadFailure::Busy,
            Consequence::FailsPackage,
        );
        check(
            &error("Cannot allocate memory"),
            LoadFailure::Memory,
            Consequence::FailsMachine,
        );
        check(
            "modprobe: FATAL: Module edu not found in directory /lib/modules/6.1",
            LoadFailure::NotFound,
            Consequence::FailsMachine,
        );
        let odd = error("Level 3 halted");
        check(&odd, LoadFailure::Other(odd.clone()), Consequence::FailsPackage);
    }
}
