//! The verdict on a device. Every device gets one, also two identical devices.

use serde::Serialize;

use crate::candidate::{OfferId, Rejected};

/// The verdict on one device for one kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// A driver is bound to it now.
    Works {
        /// The driver.
        driver: String,
    },
    /// A module of the kernel's own tree claims it.
    WorksInTree {
        /// The module.
        module: String,
    },
    /// A package can serve it and is not installed yet.
    Installable {
        /// The package.
        package: OfferId,
    },
    /// A package that matches it is installed.
    Installed {
        /// The package.
        package: OfferId,
    },
    /// A package that matches it is installed, and no driver is bound to it.
    Unbound {
        /// The package.
        package: OfferId,
    },
    /// Neither a module of the kernel nor a package matches it.
    Unknown,
    /// Packages match it, and none may be installed.
    Refused {
        /// Each of them with its reason, the most relevant first; never empty.
        why: Vec<Rejected>,
    },
}

const WORKS: &str = "works";
const WORKS_IN_TREE: &str = "works in-tree";
const INSTALLED: &str = "installed";
const INSTALLABLE: &str = "installable";
const UNBOUND: &str = "unbound";
const REFUSED: &str = "refused";
const UNKNOWN: &str = "unknown";

impl Verdict {
    /// All labels, in the order in which reports count them.
    pub const LABELS: [&str; 7] = [WORKS, WORKS_IN_TREE, INSTALLED, INSTALLABLE, UNBOUND, REFUSED, UNKNOWN];

    /// What a table calls it.
    pub fn words(&self) -> &'static str {
        match self {
            Self::Works { .. } => "works",
            Self::WorksInTree { .. } => "kernel driver",
            Self::Installable { .. } => "driver available",
            Self::Installed { .. } => "installed",
            Self::Unbound { .. } => "not bound",
            Self::Unknown => "no driver known",
            Self::Refused { why } if why.first().is_some_and(Rejected::is_hold) => "held",
            Self::Refused { .. } => "refused",
        }
    }

    /// The order in tables: the verdict with the least number needs attention most.
    pub fn urgency(&self) -> u8 {
        match self {
            Self::Installable { .. } => 0,
            Self::Unbound { .. } => 1,
            Self::Installed { .. } => 2,
            Self::Refused { .. } => 3,
            Self::Unknown => 4,
            Self::Works { .. } => 5,
            Self::WorksInTree { .. } => 6,
        }
    }

    /// Whether a driver serves the device, as far as that is known.
    pub fn is_served(&self) -> bool {
        matches!(
            self,
            Self::Works { .. } | Self::WorksInTree { .. } | Self::Installed { .. }
        )
    }

    /// Its name, as in documents.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Works { .. } => WORKS,
            Self::WorksInTree { .. } => WORKS_IN_TREE,
            Self::Installable { .. } => INSTALLABLE,
            Self::Installed { .. } => INSTALLED,
            Self::Unbound { .. } => UNBOUND,
            Self::Unknown => UNKNOWN,
            Self::Refused { .. } => REFUSED,
        }
    }

    /// The driver, package or reason that goes with the label.
    pub fn detail(&self) -> String {
        match self {
            Self::Works { driver } => driver.clone(),
            Self::WorksInTree { module } => module.clone(),
            Self::Installable { package } | Self::Installed { package } | Self::Unbound { package } => {
                package.to_string()
            }
            Self::Unknown => "no driver known".to_owned(),
            Self::Refused { why } => why.first().map(Rejected::to_string).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_count_every_verdict() {
        let package = OfferId {
            name: "edu".into(),
            version: "1".into(),
            repository: "test".into(),
            scope: String::new(),
        };
        let verdicts = [
            Verdict::Works {
                driver: "e1000e".into(),
            },
            Verdict::WorksInTree {
                module: "e1000e".into(),
            },
            Verdict::Installable {
                package: package.clone(),
            },
            Verdict::Installed {
                package: package.clone(),
            },
            Verdict::Unbound { package },
            Verdict::Unknown,
            Verdict::Refused { why: Vec::new() },
        ];
        let mut labels: Vec<&str> = verdicts.iter().map(Verdict::label).collect();
        let mut counted = Verdict::LABELS.to_vec();
        labels.sort_unstable();
        counted.sort_unstable();
        assert_eq!(labels, counted);
    }
}
