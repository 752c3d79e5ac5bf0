//! Installs what a build for a kernel lacks (headers, compiler, make) by the distribution's package manager, where the policy says so, and
//! takes it away again.
//!
//! The manager is asked first what it would do. Where it would remove, upgrade or otherwise change anything, nothing is done. What was
//! installed is noted before that begins, so that a later run can take it away also after a power cut.

mod apt;
mod dnf;
mod error;
mod manager;
pub mod medium;
mod note;
mod package;
mod rpm;
mod run;
mod simulation;
mod summary;
mod table;
mod zypper;

use std::fs;

use dkms_engine::command::find_program;
use dkms_engine::distribution::{Distribution, PackageManager};
use dkms_engine::kernel::KernelError;
use dkms_engine::root::Root;

use crate::survey::Survey;

pub use apt::Apt;
pub use dnf::Dnf;
pub use error::{Change, ToolchainError};
pub use manager::Manager;
pub use note::{install, take_away};
pub use package::{Installation, Package};
pub use zypper::Zypper;

/// The packages that a build for a kernel lacks, by the names that its distribution has for them; empty where nothing is
/// missing or nothing can be done.
pub fn missing(survey: &Survey, root: &Root) -> Vec<String> {
    let mut packages = Vec::new();
    let distribution = Distribution::of(root);
    let has = |root: &Root, program: &str| find_program(root, program).is_some();
    match &survey.target {
        Ok(target) => {
            let toolchain = target.toolchain();
            if toolchain.present.is_none() {
                let wanted = compiler(toolchain.wanted.as_deref().unwrap_or(&toolchain.cc));
                packages.push(distribution.compiler_package(&wanted));
            }
            if !has(&target.chroot().map_or_else(Root::host, Root::at), "make") {
                packages.push("make".to_owned());
            }
        }
        Err(KernelError::HeadersMissing { .. }) => {
            packages.extend(distribution.headers_package(&survey.kernel.release));
            let compiler = kernel_compiler(root, &survey.kernel.release);
            if !has(&Root::host(), "gcc") && !has(&Root::host(), &compiler) {
                packages.push(distribution.compiler_package(&compiler));
            }
            if !has(&Root::host(), "make") {
                packages.push("make".to_owned());
            }
        }
        // Another package would not mend it.
        Err(_) => {}
    }
    packages
}

/// The packages that builds for these kernels need on a machine that has nothing, by the names that apt has for them; none where
/// the distribution has another manager.
pub fn for_kernels(root: &Root, releases: &[String]) -> Vec<String> {
    let distribution = Distribution::of(root);
    if distribution.package_manager() != Some(PackageManager::Apt) {
        return Vec::new();
    }
    let headers = |release: &String| distribution.headers_package(release);
    let mut names: Vec<String> = releases.iter().filter_map(headers).collect();
    if !names.is_empty() {
        names.extend(releases.iter().map(|release| kernel_compiler(root, release)));
        names.push("make".to_owned());
    }
    names.sort();
    names.dedup();
    names
}

/// The program of the compiler that a kernel was built with, by the configuration that came with the kernel.
fn kernel_compiler(root: &Root, release: &str) -> String {
    let config = fs::read_to_string(root.join(format!("/boot/config-{release}"))).unwrap_or_default();
    let text = config
        .lines()
        .find_map(|line| line.strip_prefix("CONFIG_CC_VERSION_TEXT=\""));
    compiler(text.unwrap_or("gcc"))
}

/// The program of a compiler: `gcc-13` of `x86_64-linux-gnu-gcc-13 (Ubuntu 13.3.0) 13.3.0`.
fn compiler(version_text: &str) -> String {
    let program = version_text.split_whitespace().next().unwrap_or("gcc");
    let at = ["gcc", "clang"].into_iter().find_map(|name| program.rfind(name));
    let name = at.map_or("gcc", |at| &program[at..]);
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '+';
    if name.chars().all(is_name) { name } else { "gcc" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_of_a_compiler() {
        let check = |text: &str, expected: &str| assert_eq!(compiler(text), expected, "{text}");
        check("gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0", "gcc-12");
        check("x86_64-linux-gnu-gcc-13 (Ubuntu 13.3.0) 13.3.0", "gcc-13");
        check("clang-16 version 16.0.6", "clang-16");
        check("Ubuntu clang version 18.1.3", "gcc");
        check("gcc", "gcc");
        check("gcc;reboot", "gcc");
        check("", "gcc");
    }
}
