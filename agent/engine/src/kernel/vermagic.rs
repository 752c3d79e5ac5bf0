//! The version string of modules (`include/linux/vermagic.h`), and when the loader accepts one.

use super::KernelConfig;

/// A vermagic string taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vermagic {
    /// The kernel's release.
    pub release: String,
    /// The words after it, such as `SMP`, `preempt`, `mod_unload`, `modversions`.
    pub tokens: Vec<String>,
}

/// Why a module's vermagic does not fit a kernel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VermagicMismatch {
    /// Built against another kernel's headers.
    #[error("it was built for kernel {found}, not for {expected}")]
    Release {
        /// What the kernel is.
        expected: String,
        /// What the module says.
        found: String,
    },
    /// Built for the same release with other options.
    #[error("its vermagic says {found:?}, the kernel wants {expected:?}")]
    Tokens {
        /// What the kernel is.
        expected: String,
        /// What the module says.
        found: String,
    },
}

/// The words that the configuration decides. Others (architecture, RANDSTRUCT) cannot be known without the compiler and come out
/// of the same headers, so they are not compared.
const KNOWN: [&str; 5] = ["SMP", "preempt", "preempt_rt", "mod_unload", "modversions"];

impl Vermagic {
    /// What kbuild writes for kernel `release` with `config`.
    pub fn expected(release: &str, config: &KernelConfig) -> Vermagic {
        let on = |name| config.is_enabled(name);
        let preempt = if on("CONFIG_PREEMPT_BUILD") || (on("CONFIG_PREEMPT") && !on("CONFIG_PREEMPT_RT")) {
            Some("preempt")
        } else if on("CONFIG_PREEMPT_RT") {
            Some("preempt_rt")
        } else {
            None
        };
        let tokens = [
            on("CONFIG_SMP").then_some("SMP"),
            preempt,
            on("CONFIG_MODULE_UNLOAD").then_some("mod_unload"),
            on("CONFIG_MODVERSIONS").then_some("modversions"),
        ];
        Vermagic {
            release: release.to_owned(),
            tokens: tokens.into_iter().flatten().map(str::to_owned).collect(),
        }
    }

    /// Takes apart what a module says.
    pub fn parse(text: &str) -> Vermagic {
        let mut words = text.split_whitespace().map(str::to_owned);
        Vermagic {
            release: words.next().unwrap_or_default(),
            tokens: words.collect(),
        }
    }

    /// Compares a module's string with this kernel's: release and the words of `KNOWN` must be the same.
    ///
    /// # Errors
    /// What differs.
    pub fn accepts(&self, found: &str) -> Result<(), VermagicMismatch> {
        let found_parts = Vermagic::parse(found);
        if found_parts.release != self.release {
            return Err(VermagicMismatch::Release {
                expected: self.release.clone(),
                found: found_parts.release,
            });
        }
        let known = |magic: &Vermagic| -> Vec<String> {
            magic
                .tokens
                .iter()
                .filter(|token| KNOWN.contains(&token.as_str()))
                .cloned()
                .collect()
        };
        if known(self) == known(&found_parts) {
            Ok(())
        } else {
            Err(VermagicMismatch::Tokens {
                expected: self.to_string(),
                found: found.trim().to_owned(),
            })
        }
    }
}

impl std::fmt::Display for Vermagic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.release)?;
        self.tokens.iter().try_for_each(|token| write!(f, " {token}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fits() {
        let config = KernelConfig::parse(
            "CONFIG_SMP=y\nCONFIG_PREEMPT_BUILD=y\nCONFIG_PREEMPT_RT=y\nCONFIG_MODULE_UNLOAD=y\nCONFIG_MODVERSIONS=y\n",
        );
        let kernel = Vermagic::expected("6.1.0", &config);
        assert_eq!(kernel.to_string(), "6.1.0 SMP preempt mod_unload modversions");
        let check = |found: &str, expected: bool| assert_eq!(kernel.accepts(found).is_ok(), expected, "{found:?}");
        check("6.1.0 SMP preempt mod_unload modversions ", true);
        check("6.1.0 SMP preempt mod_unload modversions aarch64 RANDSTRUCT_x", true);
        check("6.1.1 SMP preempt mod_unload modversions ", false);
        check("6.1.0 SMP mod_unload modversions ", false);
        check("6.1.0 SMP preempt_rt mod_unload modversions ", false);
        check("", false);
    }
}
