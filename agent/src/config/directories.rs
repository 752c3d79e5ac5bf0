//! Where repositories are configured: what the owner of the machine wrote in `/etc`, above what packages of vendors ship in
//! `/usr/share`. A file in `/etc` masks the one of the same name in `/usr/share`; an empty one, or a link to `/dev/null`, is a mask alone.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dkms_engine::root::Root;

/// What packages of vendors ship, below the root: `repos.d` and `roots.d`.
pub const VENDOR_DIR: &str = "/usr/share/dkms-fetch";

/// The files in `part` of both directories that are not masked, by name. Masks are left out.
///
/// # Errors
/// The directory that cannot be read, and the operating system's answer.
pub(super) fn files(root: &Root, part: &str) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    let mut found: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for base in [VENDOR_DIR, super::DIR] {
        let dir = root.join(base).join(part);
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err((dir, error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| (dir.clone(), error))?;
            // As everywhere in /etc: editors' backups and hidden files are not configuration.
            let path = entry.path();
            let is_ours = path.extension().is_some_and(|extension| extension == "toml")
                && !entry.file_name().as_encoded_bytes().starts_with(b".");
            if is_ours {
                found.insert(entry.file_name(), path);
            }
        }
    }
    found.retain(|_, path| !is_mask(path));
    Ok(found.into_values().collect())
}

/// Whether a file only masks another one.
pub(crate) fn is_mask(path: &Path) -> bool {
    let is_null = fs::read_link(path).is_ok_and(|target| target == Path::new("/dev/null"));
    is_null || fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0)
}

/// The pinned root that a configuration file names: an absolute path below the root directory; else beside the file, or in `roots.d` of
/// `/etc` or of the vendors.
pub(super) fn pinned_root(root: &Root, file: &Path, named: &Path) -> PathBuf {
    if named.is_absolute() {
        return root.join(named);
    }
    let beside = file.parent().unwrap_or(file).join(named);
    let elsewhere = [super::DIR, VENDOR_DIR]
        .iter()
        .map(|base| root.join(base).join("roots.d").join(named));
    if beside.exists() {
        return beside;
    }
    elsewhere.into_iter().find(|path| path.exists()).unwrap_or(beside)
}
