//! Checks that a built module fits its kernel. Stricter than the loader, which only warns of some of these problems.

use std::collections::BTreeSet;

use crate::kernel::{KernelTarget, Symbols, VermagicMismatch};
use crate::ko::ModuleInfo;

/// One thing that is wrong with a built module.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckProblem {
    /// The file is something else.
    #[error("{module}.ko is not a kernel module: {what}")]
    NotAModule {
        /// The module.
        module: String,
        /// What is wrong with the file.
        what: String,
    },
    /// Compiled for another machine.
    #[error("{module}.ko is for {found}, the kernel is for {expected}")]
    Machine {
        /// The module.
        module: String,
        /// The kernel's machine.
        expected: String,
        /// The module's.
        found: String,
    },
    /// Compiled against other headers.
    #[error("{module}.ko does not fit: {mismatch}")]
    Vermagic {
        /// The module.
        module: String,
        /// What differs.
        mismatch: VermagicMismatch,
    },
    /// Its name differs from the one in dkms.conf.
    #[error("{module}.ko calls itself {found}")]
    Name {
        /// The module.
        module: String,
        /// Its own name.
        found: String,
    },
    /// It was compiled against another version of a symbol.
    #[error("{module}.ko wants another version of {symbol} ({found:#010x}, exported is {expected:#010x})")]
    Crc {
        /// The module.
        module: String,
        /// The symbol.
        symbol: String,
        /// The CRC that is exported.
        expected: u32,
        /// The module's.
        found: u32,
    },
    /// It imports a symbol without a CRC.
    #[error("{module}.ko does not say which version of {symbol} it wants")]
    NoCrc {
        /// The module.
        module: String,
        /// The symbol.
        symbol: String,
    },
    /// It imports symbols that nothing exports.
    #[error("{module}.ko needs {}, which neither the kernel nor what it depends on exports", .symbols.join(", "))]
    Unresolved {
        /// The module.
        module: String,
        /// The symbols, at most ten of them.
        symbols: Vec<String>,
    },
}

/// All problems of a module called `name`, for `kernel`. `extra` is what other modules of the package and the packages it
/// depends on export.
///
/// CRCs and imports are compared only where the kernel has a Module.symvers, machines only where both are known.
pub fn check_module(name: &str, info: &ModuleInfo, kernel: &KernelTarget, extra: &Symbols) -> Vec<CheckProblem> {
    let module = || name.to_owned();
    let mut problems = Vec::new();
    if let (Some(found), Some(expected)) = (&info.machine, kernel.config().arch())
        && found != expected
    {
        problems.push(CheckProblem::Machine {
            module: module(),
            expected: expected.to_owned(),
            found: found.clone(),
        });
    }
    if let Err(mismatch) = kernel.vermagic().accepts(&info.vermagic) {
        problems.push(CheckProblem::Vermagic {
            module: module(),
            mismatch,
        });
    }
    if !info.name.is_empty() && info.name.replace('-', "_") != name.replace('-', "_") {
        problems.push(CheckProblem::Name {
            module: module(),
            found: info.name.clone(),
        });
    }
    if !kernel.symbols().is_empty() {
        check_symbols(name, info, kernel, extra, &mut problems);
    }
    problems
}

fn check_symbols(
    name: &str,
    info: &ModuleInfo,
    kernel: &KernelTarget,
    extra: &Symbols,
    problems: &mut Vec<CheckProblem>,
) {
    // As in kbuild: where the kernel exports the same name, the external one wins.
    let crc_of = |symbol: &str| extra.crc(symbol).or_else(|| kernel.symbols().crc(symbol));
    // The linker's own names are in no list.
    let is_linkers = |symbol: &str| matches!(symbol, "_GLOBAL_OFFSET_TABLE_" | "_TOC_." | ".TOC.");
    let unresolved: Vec<String> = info
        .imports
        .iter()
        .filter(|s| !is_linkers(s) && crc_of(s).is_none())
        .take(10)
        .cloned()
        .collect();
    if !unresolved.is_empty() {
        problems.push(CheckProblem::Unresolved {
            module: name.to_owned(),
            symbols: unresolved,
        });
    }
    if !kernel.config().is_enabled("CONFIG_MODVERSIONS") {
        return;
    }
    let named: BTreeSet<&String> = info.imports.iter().chain(info.crcs.keys()).collect();
    for symbol in named {
        let Some(expected) = crc_of(symbol) else {
            continue;
        };
        let (module, symbol) = (name.to_owned(), symbol.clone());
        match info.crcs.get(&symbol) {
            Some(&found) if found != expected => problems.push(CheckProblem::Crc {
                module,
                symbol,
                expected,
                found,
            }),
            Some(_) => {}
            // A CRC of zero means that the symbol has none.
            None if expected != 0 => problems.push(CheckProblem::NoCrc { module, symbol }),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{KernelOptions, parse_symvers};
    use crate::root::Root;

    /// A kernel that the module tests/data/tiny.ko fits, as far as `symvers` does.
    fn kernel(config: &str, symvers: &str) -> (tempfile::TempDir, KernelTarget) {
        let dir = tempfile::tempdir().expect("temp dir");
        let headers = dir.path().join("lib/modules/6.1.0-56-amd64/build");
        std::fs::create_dir_all(headers.join("include")).expect("dirs");
        std::fs::write(headers.join(".config"), config).expect("write");
        std::fs::write(headers.join("Module.symvers"), symvers).expect("write");
        let root = Root::at(dir.path());
        let kernel = KernelTarget::find(&root, "6.1.0-56-amd64", &KernelOptions::default()).expect("found");
        (dir, kernel)
    }

    const CONFIG: &str =
        "CONFIG_X86_64=y\nCONFIG_SMP=y\nCONFIG_PREEMPT_BUILD=y\nCONFIG_MODULE_UNLOAD=y\nCONFIG_MODVERSIONS=y\n";

    #[test]
    fn problems() {
        let info = ModuleInfo::parse(include_bytes!("../../tests/data/tiny.ko")).expect("a module");
        let good: String = info
            .crcs
            .iter()
            .map(|(symbol, crc)| format!("{crc:#010x}\t{symbol}\tvmlinux\tEXPORT_SYMBOL\t\n"))
            .collect();
        let check = |config: &str, symvers: &str, name: &str, expected: &[&str]| {
            let (_dir, kernel) = kernel(config, symvers);
            let found = check_module(name, &info, &kernel, &Symbols::default());
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.contains(expected), "{found:?} and {expected:?}");
            }
        };
        check(CONFIG, &good, "tiny", &[]);
        check(CONFIG, "", "tiny", &[]);
        check(CONFIG, &good, "other", &["calls itself tiny"]);
        check(&CONFIG.replace("X86_64", "ARM64"), &good, "tiny", &["is for x86_64"]);
        check(
            &CONFIG.replace("CONFIG_PREEMPT_BUILD=y\n", ""),
            &good,
            "tiny",
            &["vermagic"],
        );
        check(CONFIG, &good.replace("_printk", "printk"), "tiny", &["needs _printk"]);
        let printk = info.crcs["_printk"];
        let other = good.replace(&format!("{printk:#010x}"), "0x00000001");
        check(CONFIG, &other, "tiny", &["another version of _printk"]);
    }

    #[test]
    fn a_missing_crc_is_a_problem_and_dependencies_count() {
        let mut info = ModuleInfo::parse(include_bytes!("../../tests/data/tiny.ko")).expect("a module");
        let symvers = format!(
            "{:#010x}\tmodule_layout\tvmlinux\tEXPORT_SYMBOL\t\n",
            info.crcs["module_layout"]
        );
        let (_dir, kernel) = kernel(CONFIG, &symvers);
        let rest: String = info
            .crcs
            .iter()
            .map(|(s, c)| format!("{c:#010x}\t{s}\tdep\tEXPORT_SYMBOL\t\n"))
            .collect();
        assert_eq!(check_module("tiny", &info, &kernel, &parse_symvers(&rest)), []);
        // A name that the kernel exports too is the package's own.
        let (_other, kernel_too) = self::kernel(
            CONFIG,
            &format!("{symvers}0x00000001\t_printk\tvmlinux\tEXPORT_SYMBOL\t\n"),
        );
        assert_eq!(check_module("tiny", &info, &kernel_too, &parse_symvers(&rest)), []);
        info.crcs.remove("_printk");
        let found = check_module("tiny", &info, &kernel, &parse_symvers(&rest));
        assert_eq!(
            found,
            [CheckProblem::NoCrc {
                module: "tiny".into(),
                symbol: "_printk".into()
            }]
        );
    }
}
