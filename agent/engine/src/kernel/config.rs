//! The configuration of a kernel: .config, or auto.conf where headers come without it.

use std::io;
use std::ops::Range;
use std::path::Path;

/// The largest configuration we read; real ones have 300 KB.
const MAX_LEN: u64 = 16 << 20;

/// The options of a kernel by name, with `CONFIG_`; those not set are not there.
///
/// Ten thousand options are read for every kernel, and a dozen are asked for: so the text is kept as it is, with the places of the
/// options in it, and going through those is cheaper than a map would be.
#[derive(Debug, Clone, Default)]
pub struct KernelConfig {
    text: String,
    options: Vec<Place>,
}

/// Where an option is in the text.
#[derive(Debug, Clone)]
struct Place {
    name: Range<usize>,
    value: Range<usize>,
}

impl KernelConfig {
    /// Reads `config`, and `fallback` where that is not there.
    ///
    /// # Errors
    /// When neither can be read.
    pub fn read(config: &Path, fallback: &Path) -> io::Result<KernelConfig> {
        let text = read_bounded(config).or_else(|error| read_bounded(fallback).map_err(|_| error))?;
        Ok(KernelConfig::parse(text))
    }

    /// These options, and those of `over` in their place: a file that is named with `--config` may have only a few.
    #[must_use]
    pub fn overlaid(&self, over: &KernelConfig) -> KernelConfig {
        KernelConfig::parse(format!("{}\n{}", self.text, over.text))
    }

    /// Takes the options from the text of either file.
    pub fn parse(text: impl Into<String>) -> KernelConfig {
        let text = text.into();
        let (mut options, mut start) = (Vec::new(), 0);
        for line in text.split_inclusive('\n') {
            let unset = line
                .strip_prefix("# ")
                .and_then(|line| line.trim_end().strip_suffix(" is not set"));
            if line.starts_with("CONFIG_")
                && let Some(len) = line.find('=')
            {
                options.push(Place {
                    name: start..start + len,
                    value: start + len + 1..start + line.len(),
                });
            } else if let Some(name) = unset.filter(|name| name.starts_with("CONFIG_")) {
                let end = start + line.len();
                options.push(Place {
                    name: start + 2..start + 2 + name.len(),
                    value: end..end,
                });
            }
            start += line.len();
        }
        KernelConfig { text, options }
    }

    /// The value of an option, such as `y`, `m`, a number, or a text without its quotes.
    pub fn get(&self, name: &str) -> Option<&str> {
        // Where one is set twice, the later line counts.
        let option = self
            .options
            .iter()
            .rev()
            .find(|option| &self.text[option.name.clone()] == name)?;
        let value = &self.text[option.value.clone()];
        (!value.is_empty()).then(|| value.trim().trim_matches('"'))
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
    let file = std::fs::File::open(path)?;
    let len = file.metadata()?.len().min(MAX_LEN);
    let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or_default() + 1);
    file.take(MAX_LEN).read_to_end(&mut bytes)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let config = KernelConfig::parse(
            "# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_C=m\nCONFIG_D=\"gcc-12 (x) 12\"\nCONFIG_E=n\nCONFIG_F=m\nCONFIG_F=y",
        );
        let check = |name: &str, value: Option<&str>, on: bool| {
            assert_eq!((config.get(name), config.is_enabled(name)), (value, on), "{name}");
        };
        check("CONFIG_A", None, false);
        check("CONFIG_B", Some("y"), true);
        check("CONFIG_C", Some("m"), true);
        check("CONFIG_D", Some("gcc-12 (x) 12"), false);
        check("CONFIG_E", Some("n"), false);
        check("CONFIG_F", Some("y"), true);
        check("CONFIG", None, false);
        let over = KernelConfig::parse("CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_E=m\n");
        let both = config.overlaid(&over);
        let found = ["CONFIG_A", "CONFIG_B", "CONFIG_C", "CONFIG_E"].map(|name| both.get(name));
        assert_eq!(found, [Some("y"), None, Some("m"), Some("m")]);
    }
}
