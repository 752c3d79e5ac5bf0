//! Exit codes, as upstream's: scripts and packages look at them.

use std::process::ExitCode;

use crate::conf::ConfError;
use crate::kbuild::BuildError;
use crate::kernel::KernelError;
use crate::tree::{AddError, TreeError};

/// How a call, or a part of it, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exit(pub(super) u8);

impl Exit {
    pub(super) const OK: Exit = Exit(0);
    /// Not root, no access, or nothing better is known.
    pub(super) const REFUSED: Exit = Exit(1);
    /// Something named is not there.
    pub(super) const MISSING: Exit = Exit(2);
    /// Not in the tree.
    pub(super) const NOT_ADDED: Exit = Exit(3);
    /// The distribution is not known.
    pub(super) const NO_SYSTEM: Exit = Exit(4);
    /// There is no kernel, version or depmod that would do.
    pub(super) const NOT_INSTALLABLE: Exit = Exit(6);
    /// make or something around it failed.
    pub(super) const BUILD: Exit = Exit(10);
    /// Part of an autoinstall failed.
    pub(super) const AUTOINSTALL: Exit = Exit(11);
    /// A package that must come first is missing.
    pub(super) const DEPENDS: Exit = Exit(13);
    /// A kernel hook failed.
    pub(super) const HOOK: Exit = Exit(14);
    /// No headers.
    pub(super) const HEADERS: Exit = Exit(21);
    /// BUILD_EXCLUSIVE.
    pub(super) const EXCLUDED: Exit = Exit(77);

    /// The code of two things done one after the other: the first failure counts, and an exclusion only without one.
    pub(super) fn and(self, next: Exit) -> Exit {
        match (self, next) {
            (Exit::OK, next) | (Exit::EXCLUDED, next) if next != Exit::OK => next,
            (first, _) => first,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.0)
    }
}

impl From<&TreeError> for Exit {
    fn from(error: &TreeError) -> Exit {
        match error {
            TreeError::NotAdded { .. } => Exit::NOT_ADDED,
            TreeError::Broken { .. } | TreeError::NoLink { .. } => Exit(4),
            TreeError::Io { .. } => Exit::REFUSED,
        }
    }
}

impl From<&ConfError> for Exit {
    fn from(error: &ConfError) -> Exit {
        match error {
            ConfError::Missing { .. } => Exit(4),
            ConfError::Copy { .. } => Exit::REFUSED,
            _ => Exit(8),
        }
    }
}

impl From<&AddError> for Exit {
    fn from(error: &AddError) -> Exit {
        match error {
            AddError::AlreadyAdded(_) => Exit(3),
            AddError::NoSource { .. } | AddError::NoDirectory(_) => Exit::MISSING,
            AddError::NoConf(_) => Exit(9),
            AddError::Conf { source, .. } => source.into(),
            AddError::Reserved { .. } | AddError::SharedPlace { .. } | AddError::Foreign { .. } => Exit::REFUSED,
            AddError::Tree(error) => error.into(),
            AddError::Script(_) | AddError::ScriptNotAllowed(_) => Exit::REFUSED,
        }
    }
}

impl From<&BuildError> for Exit {
    fn from(error: &BuildError) -> Exit {
        match error {
            BuildError::Tree(error) => error.into(),
            BuildError::Conf(error) => error.into(),
            BuildError::DependsMissing { .. } => Exit::DEPENDS,
            BuildError::NoSource(_) => Exit(8),
            BuildError::PatchMissing { .. } => Exit(5),
            BuildError::PatchFailed { .. } => Exit(6),
            BuildError::ModuleMissing { .. } | BuildError::Unfit(_) => Exit(7),
            _ => Exit::BUILD,
        }
    }
}

impl From<&KernelError> for Exit {
    fn from(error: &KernelError) -> Exit {
        if matches!(error, KernelError::BadRelease(_)) {
            Exit::REFUSED
        } else {
            Exit::HEADERS
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_counts() {
        fn check(codes: &[u8], expected: u8) {
            let exit = codes.iter().fold(Exit::OK, |exit, code| exit.and(Exit(*code)));
            assert_eq!(exit, Exit(expected), "{codes:?}");
        }
        check(&[], 0);
        check(&[0, 0], 0);
        check(&[21, 0], 21);
        check(&[0, 10, 7], 10);
        check(&[77, 0], 77);
        check(&[0, 77, 10], 10);
        check(&[10, 77], 10);
    }
}
