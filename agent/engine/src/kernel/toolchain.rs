//! The compiler that a kernel's headers ask for, and the one that is there.

use std::time::Duration;

use super::KernelTarget;
use crate::command::{Confined, find_program};
use crate::root::Root;
use crate::sandbox::{Account, Limits, View};

/// The compiler for one kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// The command, such as `gcc-12`; `gcc` or `clang` where the headers do not say.
    pub cc: String,
    /// The first line of `cc --version` when the kernel was built (CONFIG_CC_VERSION_TEXT).
    pub wanted: Option<String>,
    /// The first line of `cc --version` now; None if there is no such compiler.
    pub present: Option<String>,
    /// True when the kernel was built by clang, so that its modules need `LLVM=1`.
    pub is_clang: bool,
    /// True when the kernel was linked by lld.
    pub is_lld: bool,
}

impl Toolchain {
    pub(super) fn of(kernel: &KernelTarget) -> Toolchain {
        let config = kernel.config();
        let is_clang = config.is_enabled("CONFIG_CC_IS_CLANG");
        let wanted = config.get("CONFIG_CC_VERSION_TEXT").map(str::to_owned);
        let tools = kernel.chroot().map_or_else(Root::host, Root::at);
        let named = wanted
            .as_deref()
            .and_then(|text| text.split_whitespace().next())
            .map(str::to_owned);
        let fallback = if is_clang { "clang" } else { "gcc" };
        let cc = named
            .filter(|name| find_program(&tools, name).is_some())
            .unwrap_or_else(|| fallback.to_owned());
        let present = match &kernel.system {
            Some(_) => confined_version(&tools, &cc),
            None => compiler_version(&tools, &cc),
        };
        Toolchain {
            cc,
            wanted,
            present,
            is_clang,
            is_lld: config.is_enabled("CONFIG_LD_IS_LLD"),
        }
    }

    /// True when compiler and version are those the kernel was built with, down to the text.
    pub fn is_the_same(&self) -> bool {
        self.wanted.is_some() && self.wanted == self.present
    }

    /// The major versions wanted and present, when both are known and differ: a likely cause of a failed build.
    pub fn major_mismatch(&self) -> Option<(String, String)> {
        let (wanted, present) = (
            compiler_major(self.wanted.as_deref()?)?,
            compiler_major(self.present.as_deref()?)?,
        );
        (wanted != present).then(|| (wanted.to_owned(), present.to_owned()))
    }
}

/// The first line of `cc --version` in `root`.
pub fn compiler_version(root: &Root, cc: &str) -> Option<String> {
    asked_for_version(root, cc, |command| {
        command.chroot((!root.is_host()).then(|| root.path()))
    })
}

/// The same of a system that is not trusted to run here: in the sandbox.
fn confined_version(system: &Root, cc: &str) -> Option<String> {
    let view = View::new(system.path(), Account::reserve(), Limits::evaluation());
    asked_for_version(system, cc, |command| command.sandbox(view))
}

fn asked_for_version(root: &Root, cc: &str, confine: impl FnOnce(Confined) -> Confined) -> Option<String> {
    let program = find_program(root, cc)?;
    let program = root.inside(&program).unwrap_or(program);
    let command = Confined::new(program).arg("--version");
    let output = confine(command).time_limit(Duration::from_secs(10)).output(4096).ok()?;
    let line = String::from_utf8_lossy(&output.stdout)
        .lines()
        .next()?
        .trim()
        .to_owned();
    (output.ended.status.success() && !line.is_empty()).then_some(line)
}

/// The major number of the last word that looks like a version: `12` of `gcc-12 (Debian 12.2.0-14) 12.2.0`.
pub fn compiler_major(line: &str) -> Option<&str> {
    line.split_whitespace()
        .rev()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'))
        .and_then(|word| word.split('.').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn majors() {
        let check = |line: &str, expected: Option<&str>| assert_eq!(compiler_major(line), expected, "{line}");
        check("gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0", Some("12"));
        check("Ubuntu clang version 18.1.3 (1ubuntu1)", Some("18"));
        check("gcc (GCC) 14.1.1 20240522 (Red Hat 14.1.1-4)", Some("14"));
        check("cc", None);
    }
}
