//! What is on a machine's disk, reduced to what must be equal for two programs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::Command;

use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

/// One thing on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A directory.
    Directory,
    /// A link and what it says.
    Link(String),
    /// A file whose content matters: its digest, shortened.
    File(String),
    /// A file whose content differs from run to run: logs, keys.
    Volatile,
    /// A kernel module: its vermagic, the digest of what `modinfo` says of it, and where bytes are compared that of its bytes,
    /// uncompressed and without signature.
    Module(String),
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory => write!(f, "directory"),
            Self::Link(to) => write!(f, "-> {to}"),
            Self::File(digest) => write!(f, "file {digest}"),
            Self::Volatile => write!(f, "file"),
            Self::Module(info) => write!(f, "module {info}"),
        }
    }
}

/// Path (`dkms/…`, `src/…`, `modules/…`) → what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot(pub BTreeMap<String, Fact>);

impl Snapshot {
    /// Reads `dkms`, `src` and `modules` below `machine`; what depmod writes and the kernel's headers are left out. `bytes`: of modules too.
    #[must_use]
    pub fn of(machine: &Path, bytes: bool) -> Self {
        let mut facts = BTreeMap::new();
        for part in ["dkms", "src", "modules"] {
            let walk = WalkDir::new(machine.join(part))
                .min_depth(1)
                .sort_by_file_name()
                .into_iter();
            for entry in walk.filter_entry(|entry| !is_noise(machine, entry.path())).flatten() {
                let relative = entry.path().strip_prefix(machine).unwrap_or(entry.path());
                facts.insert(relative.display().to_string(), fact(entry.path(), bytes));
            }
        }
        Self(facts)
    }

    /// The paths that name files (not directories) below `prefix`.
    pub fn files<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        let files = self
            .0
            .iter()
            .filter(move |(path, fact)| path.starts_with(prefix) && **fact != Fact::Directory);
        files.map(|(path, _)| path.as_str())
    }
}

fn is_noise(machine: &Path, path: &Path) -> bool {
    let relative = path.strip_prefix(machine).unwrap_or(path);
    let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
    match parts.first().map(AsRef::as_ref) {
        Some("src") => parts.get(1).is_some_and(|name| name.starts_with("linux-")),
        Some("modules") => parts.len() == 3 && (parts[2].starts_with("modules.") || parts[2] == "build"),
        _ => false,
    }
}

fn fact(path: &Path, bytes: bool) -> Fact {
    let Ok(meta) = path.symlink_metadata() else {
        return Fact::Volatile;
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if meta.is_symlink() {
        Fact::Link(std::fs::read_link(path).map_or_else(|e| e.to_string(), |to| to.display().to_string()))
    } else if meta.is_dir() {
        Fact::Directory
    } else if name.contains(".ko") {
        let info = modinfo(path);
        Fact::Module(if bytes {
            format!("{info} {}", digest(&reproducible(unsigned(&plain(path)))))
        } else {
            info
        })
    } else if matches!(&*name, "make.log" | "mok.key" | "mok.pub") || name.ends_with(".tar.gz") {
        Fact::Volatile
    } else {
        Fact::File(std::fs::read(path).map_or_else(|e| e.to_string(), |bytes| digest(&bytes)))
    }
}

/// All of modinfo's lines but those about the file's place and its signature, as a short digest after the vermagic.
fn modinfo(path: &Path) -> String {
    let told = Command::new("modinfo")
        .arg(path)
        .output()
        .map(|done| String::from_utf8_lossy(&done.stdout).into_owned());
    let told = told.unwrap_or_else(|e| format!("modinfo: {e}"));
    let mut continued = false;
    let lines = told.lines().filter(|line| {
        // A signature's value goes over several lines, indented.
        let indented = line.starts_with(['\t', ' ']);
        let dropped = ["filename:", "sig", "signature:", "signer:"]
            .iter()
            .any(|key| line.starts_with(key));
        continued = dropped || (indented && continued);
        !continued
    });
    let kept: Vec<&str> = lines.collect();
    let magic = kept
        .iter()
        .find_map(|line| line.strip_prefix("vermagic:"))
        .unwrap_or("without vermagic")
        .trim();
    format!(
        "{} {}",
        magic.split(' ').next().unwrap_or_default(),
        digest(kept.join("\n").as_bytes())
    )
}

/// The bytes of a module, by the program of its compression.
fn plain(path: &Path) -> Vec<u8> {
    let program = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("gz") => "gzip",
        Some("zst") => "zstd",
        _ => return std::fs::read(path).unwrap_or_default(),
    };
    let done = Command::new(program).arg("-dc").arg(path).output();
    done.map(|done| done.stdout).unwrap_or_default()
}

/// A module without its BTF: pahole's threads write the types in another order at each build (before 1.27).
fn reproducible(module: &[u8]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().and_then(|file| std::fs::write(&file, module).map(|()| file));
    let file = file.unwrap_or_else(|e| panic!("a temporary file: {e}"));
    let done = Command::new("objcopy")
        .arg("--remove-section=.BTF")
        .arg(file.path())
        .output();
    assert!(
        done.as_ref().is_ok_and(|done| done.status.success()),
        "objcopy: {done:?}"
    );
    std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.path().display()))
}

/// A module without the signature at its end (`struct module_signature` and `MODULE_SIG_STRING`, include/linux/module_signature.h).
fn unsigned(module: &[u8]) -> &[u8] {
    const MARK: &[u8] = b"~Module signature appended~\n";
    const TRAILER_LEN: usize = 12;
    let len = module.strip_suffix(MARK).and_then(|signed| {
        let (_, len) = signed.split_last_chunk::<4>()?;
        let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
        signed.len().checked_sub(TRAILER_LEN + len)
    });
    len.and_then(|len| module.get(..len)).unwrap_or(module)
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes)[..4])
}
