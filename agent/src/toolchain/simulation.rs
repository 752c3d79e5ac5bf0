//! What apt says that it would do.

/// A package that apt would install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name, with the architecture where that is a foreign one.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What `apt-get -s` says that it would do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Simulation {
    pub(super) installs: Vec<Candidate>,
    pub(super) upgrades: Vec<String>,
    pub(super) removals: Vec<String>,
}

impl Simulation {
    /// Its lines: `Inst NAME [INSTALLED] (VERSION ARCHIVE [ARCH])`, `Remv NAME [INSTALLED]`.
    pub(super) fn parse(text: &str) -> Self {
        let mut simulation = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next(), words.next()) {
                (Some("Inst"), Some(name), Some(version)) => match version.strip_prefix('(') {
                    Some(version) => simulation.installs.push(Candidate {
                        name: name.to_owned(),
                        version: version.trim_end_matches(')').to_owned(),
                    }),
                    None => simulation.upgrades.push(name.to_owned()),
                },
                (Some("Remv"), Some(name), _) => simulation.removals.push(name.to_owned()),
                _ => {}
            }
        }
        simulation
    }
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
        let one = |name: &str, version: &str| Candidate {
            name: name.into(),
            version: version.into(),
        };
        let expected = Simulation {
            installs: vec![one("linux-kbuild-6.1", "6.1.148-1"), one("local:i386", "1")],
            upgrades: vec!["libc6".into()],
            removals: vec!["gcc-11".into()],
        };
        assert_eq!(Simulation::parse(text), expected);
    }
}
