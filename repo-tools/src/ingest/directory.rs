//! A source as a directory on this machine.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use walkdir::WalkDir;

use super::error::{IngestError, Problem};
use super::tree::{Entry, Limits, RawTree};

/// Directories of version control, which are not the source.
const VERSION_CONTROL: [&str; 5] = [".git", ".hg", ".svn", ".bzr", "CVS"];

/// Reads everything below `dir`; links are kept as links.
pub(super) fn read(dir: &Path, limits: Limits) -> Result<RawTree, IngestError> {
    let refused = |problem| IngestError::Refused {
        path: dir.to_owned(),
        problem,
    };
    let mut tree = RawTree::new(limits);
    let entries = WalkDir::new(dir)
        .min_depth(1)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| !VERSION_CONTROL.iter().any(|name| entry.file_name() == *name));
    for entry in entries {
        let entry = entry.map_err(|error| IngestError::Read {
            path: error.path().unwrap_or(dir).to_owned(),
            source: error.into(),
        })?;
        let unreadable = |source| IngestError::Read {
            path: entry.path().to_owned(),
            source,
        };
        let name = entry
            .path()
            .strip_prefix(dir)
            .unwrap_or(entry.path())
            .as_os_str()
            .as_bytes();
        let kind = entry.file_type();
        let found = if kind.is_dir() {
            Entry::Directory
        } else if kind.is_symlink() {
            let target = fs::read_link(entry.path()).map_err(unreadable)?;
            let target = target.into_os_string().into_string();
            Entry::Link(target.map_err(|raw| refused(Problem::BadName(raw.to_string_lossy().into_owned())))?)
        } else if kind.is_file() {
            let meta = entry.metadata().map_err(|error| unreadable(error.into()))?;
            if meta.len() > tree.bytes_left() {
                return Err(refused(tree.too_large()));
            }
            Entry::File {
                bytes: fs::read(entry.path()).map_err(unreadable)?,
                executable: meta.permissions().mode() & 0o100 != 0,
            }
        } else {
            let name = String::from_utf8_lossy(name).into_owned();
            return Err(refused(Problem::Special(name)));
        };
        tree.insert(name, found).map_err(refused)?;
    }
    Ok(tree)
}
