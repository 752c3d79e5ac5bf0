//! Files that are replaced in one step: a reader, and a power cut, leaves the old or the new contents, never a part.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use tempfile::NamedTempFile;

/// Replaces the file at `path` by `bytes` with the permissions `mode`, durably. The directory must be there.
///
/// `prefix` begins the name of the temporary file beside it, so that a later run knows what an interrupted one left.
///
/// # Errors
/// The operating system's answer.
pub fn replace_file(path: &Path, bytes: &[u8], mode: u32, prefix: &str) -> io::Result<()> {
    let mut file = temporary_in(dir_of(path), prefix, mode)?;
    file.as_file_mut().write_all(bytes)?;
    persist(file, path)
}

/// A temporary file in `dir` that has the permissions `mode` from its creation on, whatever the umask is.
///
/// # Errors
/// The operating system's answer.
pub fn temporary_in(dir: &Path, prefix: &str, mode: u32) -> io::Result<NamedTempFile> {
    let permissions = fs::Permissions::from_mode(mode);
    let mut options = File::options();
    options.read(true).write(true).create_new(true).mode(mode);
    // Its own errors name the temporary file; the caller names the file that is wanted.
    let file = tempfile::Builder::new()
        .prefix(prefix)
        .make_in(dir, |path| options.open(path))?;
    // The umask may have cleared bits.
    file.as_file().set_permissions(permissions)?;
    Ok(file)
}

/// Renames a temporary file in the same directory to `path`, durably.
///
/// # Errors
/// The operating system's answer; the temporary file is removed then.
pub fn persist(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_dir(dir_of(path))
}

/// Flushes a directory's entries to the disk.
///
/// # Errors
/// The operating system's answer.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The directory that a file is in.
fn dir_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_with_its_permissions() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        for (text, mode) in [("old", 0o600), ("new", 0o666)] {
            replace_file(&path, text.as_bytes(), mode, ".new-").expect("replaced");
            assert_eq!(fs::read_to_string(&path).expect("a file"), text);
            assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, mode);
        }
        assert_eq!(
            fs::read_dir(dir.path()).expect("a directory").count(),
            1,
            "nothing is left beside it"
        );
    }

    #[test]
    fn a_failure_keeps_the_old_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        fs::create_dir(&path).expect("a directory in its place");
        replace_file(&path, b"new", 0o644, ".new-").expect_err("a file does not replace a directory");
        let error = replace_file(&path.join("none/file"), b"new", 0o644, ".new-").expect_err("no directory");
        assert_eq!(error.raw_os_error(), Some(2), "{error}");
        assert!(!error.to_string().contains(".new-"), "{error}");
        assert!(path.is_dir());
        assert_eq!(
            fs::read_dir(dir.path()).expect("a directory").count(),
            1,
            "nothing is left beside it"
        );
    }
}
