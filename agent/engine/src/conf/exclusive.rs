//! BUILD_EXCLUSIVE_*: for which kernels a package, or one of its modules, is not meant.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::kernel::KernelConfig;
use crate::version;

/// The conditions of one index. Empty texts are no conditions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclusive {
    /// A regular expression on the release.
    pub kernel: String,
    /// The lowest release.
    pub kernel_min: String,
    /// The highest release.
    pub kernel_max: String,
    /// A regular expression on the architecture.
    pub arch: String,
    /// Options that must be on; with `!`, off.
    pub config: Vec<String>,
    /// Whether bash found that `kernel` matches the release evaluated for.
    pub kernel_matches: bool,
    /// Whether bash found that `arch` matches the architecture evaluated for.
    pub arch_matches: bool,
}

/// Why something is not meant for a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Exclusion {
    /// BUILD_EXCLUSIVE_KERNEL does not match.
    #[error("it is only for kernels that match {0:?}")]
    Kernel(String),
    /// Older than BUILD_EXCLUSIVE_KERNEL_MIN.
    #[error("it needs kernel {0} or newer")]
    TooOld(String),
    /// Newer than BUILD_EXCLUSIVE_KERNEL_MAX.
    #[error("it is only for kernels up to {0}")]
    TooNew(String),
    /// OBSOLETE_BY: the kernel has it in its own tree.
    #[error("kernels from {0} on have it in their own tree")]
    Obsolete(String),
    /// BUILD_EXCLUSIVE_ARCH does not match.
    #[error("it is only for architectures that match {0:?}")]
    Arch(String),
    /// An option of BUILD_EXCLUSIVE_CONFIG is not as wanted.
    #[error("it needs a kernel {}", config_text(.0))]
    Config(String),
}

fn config_text(option: &str) -> String {
    match option.strip_prefix('!') {
        Some(option) => format!("without {option}"),
        None => format!("with {option}"),
    }
}

impl Exclusive {
    /// The first condition that `release` with `config` does not meet. Without a configuration its options are not looked at.
    pub fn excludes(&self, release: &str, config: Option<&KernelConfig>) -> Option<Exclusion> {
        if !self.kernel.is_empty() && !self.kernel_matches {
            return Some(Exclusion::Kernel(self.kernel.clone()));
        }
        if !self.kernel_min.is_empty() && version::compare(release, &self.kernel_min) == Ordering::Less {
            return Some(Exclusion::TooOld(self.kernel_min.clone()));
        }
        if !self.kernel_max.is_empty() && version::compare(release, &self.kernel_max) == Ordering::Greater {
            return Some(Exclusion::TooNew(self.kernel_max.clone()));
        }
        if !self.arch.is_empty() && !self.arch_matches {
            return Some(Exclusion::Arch(self.arch.clone()));
        }
        let config = config?;
        let unmet = |option: &&String| match option.strip_prefix('!') {
            Some(option) => config.is_enabled(option),
            None => !config.is_enabled(option),
        };
        self.config
            .iter()
            .find(unmet)
            .map(|option| Exclusion::Config(option.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions() {
        let config = KernelConfig::parse("CONFIG_PCI=y\nCONFIG_USB=m\n");
        let check = |exclusive: Exclusive, release: &str, expected: Option<Exclusion>| {
            assert_eq!(
                exclusive.excludes(release, Some(&config)),
                expected,
                "{exclusive:?} on {release}"
            );
        };
        let min = Exclusive {
            kernel_min: "4".into(),
            ..Exclusive::default()
        };
        check(min.clone(), "6.1.0-56-amd64", None);
        check(min, "3.10.0", Some(Exclusion::TooOld("4".into())));
        let max = Exclusive {
            kernel_max: "6.8".into(),
            ..Exclusive::default()
        };
        check(max.clone(), "6.1.0", None);
        check(max, "6.12.95", Some(Exclusion::TooNew("6.8".into())));
        let on = Exclusive {
            config: vec!["CONFIG_PCI".into(), "!CONFIG_USB".into()],
            ..Exclusive::default()
        };
        check(on, "6.1", Some(Exclusion::Config("!CONFIG_USB".into())));
        let regex = Exclusive {
            kernel: "^5".into(),
            kernel_matches: false,
            ..Exclusive::default()
        };
        check(regex, "6.1", Some(Exclusion::Kernel("^5".into())));
    }
}
