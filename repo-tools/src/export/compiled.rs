//! Modules that were built for a kernel, with all that a package of them has to say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use dkms_engine::event::Sink;
use dkms_engine::kbuild::{BuildOptions, Built};
use dkms_engine::kernel::Symbols;
use dkms_engine::ko::ModuleInfo;

use super::error::ExportError;
use crate::files::{self, FileError};
use crate::scan::facts::{KernelFacts, Trial};
use crate::scan::trial::{BuildRoot, Watch};
use crate::stage::{Stage, StagedPackage};

/// A package, built for one kernel.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The kernel.
    pub kernel: KernelFacts,
    /// Its modules, in the order of dkms.conf.
    pub modules: Vec<CompiledModule>,
    /// The symbols that they export, with their CRCs.
    pub exports: BTreeMap<String, u32>,
}

/// A module as it is installed.
#[derive(Debug, Clone)]
pub struct CompiledModule {
    /// The name of its file, `NAME.ko`, with the suffix of the kernel's compression.
    pub file: String,
    /// What it says about itself.
    pub info: ModuleInfo,
    /// The file.
    pub bytes: Vec<u8>,
}

impl Compiled {
    fn read(built: &Built, kernel: &KernelFacts) -> Result<Self, ExportError> {
        let dir = built.dir.join("module");
        let modules = built.modules.iter().map(|module| {
            let path = dir.join(&module.file);
            Ok(CompiledModule {
                file: module.file.clone(),
                info: ModuleInfo::read(&path)?,
                bytes: files::read(&path)?,
            })
        });
        let symvers = dir.join("Module.symvers");
        let exports = match Symbols::read(&symvers) {
            Ok(symbols) => symbols.iter().map(|(symbol, crc)| (symbol.to_owned(), crc)).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(FileError::on("read", &symvers)(error).into()),
        };
        Ok(Self {
            kernel: kernel.clone(),
            modules: modules.collect::<Result<_, ExportError>>()?,
            exports,
        })
    }

    /// The CRC of each symbol that the modules import and do not have themselves.
    pub(super) fn imports(&self) -> BTreeMap<&str, u32> {
        let all = self.modules.iter().flat_map(|module| &module.info.crcs);
        all.filter(|(symbol, _)| !self.exports.contains_key(*symbol))
            .map(|(symbol, crc)| (symbol.as_str(), *crc))
            .collect()
    }

    /// The patterns of devices that the modules claim; an alias without a colon is another name, not a device.
    pub(super) fn patterns(&self) -> BTreeSet<&str> {
        let all = self.modules.iter().flat_map(|module| &module.info.aliases);
        all.map(String::as_str).filter(|alias| alias.contains(':')).collect()
    }

    /// `kmod(NAME.ko)` for each module, as tools that ask for modules by name write it.
    pub(super) fn kmods(&self) -> Vec<String> {
        let name = |module: &CompiledModule| format!("kmod({}.ko)", module.info.name);
        self.modules.iter().map(name).collect()
    }
}

/// Builds the packages `wanted` of `staged`, by index, for all kernels of `root`. The result has all of them for each, by package and kernel.
///
/// # Errors
/// When one of them cannot be built for one of the kernels.
pub fn compile(
    root: &BuildRoot,
    (stage, staged): (&Stage, &[StagedPackage]),
    wanted: &[usize],
    options: &BuildOptions,
    sink: &dyn Sink,
) -> Result<BTreeMap<(usize, usize), Compiled>, ExportError> {
    let all: Vec<usize> = (0..root.kernels().len()).collect();
    let asked: Vec<(usize, Vec<usize>)> = wanted.iter().map(|index| (*index, all.clone())).collect();
    let compiled: Mutex<BTreeMap<(usize, usize), Result<Compiled, ExportError>>> = Mutex::default();
    let failed: Mutex<BTreeMap<(usize, usize), ExportError>> = Mutex::default();
    let keep = |package: usize, kernel: usize, built: &Built| {
        if wanted.contains(&package) {
            let read = Compiled::read(built, &root.kernels()[kernel]);
            lock(&compiled).insert((package, kernel), read);
        }
    };
    let watch = Watch {
        sink,
        on_results: &|package, results| {
            for (kernel, trial) in results.trials {
                let log = results.logs.iter().find(|(of, _)| *of == kernel);
                let log = log.map(|(_, log)| String::from_utf8_lossy(log).into_owned());
                if let Some(error) = failure(&staged[package], &root.kernels()[kernel], trial, log) {
                    lock(&failed).insert((package, kernel), error);
                }
            }
            Ok(())
        },
        on_built: &keep,
    };
    root.run_watched(stage, staged, &asked, options, &watch)?;
    if let Some((_, error)) = lock(&failed).pop_first() {
        return Err(error);
    }
    std::mem::take(&mut *lock(&compiled))
        .into_iter()
        .map(|(at, read)| Ok((at, read?)))
        .collect()
}

fn failure(package: &StagedPackage, kernel: &KernelFacts, trial: Trial, log: Option<String>) -> Option<ExportError> {
    let reason = match trial {
        Trial::Built(_) => return None,
        Trial::Failed(reason) | Trial::Blocked(reason) | Trial::Inconclusive(reason) => reason,
        Trial::Excluded(reason) => format!("it is not meant for this kernel: {reason}"),
    };
    Some(ExportError::NotBuilt {
        name: package.manifest.name.clone(),
        version: package.manifest.version.clone(),
        kernel: kernel.release.clone(),
        reason,
        log: log.map(|log| last_lines(&log)),
    })
}

/// The end of a log, which says why a build failed.
fn last_lines(log: &str) -> String {
    const LINES: usize = 12;
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Reads what is left of a symbol table for tests of the packages: a module with these imports, exports and aliases.
#[cfg(test)]
pub(super) fn example(release: &str, exports: &[(&str, u32)], crcs: &[(&str, u32)], aliases: &[&str]) -> Compiled {
    let owned = |all: &[(&str, u32)]| all.iter().map(|(name, crc)| ((*name).to_owned(), *crc)).collect();
    Compiled {
        kernel: KernelFacts {
            release: release.to_owned(),
            arch: "x86_64".to_owned(),
            compiler: String::new(),
        },
        modules: vec![CompiledModule {
            file: "odd-driver.ko.xz".to_owned(),
            info: ModuleInfo {
                name: "odd_driver".to_owned(),
                aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
                crcs: owned(crcs),
                ..ModuleInfo::default()
            },
            bytes: b"module".to_vec(),
        }],
        exports: owned(exports),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_others_have_is_needed_and_only_devices_are_patterns() {
        let compiled = example(
            "6.4.0-1-default",
            &[("own", 1)],
            &[("own", 1), ("printk", 0xab)],
            &["char-major-1", "pci:v1*"],
        );
        assert_eq!(compiled.imports(), BTreeMap::from([("printk", 0xab)]));
        assert_eq!(compiled.patterns(), BTreeSet::from(["pci:v1*"]));
        assert_eq!(compiled.kmods(), ["kmod(odd_driver.ko)"]);
    }

    #[test]
    fn a_failed_build_shows_the_end_of_its_log() {
        let log: String = (0..20).map(|n| format!("line {n}\n")).collect();
        assert_eq!(last_lines(&log).lines().next(), Some("line 8"));
        assert_eq!(last_lines("one\n"), "one");
    }
}
