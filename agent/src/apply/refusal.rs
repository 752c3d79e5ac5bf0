//! Why the kernel did not take a module: what modprobe says (kmod's `mod_strerror` and strerror(3)), understood.

/// The kernel's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// ENOKEY, EKEYREJECTED: nobody who is trusted has signed it.
    Key,
    /// EBADMSG, ELIBBAD: what is appended to it is no signature.
    Signature,
    /// EPERM: nobody may load modules, or no unsigned ones.
    Forbidden,
    /// ENOENT: it wants a symbol that is not there, or does not know a parameter.
    Symbols,
    /// ENOEXEC: it was built for another kernel.
    Format,
    /// ENODEV: it looked for its device and found none.
    NoDevice,
    /// EBUSY, EEXIST: something else has the device or the name.
    Taken,
    /// ENOMEM.
    Memory,
    /// modprobe does not find it.
    NotIndexed,
    /// Anything else, in modprobe's words.
    Other(String),
}

/// What it means for the package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It is good, and waits for a person or a reboot.
    Waits,
    /// It does no good on this machine.
    Useless,
    /// It is this machine that cannot, now.
    Machine,
}

impl Refusal {
    /// Understands the last line that modprobe said.
    pub(super) fn of(said: &str) -> Self {
        let table = [
            ("Key was rejected by service", Self::Key),
            ("Required key not available", Self::Key),
            ("Bad message", Self::Signature),
            ("Operation not permitted", Self::Forbidden),
            ("Unknown symbol in module", Self::Symbols),
            ("Invalid module format", Self::Format),
            ("Exec format error", Self::Format),
            ("No such device", Self::NoDevice),
            ("Device or resource busy", Self::Taken),
            ("File exists", Self::Taken),
            ("Cannot allocate memory", Self::Memory),
            ("not found in directory", Self::NotIndexed),
        ];
        let known = table.into_iter().find(|(words, _)| said.contains(words));
        known.map_or_else(|| Self::Other(said.to_owned()), |(_, refusal)| refusal)
    }

    pub(super) fn meaning(&self) -> Meaning {
        match self {
            Self::Key | Self::Forbidden => Meaning::Waits,
            Self::Memory | Self::NotIndexed => Meaning::Machine,
            Self::Signature | Self::Symbols | Self::Format | Self::NoDevice | Self::Taken | Self::Other(_) => {
                Meaning::Useless
            }
        }
    }

    /// In one sentence.
    pub(super) fn reason(&self, module: &str) -> String {
        match self {
            Self::Key => format!("{module} is not signed by a key that this kernel trusts"),
            Self::Signature => format!("the kernel cannot read the signature of {module}"),
            Self::Forbidden => format!("the running kernel does not let anybody load {module}"),
            Self::Symbols => {
                format!(
                    "{module} needs a symbol that the running kernel does not have, or got a parameter that it does not know"
                )
            }
            Self::Format => format!("{module} was built for another kernel than the running one"),
            Self::NoDevice => format!("{module} was loaded, found no device that it can drive, and went"),
            Self::Taken => format!("{module} was not loaded: something else has its device or its name"),
            Self::Memory => format!("there is no memory to load {module}"),
            Self::NotIndexed => format!("modprobe does not find {module}"),
            Self::Other(said) => format!("the kernel does not load {module}: {said}"),
        }
    }

    /// Suggested fix; none for [`Refusal::Key`], where the key must be enrolled.
    pub(super) fn hint(&self, module: &str, release: &str) -> Option<String> {
        Some(match self {
            Self::Key => return None,
            Self::Forbidden => "cat /proc/sys/kernel/modules_disabled /sys/kernel/security/lockdown".to_owned(),
            Self::Memory => "free -m".to_owned(),
            Self::NotIndexed => format!("depmod {release}"),
            _ => format!("journalctl -k -g {module}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_modprobe_says_is_understood() {
        let check = |said: &str, expected: Refusal, meaning: Meaning| {
            let found = Refusal::of(said);
            assert_eq!((found.meaning(), &found), (meaning, &expected), "{said}");
            assert!(found.reason("edu").contains("edu"), "{said}");
            assert_eq!(found.hint("edu", "6.1").is_none(), found == Refusal::Key, "{said}");
        };
        let error = |text: &str| format!("modprobe: ERROR: could not insert 'edu': {text}");
        check(&error("Key was rejected by service"), Refusal::Key, Meaning::Waits);
        check(&error("Required key not available"), Refusal::Key, Meaning::Waits);
        check(&error("Operation not permitted"), Refusal::Forbidden, Meaning::Waits);
        let symbol = "Unknown symbol in module, or unknown parameter (see dmesg)";
        check(&error(symbol), Refusal::Symbols, Meaning::Useless);
        check(&error("Invalid module format"), Refusal::Format, Meaning::Useless);
        check(&error("Exec format error"), Refusal::Format, Meaning::Useless);
        check(&error("No such device"), Refusal::NoDevice, Meaning::Useless);
        check(&error("Device or resource busy"), Refusal::Taken, Meaning::Useless);
        check(&error("Cannot allocate memory"), Refusal::Memory, Meaning::Machine);
        check(
            "modprobe: FATAL: Module edu not found in directory /lib/modules/6.1",
            Refusal::NotIndexed,
            Meaning::Machine,
        );
        let odd = error("Level 3 halted");
        check(&odd, Refusal::Other(odd.clone()), Meaning::Useless);
    }
}
