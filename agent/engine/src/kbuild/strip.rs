//! Modules lose their debugging information, as upstream has it: `strip -g`.
//!
//! A sandbox costs more than strip itself, so the one in which make runs strips the modules as well, where the conf says that
//! they are built. Those that lie elsewhere take a sandbox of their own.

use std::path::{Path, PathBuf};

use super::error::BuildError;
use super::place::BuildSandbox;
use crate::command::Confined;
use crate::conf::ModuleSpec;
use crate::kernel::KernelTarget;

/// Runs the line in the first argument, in a shell of its own that sees no arguments, and ends as it did if it failed. The others are the
/// program that strips and the modules. A module that cannot be stripped is reported by the check of the built modules.
const MAKE_AND_STRIP: &str = r#"(eval "set --; $1") || exit
strip=$2; shift 2; modules=()
for module; do [ -f "$module" ] && modules+=("$module"); done
[ ${#modules[@]} = 0 ] || "$strip" -g -- "${modules[@]}" >/dev/null 2>&1
exit 0"#;

/// The command that runs `line` in the build directory `dir` and then strips those of `modules` that it built.
pub(super) fn make_and_strip(line: &str, dir: PathBuf, modules: &[PathBuf], target: &KernelTarget) -> Confined {
    let bash = Confined::new("/bin/bash").dir(dir);
    if modules.is_empty() {
        return bash.args(["-c", line]);
    }
    bash.args(["-c", MAKE_AND_STRIP, "bash", line, program(target)])
        .args(modules)
}

/// Where the modules of `specs` that are to be stripped are expected.
pub(super) fn to_strip(specs: &[&ModuleSpec]) -> Vec<PathBuf> {
    specs
        .iter()
        .filter(|spec| spec.strip)
        .map(|spec| expected(spec))
        .collect()
}

/// Strips those of the modules at `built` that make built elsewhere than expected. Paths are relative to the build directory `dir`.
pub(super) fn strip_elsewhere(
    specs: &[&ModuleSpec],
    built: &[PathBuf],
    dir: &Path,
    target: &KernelTarget,
    sandbox: &BuildSandbox<'_>,
) -> Result<(), BuildError> {
    let modules: Vec<&PathBuf> = specs
        .iter()
        .zip(built)
        .filter(|(spec, path)| spec.strip && **path != expected(spec))
        .map(|(_, path)| path)
        .collect();
    if modules.is_empty() {
        return Ok(());
    }
    let program = program(target);
    // A file that cannot be stripped is reported by the check.
    sandbox
        .confine(Confined::new(program).args(["-g", "--"]).args(modules).dir(dir))
        .output(4096)
        .map_err(|source| BuildError::Program {
            program: program.into(),
            source,
        })?;
    Ok(())
}

/// Where the conf says that a module is built, relative to the build directory.
pub(super) fn expected(spec: &ModuleSpec) -> PathBuf {
    Path::new(&spec.built_location).join(format!("{}.ko", spec.built_name))
}

fn program(target: &KernelTarget) -> &'static str {
    if target.config().is_enabled("CONFIG_CC_IS_CLANG") {
        "llvm-strip"
    } else {
        "strip"
    }
}
