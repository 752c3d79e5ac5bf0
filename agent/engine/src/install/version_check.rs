//! Is the kernel's own module of the same name newer than ours?

use std::cmp::Ordering;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::ko::ModuleInfo;
use crate::version;

/// A module that is not installed, because the kernel's own is the same or newer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The module.
    pub module: String,
    /// The kernel's own file.
    pub path: PathBuf,
    /// Its version.
    pub version: String,
    /// Our version, where the kernel's is newer; None where both are the same code.
    pub ours: Option<String>,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Kept {
            module,
            path,
            version,
            ours,
        } = self;
        match ours {
            Some(ours) => write!(f, "{module} {ours} is older than {version} in {}", path.display()),
            None => write!(f, "{module} is the same as {}", path.display()),
        }
    }
}

/// Compares our module with the kernel's own. Some when ours should not be installed: the other one has a higher version, or both come from
/// the same source (equal srcversion). A missing version is no reason.
pub fn compare_with_tree(name: &str, ours: &ModuleInfo, path: &Path, theirs: &ModuleInfo) -> Option<Kept> {
    let kept = |ours: Option<String>| Kept {
        module: name.to_owned(),
        path: path.to_owned(),
        version: theirs.version.clone().unwrap_or_default(),
        ours,
    };
    if ours.srcversion.is_some() && ours.srcversion == theirs.srcversion {
        return Some(kept(None));
    }
    match (&ours.version, &theirs.version) {
        (Some(our), Some(their)) if version::compare(our, their) == Ordering::Less => Some(kept(Some(our.clone()))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_newer() {
        let info = |version: Option<&str>, srcversion: Option<&str>| ModuleInfo {
            version: version.map(str::to_owned),
            srcversion: srcversion.map(str::to_owned),
            ..ModuleInfo::default()
        };
        let check = |ours: ModuleInfo, theirs: ModuleInfo, kept: bool| {
            assert_eq!(
                compare_with_tree("m", &ours, Path::new("/m.ko"), &theirs).is_some(),
                kept,
                "{ours:?} {theirs:?}"
            );
        };
        check(info(None, Some("A")), info(None, Some("B")), false);
        check(info(None, None), info(None, None), false);
        check(info(Some("1"), Some("A")), info(Some("1"), Some("B")), false);
        check(info(Some("1"), Some("A")), info(Some("1"), Some("A")), true);
        check(info(Some("1.9"), Some("A")), info(Some("1.10"), Some("B")), true);
        check(info(Some("1.10"), Some("A")), info(Some("1.9"), Some("B")), false);
        check(info(None, Some("A")), info(Some("2"), Some("B")), false);
        check(info(Some("1"), Some("A")), info(None, Some("B")), false);
    }
}
