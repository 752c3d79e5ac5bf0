//! The product of a build: its modules are found, checked, signed and compressed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::check::{CheckProblem, check_module};
use super::error::BuildError;
use super::job::{Job, io_error};
use super::key::depends_symvers;
use super::place::BuildSandbox;
use super::strip::{expected, strip_elsewhere};
use super::workspace::Workspace;
use crate::conf::{DkmsConf, ModuleSpec};
use crate::event::{Event, Step};
use crate::kernel::{Symbols, parse_symvers};
use crate::ko::{Compression, ModuleInfo, compress};
use crate::sandbox::take;
use crate::tree::RecordedModule;

/// The most directories of one build whose Module.symvers is read.
const MAX_SYMVERS: usize = 256;

/// The largest Module.symvers, in bytes: a kernel's own has 2 MiB.
const MAX_SYMVERS_LEN: u64 = 16 << 20;

/// The largest module, in bytes; nvidia's has 60 MiB.
pub(super) const MAX_MODULE_LEN: u64 = 256 << 20;

/// What POST_BUILD may add: files, and bytes in each.
const MAX_EXTRAS: usize = 1000;
const MAX_EXTRA_LEN: u64 = 64 << 20;

impl Job<'_> {
    /// Finds, checks, signs and compresses the modules that make built.
    pub(super) fn collect(
        &self,
        work: &Workspace,
        conf: &DkmsConf,
        specs: &[&ModuleSpec],
        sandbox: &BuildSandbox<'_>,
    ) -> Result<Vec<RecordedModule>, BuildError> {
        let target = &self.request.kernel;
        let build_dir = take::open_dir(&work.build).map_err(io_error("open", &work.build))?;
        let built: Vec<PathBuf> = specs
            .iter()
            .map(|spec| find_built(&build_dir, spec, &work.build))
            .collect::<Result<_, _>>()?;
        self.step(Step::Check, "");
        strip_elsewhere(specs, &built, &work.build, target, sandbox)?;
        let symvers = work.product.join("module/Module.symvers");
        let near = near_symvers(specs, &built);
        let own = own_symvers(&build_dir, &near, MAX_SYMVERS);
        if !own.is_empty() {
            fs::write(&symvers, &own).map_err(io_error("write", &symvers))?;
        }
        let mut exports = parse_symvers(&own_symvers(&build_dir, &near, 0));
        for path in depends_symvers(self.tree, &self.kernel, &conf.build_depends) {
            exports.add(Symbols::read(&path).unwrap_or_default());
        }
        // Others may have come with the source, so they say nothing of the kernel's symbols.
        exports.add(parse_symvers(&own).without(target.symbols()));
        let mut problems = Vec::new();
        let mut files = Vec::new();
        for (spec, path) in specs.iter().zip(&built) {
            let bytes = take::read(&build_dir, path, MAX_MODULE_LEN).map_err(io_error("take", &work.build))?;
            match ModuleInfo::parse(&bytes) {
                Ok(info) => problems.extend(check_module(&spec.built_name, &info, target, &exports)),
                Err(what) => problems.push(CheckProblem::NotAModule {
                    module: spec.built_name.clone(),
                    what,
                }),
            }
            files.push(bytes);
        }
        if !problems.is_empty() {
            return Err(BuildError::Unfit(problems));
        }
        specs
            .iter()
            .zip(files)
            .map(|(spec, bytes)| self.finish_module(work, spec, &bytes))
            .collect()
    }

    pub(super) fn finish_module(
        &self,
        work: &Workspace,
        spec: &ModuleSpec,
        bytes: &[u8],
    ) -> Result<RecordedModule, BuildError> {
        let target = &self.request.kernel;
        let dir = work.product.join("module");
        let plain = dir.join(format!("{}.ko", spec.dest_name));
        fs::write(&plain, bytes).map_err(io_error("write", &plain))?;
        if let Some(signer) = self.signers.of(target) {
            self.step(Step::Sign, &spec.dest_name);
            if let Err(error) = signer.sign(&plain) {
                // As upstream has it: without Secure Boot the module is as good unsigned.
                self.sink.emit(Event::Warning {
                    text: format!("{}.ko is not signed: {error}", spec.dest_name),
                    hint: error.hint(),
                });
                fs::write(&plain, bytes).map_err(io_error("write", &plain))?;
            }
        }
        let compression = Compression::from_suffix(target.module_compression());
        let file = format!("{}.ko{}", spec.dest_name, compression.suffix());
        if compression != Compression::None {
            let packed = dir.join(&file);
            let options = &self.tree.framework().compression;
            let pack = || {
                fs::write(&packed, compress(&fs::read(&plain)?, compression, options)?)
                    .and_then(|()| fs::remove_file(&plain))
            };
            pack().map_err(io_error("compress", &plain))?;
        }
        let declared = spec.declared_location.trim_end_matches('/').to_owned();
        let mut locations = vec![spec.dest_location.clone()];
        if declared != spec.dest_location {
            locations.push(declared);
        }
        Ok(RecordedModule {
            name: spec.dest_name.clone(),
            file,
            locations,
        })
    }
}

/// Where a module was built: where the conf says, or else the only file of that name, which some Makefiles put elsewhere.
fn find_built(build_dir: &OwnedFd, spec: &ModuleSpec, dir: &Path) -> Result<PathBuf, BuildError> {
    let name = format!("{}.ko", spec.built_name);
    let expected = expected(spec);
    match take::open(build_dir, &expected) {
        Ok(_) => return Ok(expected),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error("take", dir)(error)),
        Err(_) => {}
    }
    let mut found = take::find(build_dir, &name, 2);
    match (found.pop(), found.is_empty()) {
        (Some(path), true) => Ok(path),
        _ => Err(BuildError::ModuleMissing {
            module: spec.built_name.clone(),
            expected,
        }),
    }
}

/// The Module.symvers at the top of the build and where its modules lie.
fn near_symvers(specs: &[&ModuleSpec], built: &[PathBuf]) -> Vec<PathBuf> {
    let declared = specs.iter().map(|spec| PathBuf::from(&spec.built_location));
    let actual = built.iter().filter_map(|path| path.parent().map(Path::to_owned));
    let dirs = declared.chain(actual).chain([PathBuf::new()]);
    dirs.map(|dir| dir.join("Module.symvers")).collect()
}

/// What the package exports: the files in `near`, and at most `others` of other directories that it builds in (some move their modules
/// afterwards). The first that names a symbol counts: others may have come with the source.
fn own_symvers(build: impl AsFd, near: &[PathBuf], others: usize) -> String {
    let elsewhere = take::find(&build, "Module.symvers", others);
    let near = near.iter().cloned();
    let mut by_symbol: BTreeMap<String, String> = BTreeMap::new();
    for path in near.chain(elsewhere) {
        let bytes = take::read(&build, &path, MAX_SYMVERS_LEN).unwrap_or_default();
        for line in String::from_utf8_lossy(&bytes).lines() {
            if let Some(symbol) = line.split('\t').nth(1) {
                by_symbol
                    .entry(symbol.to_owned())
                    .or_insert_with(|| line.to_owned() + "\n");
            }
        }
    }
    by_symbol.into_values().collect()
}

/// Takes the files that POST_BUILD added to the stage, as files of ours that others may read. The modules themselves are not taken from
/// there.
pub(super) fn take_extras(stage: &Path, product: &Path) -> io::Result<()> {
    let dir = take::open_dir(stage)?;
    for path in take::files(&dir, MAX_EXTRAS) {
        let to = product.join(&path);
        if fs::symlink_metadata(&to).is_ok() {
            continue;
        }
        let bytes = take::read(&dir, &path, MAX_EXTRA_LEN)?;
        fs::create_dir_all(to.parent().unwrap_or(product))?;
        fs::write(&to, bytes)?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_of_every_directory_the_nearest_first() {
        let dir = tempfile::tempdir().expect("temp dir");
        for (path, text) in [
            ("Module.symvers", "0x1\ta\tm\tEXPORT_SYMBOL\t\n"),
            (
                "deep/down/Module.symvers",
                "0x2\ta\told\tEXPORT_SYMBOL\t\n0x3\tb\tn\tEXPORT_SYMBOL_GPL\tNS\n",
            ),
            ("other/not-symvers", "0x4\tc\tn\tEXPORT_SYMBOL\t\n"),
        ] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("dirs");
            fs::write(path, text).expect("write");
        }
        assert_eq!(
            own_symvers(take::open_dir(dir.path()).expect("opens"), &near_symvers(&[], &[]), 9),
            "0x1\ta\tm\tEXPORT_SYMBOL\t\n0x3\tb\tn\tEXPORT_SYMBOL_GPL\tNS\n"
        );
    }
}
