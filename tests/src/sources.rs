//! Module sources for the tests: real packages unpacked, and our own small ones.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::inputs;

/// The source directory (the one with dkms.conf) of a Debian package, unpacked into `to`.
///
/// # Panics
/// When the package is not there or holds no source.
pub fn unpack(deb_prefix: &str, to: &Path) -> PathBuf {
    let deb = inputs::deb(deb_prefix);
    let status = Command::new("dpkg-deb").arg("-x").arg(&deb).arg(to).status();
    assert!(
        status.as_ref().is_ok_and(|s| s.success()),
        "dpkg-deb -x {}: {status:?}",
        deb.display()
    );
    walkdir::WalkDir::new(to.join("usr/src"))
        .into_iter()
        .filter_map(Result::ok)
        .find(|entry| entry.file_name() == "dkms.conf")
        .and_then(|entry| entry.path().parent().map(Path::to_owned))
        .unwrap_or_else(|| panic!("{} holds no dkms.conf below usr/src", deb.display()))
}

/// The source directory of one of our own drivers in `fixtures/sources`.
pub fn own(name: &str) -> PathBuf {
    inputs::workspace().join("fixtures/sources").join(name)
}

/// A temporary directory that everybody may enter, as `/var` and `/usr` are.
///
/// # Panics
/// When it cannot be made.
pub fn open_tempdir() -> tempfile::TempDir {
    let dir = tempfile::Builder::new()
        .prefix("dkms-test-")
        .tempdir()
        .unwrap_or_else(|e| panic!("temp dir: {e}"));
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))
        .unwrap_or_else(|e| panic!("{}: {e}", dir.path().display()));
    dir
}
