//! The configuration of a kernel: .config, or auto.conf where headers come without it.

use std::collections::HashMap;
use std::io;
use std::path::Path;

/// The largest configuration we read; real ones have 300 KB.
const MAX_LEN: u64 = 16 << 20;

/// The options of a kernel by name, with `CONFIG_`; those not set are not there.
#[derive(Debug, Clone, Default)]
pub struct KernelConfig {
    options: HashMap<String, String>,
}

impl KernelConfig {
    /// Reads `config`, and `fallback` where that is not there.
    ///
    /// # Errors
    /// When neither can be read.
    pub fn read(config: &Path, fallback: &Path) -> io::Result<KernelConfig> {
        let text = read_bounded(config).or_else(|error| read_bounded(fallback).map_err(|_| error))?;
        Ok(KernelConfig::parse(&text))
    }

    /// Takes the options from the text of either file.
    pub fn parse(text: &str) -> KernelConfig {
        let options = text
            .lines()
            .filter(|line| line.starts_with("CONFIG_"))
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.trim().trim_matches('"').to_owned()))
            .collect();
        KernelConfig { options }
    }

    /// The value of an option, such as `y`, `m`, a number, or a text without its quotes.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    /// True when an option is `y` or `m`.
    pub fn is_enabled(&self, name: &str) -> bool {
        matches!(self.get(name), Some("y" | "m"))
    }

    /// The machine's name in `uname -m` for the architecture of this kernel, where we know it.
    pub fn arch(&self) -> Option<&'static str> {
        [
            ("CONFIG_X86_64", "x86_64"),
            ("CONFIG_X86_32", "i686"),
            ("CONFIG_ARM64", "aarch64"),
            ("CONFIG_ARM", "armv7l"),
            (
                "CONFIG_PPC64",
                if self.is_enabled("CONFIG_CPU_LITTLE_ENDIAN") {
                    "ppc64le"
                } else {
                    "ppc64"
                },
            ),
            ("CONFIG_S390", "s390x"),
            ("CONFIG_ARCH_RV64I", "riscv64"),
            ("CONFIG_LOONGARCH", "loongarch64"),
        ]
        .into_iter()
        .find_map(|(option, name)| self.is_enabled(option).then_some(name))
    }
}

fn read_bounded(path: &Path) -> io::Result<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_LEN).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let config = KernelConfig::parse(
            "# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_C=m\nCONFIG_D=\"gcc-12 (x) 12\"\nCONFIG_E=n\n",
        );
        let check = |name: &str, value: Option<&str>, on: bool| {
            assert_eq!((config.get(name), config.is_enabled(name)), (value, on), "{name}");
        };
        check("CONFIG_A", None, false);
        check("CONFIG_B", Some("y"), true);
        check("CONFIG_C", Some("m"), true);
        check("CONFIG_D", Some("gcc-12 (x) 12"), false);
        check("CONFIG_E", Some("n"), false);
    }
}
