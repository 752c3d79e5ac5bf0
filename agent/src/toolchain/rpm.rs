//! The database of rpm, which dnf and zypper work on.

use std::path::Path;

use dkms_engine::command::Confined;
use dkms_engine::root::Root;

use super::error::ToolchainError;
use super::package::{Package, names};
use super::run::{self, LOCAL_LIMIT, failed};

/// The files of a database: SQLite, ndb, Berkeley DB.
const DATABASES: [&str; 3] = ["rpmdb.sqlite", "Packages.db", "Packages"];

/// Whether `root` has a database where the rpm of this machine looks for one. In an image of another distribution it may lie elsewhere, and
/// rpm would then take the image for empty.
pub(super) fn has_database(root: &Root) -> bool {
    let ask = Confined::new("rpm")
        .args(["--eval", "%{_dbpath}"])
        .time_limit(LOCAL_LIMIT);
    let Ok(said) = run::run(&ask, "rpm --eval %{_dbpath}") else {
        return false;
    };
    let dir = said.stdout.trim();
    Path::new(dir).is_absolute() && DATABASES.iter().any(|file| root.join(dir).join(file).is_file())
}

/// What is installed of these packages.
///
/// # Errors
/// When rpm cannot be run.
pub(super) fn installed(root: &Root, packages: &[Package]) -> Result<Vec<Package>, ToolchainError> {
    let mut query = Confined::new("rpm");
    if !root.is_host() {
        query = query.arg("--root").arg(root.path());
    }
    let query = query
        .args(["-q", "--qf", "%{NAME}\\t%{EVR}\\t%{ARCH}\\n", "--"])
        .args(names(packages))
        .time_limit(LOCAL_LIMIT);
    let said = run::run(&query, "rpm -q")?;
    if said.is_cut || said.code.is_none() {
        return Err(failed("rpm -q", &said.stderr));
    }
    // It also says which ones are not installed.
    let package = |line: &str| {
        let [name, version, arch] = line.split('\t').collect::<Vec<_>>().try_into().ok()?;
        Package::rpm(name, version, arch)
    };
    let installed: Vec<Package> = said.stdout.lines().filter_map(package).collect();
    if installed.is_empty() && !said.stderr.trim().is_empty() {
        return Err(failed("rpm -q", &said.stderr));
    }
    Ok(still_there(packages, &installed))
}

/// What is left of packages that were installed. One that was upgraded since is the same package; headers of another kernel are not.
fn still_there(packages: &[Package], installed: &[Package]) -> Vec<Package> {
    let mut there: Vec<Package> = Vec::new();
    for package in packages {
        let alike: Vec<&Package> = installed
            .iter()
            .filter(|one| one.name == package.name && one.arch == package.arch)
            .collect();
        let found = match alike[..] {
            _ if installed.contains(package) => Some(package),
            [one] if !is_of_one_kernel(&package.name) => Some(one),
            _ => None,
        };
        there.extend(found.cloned());
    }
    there.sort();
    there.dedup();
    there
}

/// Whether packages of this name are installed beside each other, one for each kernel.
fn is_of_one_kernel(name: &str) -> bool {
    name.starts_with("kernel-") && name.ends_with("devel")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_what_was_installed() {
        let one = |name: &str, version: &str| Package::rpm(name, version, "x86_64").unwrap();
        let noted = [
            one("gcc", "12-1"),
            one("kernel-headers", "6.1-1"),
            one("kernel-devel", "6.1-1"),
            one("kernel-devel", "6.2-1"),
            one("make", "4-1"),
        ];
        let installed = [
            one("gcc", "12-2"),
            one("kernel-headers", "6.3-1"),
            one("kernel-devel", "6.2-1"),
            one("kernel-devel", "6.3-1"),
        ];
        assert_eq!(
            still_there(&noted, &installed),
            [
                one("gcc", "12-2"),
                one("kernel-devel", "6.2-1"),
                one("kernel-headers", "6.3-1")
            ]
        );
        let newer = [one("kernel-devel", "6.3-1")];
        assert_eq!(still_there(&noted, &newer), []);
    }
}
