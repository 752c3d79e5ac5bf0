//! What a compiled module says about itself: read from `.ko`, `.ko.gz`, `.ko.xz` and `.ko.zst`.
//!
//! The files come out of builds of code from elsewhere, so every size is bounded and nothing in them is trusted.

mod compress;
mod options;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSection, ObjectSymbol};
use serde::{Deserialize, Serialize};

pub use compress::{Compression, compress, decompress};
pub use options::{CompressOptions, XzCheck};

/// The largest module we look at, decompressed. Unstripped GPU drivers reach a few hundred MiB.
pub const MAX_MODULE_LEN: u64 = 1 << 30;

/// The magic at the end of a signed module (`include/linux/module_signature.h`).
const SIGNATURE_MAGIC: &[u8] = b"~Module signature appended~\n";

/// Why a file is not a kernel module.
#[derive(Debug, thiserror::Error)]
pub enum KoError {
    /// It cannot be read or decompressed.
    #[error("the module {} cannot be read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is something else.
    #[error("{} is not a kernel module: {what}", .path.display())]
    NotAModule {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

impl KoError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            KoError::Unreadable { path, .. } | KoError::NotAModule { path, .. } => {
                Some(format!("modinfo {}", path.display()))
            }
        }
    }
}

/// The facts of one module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleInfo {
    /// The module's own name, with `_`; from the file's name where an old module does not say.
    pub name: String,
    /// For which kernel and options it was built.
    pub vermagic: String,
    /// MODULE_VERSION.
    pub version: Option<String>,
    /// The digest of its sources that modpost makes.
    pub srcversion: Option<String>,
    /// MODULE_LICENSE.
    pub license: Option<String>,
    /// MODULE_DESCRIPTION.
    pub description: Option<String>,
    /// The patterns of devices (and other names) that it claims.
    pub aliases: Vec<String>,
    /// The modules it needs.
    pub depends: Vec<String>,
    /// The firmware files it may ask for.
    pub firmware: Vec<String>,
    /// True when it says that it is part of a kernel's own tree.
    pub in_tree: bool,
    /// True when a signature is appended.
    pub signed: bool,
    /// The machine it is for, as in `uname -m`; None if we do not know it.
    pub machine: Option<String>,
    /// The symbols it imports and cannot do without.
    pub imports: BTreeSet<String>,
    /// The CRCs it expects of imported symbols and of `module_layout`; empty without CONFIG_MODVERSIONS.
    pub crcs: BTreeMap<String, u32>,
}

impl ModuleInfo {
    /// Reads the module in the file `path`.
    ///
    /// # Errors
    /// When it cannot be read or is no module.
    pub fn read(path: &Path) -> Result<ModuleInfo, KoError> {
        let bytes = decompress(path, MAX_MODULE_LEN).map_err(|source| KoError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let mut info = ModuleInfo::parse(&bytes).map_err(|what| KoError::NotAModule {
            path: path.to_owned(),
            what,
        })?;
        if info.name.is_empty() {
            info.name = module_name(path).unwrap_or_default().replace('-', "_");
        }
        Ok(info)
    }

    /// Reads the module in `bytes` (decompressed).
    ///
    /// # Errors
    /// What is wrong, as a fragment of a sentence.
    pub fn parse(bytes: &[u8]) -> Result<ModuleInfo, String> {
        let file = object::File::parse(bytes).map_err(|e| e.to_string())?;
        if file.format() != object::BinaryFormat::Elf || file.kind() != object::ObjectKind::Relocatable {
            return Err("not a relocatable ELF file".into());
        }
        if file.section_by_name(".gnu.linkonce.this_module").is_none() {
            return Err("it has no .gnu.linkonce.this_module section".into());
        }
        let mut info = ModuleInfo {
            machine: machine_of(&file).map(str::to_owned),
            signed: bytes.ends_with(SIGNATURE_MAGIC),
            ..ModuleInfo::default()
        };
        info.take_modinfo(section(&file, ".modinfo")?);
        info.take_versions(&file)?;
        info.imports = file
            .symbols()
            .filter(|symbol| symbol.is_undefined() && !symbol.is_weak())
            .filter_map(|symbol| symbol.name().ok().filter(|name| !name.is_empty()).map(str::to_owned))
            .collect();
        Ok(info)
    }

    fn take_modinfo(&mut self, section: &[u8]) {
        for entry in section.split(|&b| b == 0) {
            let entry = String::from_utf8_lossy(entry);
            let Some((key, value)) = entry.split_once('=') else {
                continue;
            };
            let value = value.to_owned();
            match key {
                "name" => self.name = value,
                "vermagic" => self.vermagic = value,
                "version" => self.version = Some(value),
                "srcversion" => self.srcversion = Some(value),
                "license" => self.license = Some(value),
                "description" => self.description = Some(value),
                "alias" => self.aliases.push(value),
                "depends" => self.depends = value.split(',').filter(|d| !d.is_empty()).map(str::to_owned).collect(),
                "firmware" => self.firmware.push(value),
                "intree" => self.in_tree = value.starts_with(['Y', 'y', '1']),
                _ => {}
            }
        }
    }

    /// Both ways to store CRCs: `struct modversion_info` (`__versions`), and since 6.13 two parallel sections.
    fn take_versions(&mut self, file: &object::File<'_>) -> Result<(), String> {
        let little = file.is_little_endian();
        let word_len = if file.is_64() { 8 } else { 4 };
        for entry in section(file, "__versions")?.chunks_exact(64) {
            let (crc, name) = entry.split_at(word_len);
            // The CRC is a long that holds 32 bits: its low half.
            let crc = if little { &crc[..4] } else { &crc[word_len - 4..] };
            self.crcs.insert(until_nul(name), number(crc, little));
        }
        let names = section(file, "__version_ext_names")?;
        for (crc, name) in section(file, "__version_ext_crcs")?
            .chunks_exact(4)
            .zip(names.split(|&b| b == 0))
        {
            self.crcs
                .insert(String::from_utf8_lossy(name).into_owned(), number(crc, little));
        }
        Ok(())
    }
}

/// The kernel's spelling of a module's name: it takes `-` and `_` for the same.
pub fn in_kernel(module: &str) -> String {
    module.replace('-', "_")
}

/// The name of a module in a file's name, without `.ko` and compression; None if it is no module's file.
pub fn module_name(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    let name = [".gz", ".xz", ".zst"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name);
    name.strip_suffix(".ko")
}

fn section<'data>(file: &object::File<'data>, name: &str) -> Result<&'data [u8], String> {
    match file.section_by_name(name) {
        Some(section) => section.data().map_err(|e| format!("section {name}: {e}")),
        None => Ok(&[]),
    }
}

fn until_nul(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn number(bytes: &[u8], little: bool) -> u32 {
    let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
    if little {
        u32::from_le_bytes(bytes)
    } else {
        u32::from_be_bytes(bytes)
    }
}

fn machine_of(file: &object::File<'_>) -> Option<&'static str> {
    use object::Architecture as A;
    Some(match (file.architecture(), file.is_64(), file.is_little_endian()) {
        (A::X86_64, true, _) => "x86_64",
        (A::I386, ..) => "i686",
        (A::Aarch64, ..) => "aarch64",
        (A::Arm, ..) => "armv7l",
        (A::PowerPc64, _, true) => "ppc64le",
        (A::PowerPc64, _, false) => "ppc64",
        (A::S390x, ..) => "s390x",
        (A::Riscv64, ..) => "riscv64",
        (A::LoongArch64, ..) => "loongarch64",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files() {
        let check = |name: &str, expected: Option<&str>| assert_eq!(module_name(Path::new(name)), expected, "{name}");
        check("/x/hid-kye.ko", Some("hid-kye"));
        check("a.ko.xz", Some("a"));
        check("a.ko.zst", Some("a"));
        check("a.o", None);
        check("a.ko.bz2", None);
    }

    #[test]
    fn garbage_is_refused() {
        for bytes in [
            &b""[..],
            b"\x7fELF",
            &[0u8; 4096],
            b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\x3e\0",
        ] {
            assert!(ModuleInfo::parse(bytes).is_err(), "{bytes:?}");
        }
    }

    proptest::proptest! {
        /// A module with any bytes changed may be refused, but never brings us down.
        #[test]
        fn hostile_bytes_do_not_panic(changes in proptest::collection::vec((0usize..4096, 0u8..=255), 1..20)) {
            let mut bytes = include_bytes!("../../tests/data/tiny.ko").to_vec();
            for (at, value) in changes {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            let _ = ModuleInfo::parse(&bytes);
        }
    }

    #[test]
    fn a_real_module() {
        let info = ModuleInfo::parse(include_bytes!("../../tests/data/tiny.ko")).expect("a module");
        assert_eq!(info.name, "tiny");
        assert_eq!(info.machine.as_deref(), Some("x86_64"));
        assert_eq!(info.version.as_deref(), Some("1.2"));
        assert_eq!(info.aliases, ["pci:v00001234d000011E8sv*sd*bc*sc*i*"]);
        assert!(info.imports.contains("_printk"), "{:?}", info.imports);
        assert!(info.crcs.contains_key("module_layout"), "{:?}", info.crcs);
        assert!(!info.signed);
    }
}
