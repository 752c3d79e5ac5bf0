//! Files and directories: durable writes, copies, digests.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

pub(crate) use dkms_support::sync_dir;
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

/// Replaces the file at `path` in one step.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    dkms_support::replace_file(path, bytes, mode, ".new-")
}

/// From how many entries on a file system is flushed as a whole: one flush a file takes 129 s for 99,000 empty ones.
const SYNC_WHOLE_FROM: usize = 256;

/// Flushes every file and directory below `dir`.
pub(crate) fn sync_tree(dir: &Path) -> io::Result<()> {
    let mut entries = Vec::new();
    for entry in WalkDir::new(dir).contents_first(true) {
        let entry = entry?;
        if entry.file_type().is_file() || entry.file_type().is_dir() {
            entries.push(entry.into_path());
        }
        if entries.len() >= SYNC_WHOLE_FROM {
            return Ok(rustix::fs::syncfs(File::open(dir)?)?);
        }
    }
    entries.iter().try_for_each(|path| File::open(path)?.sync_all())
}

/// Copies a directory as `cp -a` does: modes, times of files, links as links. Devices, sockets and fifos are refused.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    // `V/source` is a link; its target is copied.
    let from = &from.canonicalize()?;
    for entry in WalkDir::new(from) {
        let entry = entry?;
        let rest = entry.path().strip_prefix(from).map_err(io::Error::other)?;
        let target = if rest.as_os_str().is_empty() {
            to.to_owned()
        } else {
            to.join(rest)
        };
        let kind = entry.file_type();
        if kind.is_dir() {
            let mode = entry.metadata()?.permissions().mode() | 0o700;
            fs::create_dir_all(&target)?;
            fs::set_permissions(&target, fs::Permissions::from_mode(mode & 0o7777))?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &target)?;
            // make decides by times what is up to date.
            File::options()
                .write(true)
                .open(&target)
                .and_then(|f| f.set_modified(entry.metadata()?.modified()?))
                .or_else(|error| {
                    if error.kind() == io::ErrorKind::PermissionDenied {
                        Ok(())
                    } else {
                        Err(error)
                    }
                })?;
        } else {
            return Err(io::Error::other(format!(
                "{} is neither file, directory nor link",
                entry.path().display()
            )));
        }
    }
    Ok(())
}

/// Changes owner and group of everything in `dir` to `user`, following no link.
pub(crate) fn chown_tree(dir: &Path, user: u32) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Gid, Uid, chownat};
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    for entry in WalkDir::new(dir) {
        chownat(CWD, entry?.path(), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// Renames `new` to `to`. What was at `to` is afterwards at `new`, exchanged in one step; on file systems that cannot exchange, it is at
/// `old`. All three are on one file system.
pub(crate) fn replace_path(new: &Path, to: &Path, old: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    if fs::symlink_metadata(to).is_err() {
        return fs::rename(new, to);
    }
    renameat_with(CWD, new, CWD, to, RenameFlags::EXCHANGE).or_else(|_| {
        fs::rename(to, old)?;
        fs::rename(new, to)
    })
}

/// Removes whatever is at `path`; a missing path is no error.
pub(crate) fn remove_any(path: &Path) -> io::Result<()> {
    let result = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => crate::sandbox::take::remove_tree(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The longest part of `path` that exists, for the commands of hints.
pub(crate) fn existing_part(path: &Path) -> &Path {
    let there = |path: &&Path| fs::symlink_metadata(path).is_ok();
    path.ancestors().find(there).unwrap_or(Path::new("/"))
}

/// Removes `dir` and its parents below `top` as long as they are empty.
pub(crate) fn remove_empty_dirs(dir: &Path, top: &Path) {
    for dir in dir.ancestors().take_while(|dir| *dir != top && dir.starts_with(top)) {
        if fs::remove_dir(dir).is_err() {
            break;
        }
    }
}

/// True when both files can be read and hold the same bytes.
pub(crate) fn same_content(a: &Path, b: &Path) -> bool {
    let len = |path: &Path| fs::metadata(path).map(|m| (m.len(), m.dev(), m.ino())).ok();
    match (len(a), len(b)) {
        (Some(a), Some(b)) if a == b => return true,
        (Some(a), Some(b)) if a.0 != b.0 => return false,
        (None, _) | (_, None) => return false,
        _ => {}
    }
    matches!((fs::read(a), fs::read(b)), (Ok(a), Ok(b)) if a == b)
}

/// A digest over what `stat` says of the files: as long as it is the same, the contents need not be read again.
pub(crate) fn stamp<'a>(paths: impl IntoIterator<Item = &'a Path>) -> String {
    let mut hash = Sha256::new();
    for path in paths {
        add_stat(&mut hash, path);
    }
    hex::encode(&hash.finalize()[..16])
}

/// [`stamp`] over all files of a directory.
pub(crate) fn tree_stamp(dir: &Path) -> String {
    let mut hash = Sha256::new();
    for path in sorted_files(dir) {
        add_stat(&mut hash, &path);
    }
    hex::encode(&hash.finalize()[..16])
}

fn add_stat(hash: &mut Sha256, path: &Path) {
    use std::os::unix::ffi::OsStrExt;
    hash.update(path.as_os_str().as_bytes());
    hash.update([0]);
    if let Ok(meta) = fs::symlink_metadata(path) {
        for number in [meta.ino(), meta.len(), u64::from(meta.mode())] {
            hash.update(number.to_le_bytes());
        }
        for number in [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()] {
            hash.update(number.to_le_bytes());
        }
    }
}

/// A digest over the contents of a directory: names, execute bits, links, bytes.
pub(crate) fn tree_digest(dir: &Path) -> io::Result<String> {
    use std::os::unix::ffi::OsStrExt;
    let mut hash = Sha256::new();
    for path in sorted_files(dir) {
        let rest = path.strip_prefix(dir).unwrap_or(&path);
        let meta = fs::symlink_metadata(&path)?;
        hash.update(rest.as_os_str().as_bytes());
        if meta.is_symlink() {
            hash.update(b"\0link\0");
            hash.update(fs::read_link(&path)?.as_os_str().as_bytes());
        } else {
            hash.update(if meta.mode() & 0o100 == 0 {
                b"\0file\0"
            } else {
                b"\0prog\0"
            });
            hash.update(meta.len().to_le_bytes());
            io::copy(&mut File::open(&path)?, &mut hash_writer(&mut hash))?;
        }
    }
    Ok(hex::encode(hash.finalize()))
}

/// A digest over the contents of files; those that are not there count as such.
pub(crate) fn files_digest<'a>(paths: impl IntoIterator<Item = &'a Path>) -> String {
    let mut hash = Sha256::new();
    for path in paths {
        match fs::read(path) {
            Ok(bytes) => {
                hash.update((bytes.len() as u64).to_le_bytes());
                hash.update(&bytes);
            }
            Err(_) => hash.update(u64::MAX.to_le_bytes()),
        }
    }
    hex::encode(hash.finalize())
}

struct HashWriter<'a>(&'a mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn hash_writer(hash: &mut Sha256) -> HashWriter<'_> {
    HashWriter(hash)
}

fn sorted_files(dir: &Path) -> Vec<PathBuf> {
    WalkDir::new(dir)
        .sort_by_file_name()
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| !entry.file_type().is_dir())
        .map(walkdir::DirEntry::into_path)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_the_same() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        fs::create_dir_all(from.join("sub")).expect("dirs");
        fs::write(from.join("sub/x.sh"), "#!/bin/sh\n").expect("write");
        fs::set_permissions(from.join("sub/x.sh"), fs::Permissions::from_mode(0o755)).expect("mode");
        symlink("sub/x.sh", from.join("link")).expect("link");
        copy_tree(&from, &to).expect("copies");
        assert_eq!(tree_digest(&from).expect("digest"), tree_digest(&to).expect("digest"));
        let stamp = tree_stamp(&to);
        assert_eq!(stamp, tree_stamp(&to));
        write_atomic(&to.join("sub/x.sh"), b"other", 0o755).expect("write");
        assert_ne!(stamp, tree_stamp(&to));
        assert_ne!(tree_digest(&from).expect("digest"), tree_digest(&to).expect("digest"));
    }
}
