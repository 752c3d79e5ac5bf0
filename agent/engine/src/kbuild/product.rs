//! What comes out of a build: modules stripped, checked, signed, compressed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::check::{CheckProblem, check_module};
use super::error::BuildError;
use super::job::{Job, io_error};
use super::key::depends_symvers;
use super::make::Place;
use super::workspace::Workspace;
use crate::command::Confined;
use crate::conf::{DkmsConf, ModuleSpec};
use crate::event::{Event, Step};
use crate::fsutil::copy_tree;
use crate::kernel::{Symbols, parse_symvers};
use crate::ko::{Compression, ModuleInfo, compress};
use crate::tree::RecordedModule;

/// The most directories of one build that are asked what they export.
const MAX_SYMVERS: usize = 256;

impl Job<'_> {
    /// Strips, checks, signs and compresses what make made.
    pub(super) fn collect(
        &self,
        work: &Workspace,
        conf: &DkmsConf,
        specs: &[&ModuleSpec],
        setting: &dyn Fn(Confined) -> Confined,
    ) -> Result<Vec<RecordedModule>, BuildError> {
        let target = &self.request.kernel;
        let built = |spec: &ModuleSpec| {
            work.build
                .join(format!("{}{}.ko", spec.built_location, spec.built_name))
        };
        for spec in specs {
            if !built(spec).is_file() {
                let expected = PathBuf::from(format!("{}{}.ko", spec.built_location, spec.built_name));
                return Err(BuildError::ModuleMissing {
                    module: spec.built_name.clone(),
                    expected,
                });
            }
        }
        self.step(Step::Check, "");
        let to_strip: Vec<PathBuf> = specs.iter().filter(|spec| spec.strip).map(|spec| built(spec)).collect();
        if !to_strip.is_empty() {
            let clang = target.config().is_enabled("CONFIG_CC_IS_CLANG");
            let program = if clang { "llvm-strip" } else { "strip" };
            let place = Place::of(self.tree, target, work);
            let files = to_strip.iter().map(|path| place.path(path));
            // A file that cannot be stripped is told by the check.
            setting(Confined::new(program).arg("-g").args(files))
                .output(4096)
                .map_err(|source| BuildError::Program {
                    program: program.into(),
                    source,
                })?;
        }
        let symvers = work.product.join("module/Module.symvers");
        let own = own_symvers(&work.build, specs);
        if !own.is_empty() {
            fs::write(&symvers, &own).map_err(io_error("write", &symvers))?;
        }
        let mut exports = parse_symvers(&own);
        for path in depends_symvers(self.tree, &self.kernel, &conf.build_depends) {
            exports.extend(Symbols::read(&path).unwrap_or_default());
        }
        let mut problems = Vec::new();
        let mut files = Vec::new();
        for spec in specs {
            let path = built(spec);
            let bytes = fs::read(&path).map_err(io_error("read", &path))?;
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

/// What the package exports: Module.symvers at the top of the build and where its modules lie, and those of other directories that it
/// builds in (some move their modules afterwards). The first that names a symbol counts: others may have come with the source.
fn own_symvers(build: &Path, specs: &[&ModuleSpec]) -> String {
    let near = specs.iter().map(|spec| spec.built_location.as_str()).chain([""]);
    let near = near.map(|dir| build.join(dir).join("Module.symvers"));
    let entries = WalkDir::new(build)
        .sort_by_file_name()
        .into_iter()
        .filter_map(Result::ok);
    let elsewhere = entries
        .filter(|entry| entry.file_type().is_file() && entry.file_name() == "Module.symvers")
        .map(walkdir::DirEntry::into_path);
    let mut by_symbol: BTreeMap<String, String> = BTreeMap::new();
    for path in near.chain(elsewhere.take(MAX_SYMVERS)) {
        let bytes = fs::read(path).unwrap_or_default();
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

/// Copies what POST_BUILD added to the stage. The modules themselves are not taken from there.
pub(super) fn take_extras(stage: &Path, product: &Path) -> io::Result<()> {
    for dir in ["", "module"] {
        for entry in fs::read_dir(stage.join(dir))? {
            let entry = entry?;
            let to = product.join(dir).join(entry.file_name());
            let is_new = fs::symlink_metadata(&to).is_err();
            if is_new && entry.file_type()?.is_file() {
                fs::copy(entry.path(), to)?;
            } else if is_new && entry.file_type()?.is_dir() {
                copy_tree(&entry.path(), &to)?;
            }
        }
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
            own_symvers(dir.path(), &[]),
            "0x1\ta\tm\tEXPORT_SYMBOL\t\n0x3\tb\tn\tEXPORT_SYMBOL_GPL\tNS\n"
        );
    }
}
