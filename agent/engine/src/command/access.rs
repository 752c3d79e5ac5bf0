//! What users other than the owner can read.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// True when any user can read the file or directory `path` and pass the directories above it.
pub fn readable_by_all(path: &Path) -> bool {
    path.exists() && closed_to_others(path, Path::new("/")).is_none()
}

/// What keeps other users from reading `path`: itself, or the first directory above it, up to `root`, that others may not
/// pass. None if nothing does; `path` itself where it is not there.
pub fn closed_to_others(path: &Path, root: &Path) -> Option<PathBuf> {
    let Ok(path) = path.canonicalize() else {
        return Some(path.to_owned());
    };
    let allows = |path: &Path, needed: u32| std::fs::metadata(path).is_ok_and(|m| m.mode() & needed == needed);
    let above = path
        .ancestors()
        .skip(1)
        .take_while(|dir| dir.starts_with(root))
        .filter(|dir| !allows(dir, 0o1));
    let first = above.last().map(Path::to_owned);
    let needed = if path.is_dir() { 0o5 } else { 0o4 };
    first.or_else(|| (!allows(&path, needed)).then_some(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_closed_to_others_is_named() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().expect("temp dir");
        let top = temp.path().canonicalize().expect("path");
        let (home, inner) = (top.join("home"), top.join("home/a/b"));
        std::fs::create_dir_all(&inner).expect("dirs");
        std::fs::write(inner.join("file"), "").expect("file");
        let check = |modes: [u32; 3], path: &Path, expected: Option<&Path>| {
            for (path, mode) in [(&home, modes[0]), (&inner, modes[1]), (&inner.join("file"), modes[2])] {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
            }
            // What is above the root does not count.
            assert_eq!(closed_to_others(path, &home).as_deref(), expected, "{modes:?}");
        };
        let file = inner.join("file");
        check([0o755, 0o755, 0o644], &file, None);
        check([0o700, 0o700, 0o600], &file, Some(&home));
        check([0o711, 0o700, 0o600], &file, Some(&inner));
        check([0o711, 0o711, 0o600], &file, Some(&file));
        check([0o755, 0o711, 0o644], &inner, Some(&inner));
        check([0o755, 0o755, 0o644], &top.join("none"), Some(&top.join("none")));
        std::fs::set_permissions(&top, std::fs::Permissions::from_mode(0o700)).expect("chmod");
        assert_eq!(closed_to_others(&file, &top).as_deref(), Some(&*top));
    }
}
