//! Writing files so that a power cut leaves the old one or the new one.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// How the names of files begin that are not whole yet.
pub(crate) const TEMPORARY: &str = ".new-";

/// Whether the disk, a quota or a limit is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Suggested fix where a file or directory at `path` cannot be read or written.
pub(crate) fn hint(path: &Path, error: &io::Error) -> Option<String> {
    match error.kind() {
        _ if is_full(error) => Some(free_some(path)),
        io::ErrorKind::PermissionDenied => Some("run it as root".to_owned()),
        io::ErrorKind::ReadOnlyFilesystem => Some(see_read_only(path)),
        _ => None,
    }
}

/// Opens a regular file to read. Does not block where a FIFO or a device is there.
///
/// # Errors
/// The operating system's answer, and where it is no regular file.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let not_blocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(not_blocking).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok(file)
}

/// What to do about a full disk.
pub(crate) fn free_some(path: &Path) -> String {
    format!("free some space: `df -h {}`", existing_part(path).display())
}

/// What to do about a read-only file system.
pub(crate) fn see_read_only(path: &Path) -> String {
    format!(
        "`findmnt --target {}` shows what is read-only",
        existing_part(path).display()
    )
}

/// The longest part of a path that exists.
fn existing_part(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(path)
}

/// Replaces the file at `path` by `bytes`, durably, and lets everybody read it: what the agent keeps is public. Directories on the way
/// are made.
///
/// # Errors
/// The operating system's answer.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = directory_of(path)?;
    fs::create_dir_all(dir)?;
    dkms_support::replace_file(path, bytes, 0o644, TEMPORARY)
}

/// Replaces the file `to` by a copy of `from`, durably, and lets everybody read it. Directories on the way are made.
///
/// # Errors
/// The operating system's answer.
pub(crate) fn copy_atomically(from: &Path, to: &Path) -> io::Result<()> {
    let dir = directory_of(to)?;
    fs::create_dir_all(dir)?;
    let mut copy = dkms_support::temporary_in(dir, TEMPORARY, 0o644)?;
    io::copy(&mut open_regular(from)?, copy.as_file_mut())?;
    dkms_support::persist(copy, to)
}

/// Removes the file at `path`, durably; one that is not there is removed already.
///
/// # Errors
/// The operating system's answer.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => dkms_support::sync_dir(directory_of(path)?),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

fn directory_of(path: &Path) -> io::Result<&Path> {
    path.parent()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a file has a directory"))
}

/// Puts an empty program into the directory of a test.
#[cfg(test)]
pub(crate) fn put_program(root: &Path, path: &str) {
    use std::os::unix::fs::PermissionsExt as _;

    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    fs::write(&path, "").expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a program");
}
