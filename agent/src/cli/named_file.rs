//! Files that the caller names as the place for something. Their directories are not made: where a medium is not mounted, the file would
//! go to the disk below its mount point, and look as if it were on the medium.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use super::context::Context;
use super::failure::Failure;
use crate::files;

/// Writes `bytes` to the file `path` that the caller named; with --check only checks that it could be there.
///
/// # Errors
/// When its directory is not there, or it cannot be written.
pub(super) fn write(context: &Context, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    require_directory(path)?;
    if context.options.check {
        return Ok(());
    }
    replace(path, bytes).map_err(|source| Failure::Output {
        path: path.to_owned(),
        source,
    })
}

/// Checks that the directory of `path` is there.
///
/// # Errors
/// When it is not.
pub(super) fn require_directory(path: &Path) -> Result<(), Failure> {
    let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) else {
        return Ok(());
    };
    let is_there = match fs::metadata(dir) {
        Ok(found) => found.is_dir(),
        // Where it cannot be looked at, writing says why.
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    };
    if is_there {
        return Ok(());
    }
    Err(Failure::NoDirectory {
        path: path.to_owned(),
        dir: dir.to_owned(),
    })
}

/// Pipes and devices are written to; a regular file is replaced in one step.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() && !found.is_dir() => File::options().write(true).open(path)?.write_all(bytes),
        _ => dkms_support::replace_file(path, bytes, 0o644, files::TEMPORARY),
    }
}
