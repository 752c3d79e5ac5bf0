//! What apt says that it would do.

use super::error::Change;
use super::package::{Package, Transaction};

/// The lines of `apt-get -s`: `Inst NAME [INSTALLED] (VERSION ARCHIVE [ARCH])`, `Remv NAME [INSTALLED]`.
pub(super) fn simulation(text: &str) -> Transaction {
    let mut transaction = Transaction::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("Inst"), Some(name), Some(version)) => match version.strip_prefix('(') {
                Some(version) => transaction.installs.push(Package {
                    version: Some(version.trim_end_matches(')').to_owned()),
                    ..Package::named(name)
                }),
                None => transaction.changes.push((Change::Upgrade, name.to_owned())),
            },
            (Some("Remv"), Some(name), _) => transaction.removals.push(Package::named(name)),
            _ => {}
        }
    }
    transaction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_would_do() {
        let text = "NOTE: This is only a simulation!\n\
                    Reading package lists...\n\
                    Inst linux-kbuild-6.1 (6.1.148-1 Debian:12.12/oldstable [amd64])\n\
                    Inst libc6 [2.36-9] (2.36-9+deb12u13 Debian:12.12/oldstable [amd64]) []\n\
                    Remv gcc-11 [11.3.0-12]\n\
                    Inst local:i386 (1)\n\
                    Conf linux-kbuild-6.1 (6.1.148-1 Debian:12.12/oldstable [amd64])\n";
        let one = |name: &str, version: &str| Package {
            version: Some(version.into()),
            ..Package::named(name)
        };
        let expected = Transaction {
            installs: vec![one("linux-kbuild-6.1", "6.1.148-1"), one("local:i386", "1")],
            removals: vec![Package::named("gcc-11")],
            changes: vec![(Change::Upgrade, "libc6".into())],
        };
        assert_eq!(simulation(text), expected);
    }
}
