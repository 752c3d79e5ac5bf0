//! Checks that the machine has what a build needs: a place for the modules, headers, a compiler, make. Runs before anything is fetched.

use std::sync::Arc;

use dkms_engine::command::find_program;
use dkms_engine::distribution::Distribution;
use dkms_engine::kernel::{KernelError, KernelTarget};
use dkms_engine::root::Root;

use super::read_only::read_only;
use super::{Cause, Failure};
use crate::survey::Survey;

/// The kernel target to build for, with a compiler and make.
///
/// # Errors
/// All that is missing, with the one command that installs it.
pub fn usable(survey: &Survey, root: &Root) -> Result<Arc<KernelTarget>, Failure> {
    if let Some(failure) = read_only(root, &survey.kernel.release) {
        return Err(failure);
    }
    let mut reasons = Vec::new();
    let mut programs = Vec::new();
    match &survey.target {
        Ok(target) => {
            let toolchain = target.toolchain();
            if toolchain.present.is_none() {
                let wanted = toolchain.wanted.as_deref().unwrap_or(&toolchain.cc);
                reasons.push(format!(
                    "no compiler is installed: kernel {} was built with {wanted}",
                    target.release
                ));
                programs.push(wanted.split_whitespace().next().unwrap_or("gcc").to_owned());
            }
            if find_program(&target.chroot().map_or_else(Root::host, Root::at), "make").is_none() {
                reasons.push("the program make is not installed".to_owned());
                programs.push("make".to_owned());
            }
            if reasons.is_empty() {
                return Ok(Arc::clone(target));
            }
            let hint = target.distribution.install_command(&programs.join(" "));
            Err(missing(&reasons, Some(hint)))
        }
        Err(error) => {
            reasons.push(error.to_string());
            for (program, reason) in [
                ("gcc", "no compiler is installed"),
                ("make", "the program make is not installed"),
            ] {
                if find_program(&Root::host(), program).is_none() {
                    reasons.push(reason.to_owned());
                    programs.push(program.to_owned());
                }
            }
            let hint = match error {
                KernelError::HeadersMissing { command, .. } => {
                    Some(with_programs(command, &programs, &Distribution::of(root)))
                }
                error => error.hint(),
            };
            Err(missing(&reasons, hint))
        }
    }
}

fn missing(reasons: &[String], hint: Option<String>) -> Failure {
    Failure {
        hint,
        ..Failure::of(Cause::Machine, reasons.join("; "))
    }
}

/// The command that installs the headers, and the programs with them.
fn with_programs(headers: &str, programs: &[String], distribution: &Distribution) -> String {
    if programs.is_empty() {
        return headers.to_owned();
    }
    let programs = programs.join(" ");
    let install = distribution.install_command("");
    if headers.starts_with(install.trim_end()) {
        format!("{headers} {programs}")
    } else {
        format!("{headers}; {}", distribution.install_command(&programs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_command_installs_all() {
        let check = |os_release: &str, programs: &[&str], expected: &str| {
            let distribution = Distribution::parse(os_release);
            let headers = distribution.headers_command("6.1.0-9-amd64");
            let programs: Vec<String> = programs.iter().map(|&program| program.to_owned()).collect();
            assert_eq!(with_programs(&headers, &programs, &distribution), expected);
        };
        check("ID=debian", &[], "apt-get install linux-headers-6.1.0-9-amd64");
        check(
            "ID=debian",
            &["gcc", "make"],
            "apt-get install linux-headers-6.1.0-9-amd64 gcc make",
        );
        check("ID=fedora", &["make"], "dnf install kernel-devel-6.1.0-9-amd64 make");
        check(
            "ID=strange",
            &["make"],
            "install the headers of kernel 6.1.0-9-amd64 with your package manager; install make with your package manager",
        );
    }
}
