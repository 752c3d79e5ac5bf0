//! The real packages and kernels that `make setup` fetches for the tests.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The directory of inputs: `$DKMS_TEST_INPUTS`, else `target/inputs` of the workspace.
///
/// # Panics
/// When it is not there: a test without its inputs must fail, not pass silently.
pub fn dir() -> PathBuf {
    let dir = std::env::var_os("DKMS_TEST_INPUTS").map_or_else(|| workspace().join("target/inputs"), PathBuf::from);
    assert!(
        dir.join("kernels.txt").is_file(),
        "no test inputs in {}\nhint: scripts/setup.sh test",
        dir.display()
    );
    dir
}

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The releases of the two kernels that [`kernel_root`] has, the 6.1 one first.
///
/// # Panics
/// When the inputs are not there or are malformed.
pub fn kernels() -> [String; 2] {
    let path = dir().join("kernels.txt");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let find = |series: &str| {
        text.lines()
            .find_map(|line| {
                line.split_once(' ')
                    .filter(|(s, _)| *s == series)
                    .map(|(_, release)| release.to_owned())
            })
            .unwrap_or_else(|| panic!("{}: no line for {series}", path.display()))
    };
    [find("6.1"), find("6.12")]
}

/// A root directory that holds the module tree and the headers of a real kernel package.
pub fn kernel_root(release: &str) -> PathBuf {
    dir().join("kernels").join(release)
}

/// The headers of a real kernel, what its `lib/modules/<release>/build` points to.
pub fn headers(release: &str) -> PathBuf {
    kernel_root(release)
        .join("usr/src")
        .join(format!("linux-headers-{release}"))
}

/// Puts the file or directory `from` into the directory `to`, by hard links where that can be done: nothing changes files of a kernel in
/// place. `from` may end in `.`, which stands for all that is in it.
///
/// # Panics
/// When it cannot be copied either.
pub fn link_tree(from: &Path, to: &Path) {
    let cp = |flags: &str| Command::new("cp").arg(flags).arg(from).arg(to).output();
    if cp("-al").is_ok_and(|done| done.status.success()) {
        return;
    }
    let copied = cp("-a").unwrap_or_else(|e| panic!("cp: {e}"));
    assert!(
        copied.status.success(),
        "cp -a {} {}: {}",
        from.display(),
        to.display(),
        String::from_utf8_lossy(&copied.stderr)
    );
}

/// Debian's `dkms`, to compare with: the script out of its package, not installed.
pub fn debian_dkms() -> PathBuf {
    dir().join("peers/dkms/usr/sbin/dkms")
}

/// The `dkms` of Debian 13, upstream's 3.2: `scripts/setup.sh full` puts it there.
pub fn upstream_dkms() -> PathBuf {
    dir().join("peers/dkms-3.2/usr/sbin/dkms")
}

/// nginx, which serves files and takes some.
///
/// # Panics
/// When `scripts/setup.sh test` was not run.
#[must_use]
pub fn nginx() -> PathBuf {
    let program = dir().join("peers/nginx/usr/sbin/nginx");
    assert!(
        program.is_file(),
        "no {}: run `scripts/setup.sh test`",
        program.display()
    );
    program
}

/// A package of Debian that is unpacked and not installed.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn peer(name: &str) -> PathBuf {
    let path = dir().join("peers").join(name);
    assert!(path.is_dir(), "{} is missing: scripts/setup.sh test", path.display());
    path
}

/// The functions of initramfs-tools that hooks use.
#[must_use]
pub fn initramfs_functions() -> PathBuf {
    peer("initramfs-tools-core").join("usr/share/initramfs-tools/hook-functions")
}

/// A Python that has python-tuf.
pub fn python() -> PathBuf {
    dir().join("venv/bin/python")
}

/// The Debian package whose file name starts with `prefix`, such as `ddcci-dkms_0.4.5`.
///
/// # Panics
/// When there is not exactly one.
pub fn deb(prefix: &str) -> PathBuf {
    let debs = dir().join("debs");
    let found: Vec<PathBuf> = std::fs::read_dir(&debs)
        .unwrap_or_else(|e| panic!("{}: {e}", debs.display()))
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
        })
        .collect();
    assert_eq!(
        found.len(),
        1,
        "packages named {prefix}* in {}: {found:?}",
        debs.display()
    );
    found[0].clone()
}

/// Every Debian package of the inputs, by name.
///
/// # Panics
/// When the inputs are not there.
#[must_use]
pub fn all_debs() -> Vec<PathBuf> {
    let debs = dir().join("debs");
    let entries = std::fs::read_dir(&debs).unwrap_or_else(|e| panic!("{}: {e}", debs.display()));
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
    found.sort();
    found
}
